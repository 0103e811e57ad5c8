"""Evaluate trained networks on corrupted visible images: SYSU-MM01-C and RegDB-C, the paper's Table 5.

    python examples/corruption.py runs/train/best
    python examples/corruption.py runs/ablation/b/seed-0/last.pt runs/ablation/mun/seed-0/last.pt --dataset sysu --root SYSU-MM01

Every visible image is corrupted by one of 20 corruptions in one of 5 severities, in ten draws, of which the mean and
standard deviation are printed; then each corruption alone, in severities drawn for each image. It writes corruption.json
and corruption.png. The same command goes on where it was interrupted. It needs the extra ``robustness``.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from evaluate import load, open_dataset
from tqdm import tqdm
from train import at_least

from vireid.data import CORRUPTIONS, PersonImages, RandomCorruption, corrupt, create_test_transform
from vireid.evaluation import CorruptedProtocol, create_protocols, extract_embeddings, format_results
from vireid.visualization import plot_bars

TABLE_5 = {  # rank-1 and mAP, in percent
    "sysu": "B 25.92 / 23.13, + Aux + L_id^a 30.85 / 26.54, + Aux + L_idc 31.12 / 27.44, + L_ia 36.78 / 32.32, MUN 41.17 / 38.63",
    "regdb": "B 32.05 / 29.64, + Aux + L_id^a 36.40 / 31.21, + Aux + L_idc 38.13 / 32.29, + L_ia 45.44 / 42.89, MUN 52.69 / 50.18",
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("networks", type=Path, nargs="+", help="folders with config.json, or checkpoints such as runs/train/last.pt")
    add("--dataset", choices=("sysu", "regdb", "llcm"), help="by default the one that they were trained on")
    add("--root", type=Path, help="folder of the data set; by default the synthetic one that train.py has generated")
    add("--trial", type=int, help="of RegDB, by default the one that they were trained on")
    add("--trained-on", type=int, help="the trial of RegDB that the networks were trained on, if they do not say")
    add("--draws", type=at_least(1), default=10, help="of the corruptions (%(default)s)")
    add("--corruptions", nargs="+", choices=CORRUPTIONS, default=list(CORRUPTIONS), help="by default all 20")
    add("--seed", type=at_least(0), default=0, help="of the draws (%(default)s)")
    add("--workers", type=int, default=1, help="processes that load and corrupt images (%(default)s)")
    add("--output", type=Path, default=Path("runs/corruption"), help="folder for results (%(default)s)")
    return parser.parse_args()


def prepare(args, network):
    """The network, its data set's test images and the protocols."""
    model, training = load(network)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    name, dataset, trained_on = open_dataset(args, training, model.arguments["image_size"])
    return model, name, dataset, create_protocols(name, trial=args.trial or trained_on, trained_on=trained_on)


def evaluate(model, dataset, protocols, args):
    """The results on clean and on corrupted images, and the first protocol's for each corruption alone."""
    size = tuple(model.arguments["image_size"])
    progress = tqdm(total=2 + args.draws + len(args.corruptions), unit="pass")

    def embed(modality, **corruption):
        records = {"visible": dataset.test_visible, "infrared": dataset.test_infrared}[modality]
        damage = RandomCorruption(size=size, seed=args.seed, **corruption) if corruption else None
        images = PersonImages(records, create_test_transform(size), corruption=damage)
        progress.update()
        return extract_embeddings(model, images, modality, workers=args.workers, cache=args.output / "cache")

    def clean(protocol, visible):
        embeddings = {"visible": visible, "infrared": infrared}
        return protocol.evaluate(embeddings[protocol.query_modality.value], embeddings[protocol.gallery_modality.value])

    infrared, visible = embed("infrared"), embed("visible")
    draws = [embed("visible", corruptions=args.corruptions, draw=draw) for draw in range(args.draws)]
    results = {f"{name}, clean": clean(protocol, visible) for name, protocol in protocols.items()}
    for name, protocol in protocols.items():
        results[f"{name}, corrupted"] = CorruptedProtocol(protocol, draws=args.draws).evaluate(draws, infrared)
    first = next(iter(protocols.values()))
    return results, {name: clean(first, embed("visible", corruptions=[name])) for name in args.corruptions}


def main(args):
    corrupt(torch.zeros(3, 64, 32, dtype=torch.uint8), "contrast", 1)  # a missing extra is told now
    prepared = [prepare(args, network) for network in args.networks]
    args.output.mkdir(parents=True, exist_ok=True)
    rows, saved, panels, references = {}, {}, {}, {}
    for network, (model, _name, dataset, protocols) in zip(args.networks, prepared, strict=True):
        results, alone = evaluate(model, dataset, protocols, args)
        rows |= {f"{network}, {row}": result for row, result in results.items()}
        saved[str(network)] = {row: result.to_dict() for row, result in (results | alone).items()}
        undamaged = 100 * next(iter(results.values())).cmc[:, 0].mean().item()
        panels[str(network)] = {name: (100 * result.cmc[:, 0]).tolist() for name, result in alone.items()}
        references[str(network)] = dict.fromkeys(alone, undamaged)
    (args.output / "corruption.json").write_text(json.dumps(saved, indent=1))
    label = f"rank-1 (%), {next(iter(prepared[0][3]))}"
    figure = plot_bars(panels, references=references, reference_name="clean images", label=label)
    figure.savefig(args.output / "corruption.png", dpi=110)
    print(format_results(rows))
    name = prepared[0][1]
    if name in TABLE_5:
        print(f"The paper's Table 5, on real data (rank-1 / mAP): {TABLE_5[name]}.")
    print(f"{args.output} holds corruption.json and corruption.png.")


if __name__ == "__main__":
    try:
        main(parse_arguments())
    except (ValueError, OSError, ImportError) as mistake:
        sys.exit(f"corruption.py: {mistake}")
    except KeyboardInterrupt:
        sys.exit("corruption.py: stopped. The same command goes on.")
