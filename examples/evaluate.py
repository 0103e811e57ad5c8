"""Evaluate a trained network with the published protocols of a data set.

    python examples/evaluate.py runs/train/best
    python examples/evaluate.py runs/train/last.pt --dataset sysu --root SYSU-MM01 --official --flip mean

The network is the folder of an embedder or a training state of train.py. It prints the rows of papers, and writes them
with all trials and settings to evaluation.json, with data, versions and command to run.json, and the first ranking lists
to rankings.png. The same command resumes an interrupted evaluation.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait slow down all that share a core

import json
import sys
from pathlib import Path

import torch
from options import Parser, run_script
from runs import load
from sources import OWN, add_own_data, create_protocols, open_test_data

from vireid.data import create_test_transform
from vireid.evaluation import create_reranking, describe_run, evaluate, extract_embeddings, format_results
from vireid.visualization import plot_rankings


def parse_arguments():
    parser = Parser(__doc__)
    add = parser.add_argument
    add("network", type=Path, help="folder of an embedder, or a training state such as runs/train/last.pt")
    add("--dataset", choices=("sysu", "regdb", "llcm", *OWN), help="by default the one that the network was trained on")
    add("--root", type=Path, help="folder of the data set; by default the one that the network was trained on")
    add_own_data(parser)
    add("--trial", type=int, help="of RegDB; by default the one that the network was trained on")
    add("--trained-on", type=int, help="trial of RegDB that the network was trained on, if it does not say")
    add("--allow-other-trial", action="store_true", help="of RegDB, although the network has seen half of its people")
    add("--official", action="store_true", help="SYSU-MM01's official galleries, 1 and 10 shots, in place of AGW's")
    add("--flip", choices=("none", "mean", "mean-raw", "sum", "concatenate"), default="none", help="(%(default)s)")
    ways = ("none", "k-reciprocal", "affinity")
    add("--reranking", choices=ways, default="none", help="re-rank by neighbours or SAAI's affinity (%(default)s)")
    add("--cache", type=Path, help="folder that keeps the embeddings; by default in the folder for results")
    add("--workers", type=int, default=1, help="processes that load images (%(default)s)")
    add("--output", type=Path, default=Path("runs/evaluation"), help="folder for results (%(default)s)")
    return parser.parse_args()


def choose_protocols(args, name, dataset, trials):
    """Create the protocols of the data set that the options ask for."""
    options = {**trials, "reranking": create_reranking(args.reranking)}
    if name == "regdb":
        options["allow_other_trial"] = args.allow_other_trial
    if name != "sysu" or not args.official:
        return create_protocols(name, **options)
    options |= {"gallery": "official", "permutations": dataset.gallery_permutations()}
    return {
        f"{row}, {shots}-shot": protocol
        for shots in (1, 10)
        for row, protocol in create_protocols(name, shots=shots, **options).items()
    }


def main(args):
    network, notes = load(args.network)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    name, dataset, trials = open_test_data(args, notes)
    protocols = choose_protocols(args, name, dataset, trials)
    value_range = args.value_range or notes.get("value_range")
    images = dataset.test_images(create_test_transform(**network.preprocessing), value_range=value_range)
    args.output.mkdir(parents=True, exist_ok=True)

    options = {"workers": args.workers, "flip": args.flip, "cache": args.cache or args.output / "cache"}
    results = evaluate(network, images, protocols, progress=True, **options)
    print(*(result.protocol for result in results.values()), format_results(results), sep="\n")
    print(f"tested on {dataset.counts()['test identities']} people")
    saved = {row: result.to_dict() for row, result in results.items()}
    (args.output / "evaluation.json").write_text(json.dumps(saved, indent=1))
    about = {"counts": dataset.counts(), "settings": vars(args), "command": sys.argv}
    record = describe_run(results, fingerprint=dataset.fingerprint(), **about)
    (args.output / "run.json").write_text(json.dumps(record, indent=1))

    protocol, pictures = next(iter(protocols.values())), dataset.test_images(value_range=value_range)
    sets = {modality: extract_embeddings(network, images[modality], modality, **options) for modality in images}
    query, gallery = protocol.query_modality, protocol.gallery_modality
    ranking = protocol.rank(sets[query], sets[gallery])
    plot_rankings(ranking, pictures[query], pictures[gallery]).savefig(args.output / "rankings.png")
    print(f"{args.output} holds evaluation.json, run.json and rankings.png.")


if __name__ == "__main__":
    run_script(main, parse_arguments())
