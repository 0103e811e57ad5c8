"""Evaluate a trained network with the published protocols of a data set.

    python examples/evaluate.py runs/train/best
    python examples/evaluate.py runs/train/last.pt --dataset sysu --root SYSU-MM01 --official --flip mean

The network is a folder that save_pretrained has written or a checkpoint of train.py. It prints the rows that papers
print, and writes them with all trials and settings to evaluation.json, and the first ranking lists to rankings.png.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from vireid.data import PersonImages, create_dataset, create_test_transform, read_rankings
from vireid.evaluation import (
    KReciprocalReranking,
    SYSUMM01Protocol,
    create_protocols,
    extract_embeddings,
    format_results,
)
from vireid.models import TwoStreamBaseline, load_training_state
from vireid.visualization import plot_rankings


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("network", type=Path, help="a folder with config.json, or a checkpoint such as runs/train/last.pt")
    add("--dataset", choices=("sysu", "regdb", "llcm"), help="by default the one that it was trained on")
    add("--root", type=Path, help="folder of the data set; by default the synthetic one that train.py has generated")
    add("--trial", type=int, help="of RegDB, by default the one that the network was trained on")
    add("--trained-on", type=int, help="the trial of RegDB that the network was trained on, if it does not say")
    add("--allow-other-trial", action="store_true", help="of RegDB, although the network has seen half of its people")
    add("--official", action="store_true", help="SYSU-MM01's official galleries, 1 and 10 shots, in place of AGW's")
    add("--flip", choices=("none", "mean", "mean-raw", "sum", "concatenate"), default="none", help="(%(default)s)")
    add("--reranking", action="store_true", help="re-rank by k-reciprocal neighbours")
    add("--cache", type=Path, help="folder that keeps embeddings, so that an interrupted evaluation goes on")
    add("--workers", type=int, default=1, help="processes that load images (%(default)s)")
    add("--output", type=Path, default=Path("runs/evaluation"), help="folder for results (%(default)s)")
    return parser.parse_args()


def load(source):
    """The network, and the data set and trial that it was trained on, as far as they are known."""
    if source.is_file():
        state = load_training_state(source)
        if not {"model", "step", "settings"} <= state.keys():
            raise ValueError(f"network must be a checkpoint of train.py, got {str(source)!r}.")
        model = TwoStreamBaseline.from_config(state["model"])
        model.load_state_dict({k.removeprefix("model."): v for k, v in state["step"].items() if k.startswith("model.")})
        return model, {"dataset": state["settings"]["dataset"], "trial": int(state["settings"]["trial"])}
    notes = source / "training.json"
    try:
        return TwoStreamBaseline.from_pretrained(source), json.loads(notes.read_text()) if notes.is_file() else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{notes} must be JSON: {error}.") from error


def trial_of(args, name, training):
    """The trial of RegDB whose people the network has seen."""
    if training.get("dataset", "regdb") != "regdb":
        return args.trial or 1  # it has seen nobody of RegDB
    trained_on = training.get("trial", args.trained_on)
    if name == "regdb" and trained_on is None:
        raise ValueError("--trained-on must be given: the network does not say which trial of RegDB it has seen.")
    return trained_on or 1


def open_dataset(args, training, size):
    """The name of the data set, its records, and the trial of RegDB whose people the network has seen."""
    name = args.dataset or training.get("dataset", "sysu")
    trained_on = trial_of(args, name, training)
    root = args.root or Path("data") / f"synthetic-{name}-{size[0]}x{size[1]}"
    return name, create_dataset(name, root, trial=args.trial or trained_on), trained_on


def choose_protocols(args, dataset, name, trained_on):
    """The protocols of the data set, as the options say."""
    protocols = create_protocols(
        name, trial=args.trial or trained_on, trained_on=trained_on, allow_other_trial=args.allow_other_trial
    )
    if args.official and name == "sysu":
        permutations = dataset.gallery_permutations()
        protocols = {
            f"{search}, {shots}-shot": SYSUMM01Protocol(
                search, shots=shots, gallery="official", permutations=permutations
            )
            for search in ("all", "indoor")
            for shots in (1, 10)
        }
    for protocol in protocols.values():
        protocol.reranking = KReciprocalReranking() if args.reranking else None
    return protocols


def main(args):
    model, training = load(args.network)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    size = tuple(model.arguments["image_size"])
    name, dataset, trained_on = open_dataset(args, training, size)
    protocols = choose_protocols(args, dataset, name, trained_on)
    args.output.mkdir(parents=True, exist_ok=True)

    records = {"visible": dataset.test_visible, "infrared": dataset.test_infrared}
    options = {"workers": args.workers, "flip": args.flip, "cache": args.cache, "progress": True}
    transform = create_test_transform(size)
    embeddings = {
        modality: extract_embeddings(model, PersonImages(images, transform), modality, **options)
        for modality, images in records.items()
    }
    results = {
        row: protocol.evaluate(embeddings[protocol.query_modality], embeddings[protocol.gallery_modality])
        for row, protocol in protocols.items()
    }
    print(*(result.protocol for result in results.values()), format_results(results), sep="\n")
    saved = {row: result.to_dict() for row, result in results.items()}
    (args.output / "evaluation.json").write_text(json.dumps(saved, indent=1))
    protocol = next(iter(protocols.values()))
    query, gallery = protocol.query_modality, protocol.gallery_modality
    ranked = protocol.rank(embeddings[query], embeddings[gallery], k=10)
    plot_rankings(*read_rankings(records[query], records[gallery], *ranked)).savefig(args.output / "rankings.png")
    print(f"{args.output} holds evaluation.json and rankings.png.")


if __name__ == "__main__":
    try:
        main(parse_arguments())
    except (ValueError, OSError, ImportError) as mistake:
        sys.exit(f"evaluate.py: {mistake}")
