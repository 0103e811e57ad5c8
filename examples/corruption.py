"""Evaluate trained networks on corrupted visible images: SYSU-MM01-C and RegDB-C, the paper's Table 5.

    python examples/corruption.py runs/train/best
    python examples/corruption.py runs/ablation/b/seed-0/last.pt runs/ablation/mun/seed-0/last.pt --dataset sysu --root SYSU-MM01

Every visible image is corrupted by one of 20 corruptions in one of 5 severities, in ten draws, of which the mean and
standard deviation are printed; then each corruption alone, in severities drawn for each image. It writes corruption.json
and corruption.png. The same command resumes an interrupted evaluation. It needs the extra `robustness`.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait slow down all that share a core

import json
from pathlib import Path

import torch
from methods import name_of
from options import Parser, at_least, run_script
from runs import load
from sources import create_protocols, open_test_data
from tqdm import tqdm

from vireid.data import CORRUPTIONS, PersonImages, RandomCorruption, corrupt, create_test_transform
from vireid.evaluation import CorruptedProtocol, evaluate, format_results
from vireid.visualization import plot_bars

TABLE_5 = {  # rank-1 and mAP, in percent
    "sysu": "B 25.92 / 23.13, + Aux + L_id^a 30.85 / 26.54, + Aux + L_idc 31.12 / 27.44, + L_ia 36.78 / 32.32, MUN 41.17 / 38.63",
    "regdb": "B 32.05 / 29.64, + Aux + L_id^a 36.40 / 31.21, + Aux + L_idc 38.13 / 32.29, + L_ia 45.44 / 42.89, MUN 52.69 / 50.18",
}


def parse_arguments():
    parser = Parser(__doc__)
    add = parser.add_argument
    add("networks", type=Path, nargs="+", help="folders of embedders, or training states such as runs/train/last.pt")
    add("--names", nargs="+", help="names of the networks in titles and rows; by default their methods, or their paths")
    add("--dataset", choices=("sysu", "regdb", "llcm"), help="by default the one that they were trained on")
    add("--root", type=Path, help="folder of the data set; by default the one that they were trained on")
    add("--trial", type=int, help="of RegDB, by default the one that they were trained on")
    add("--trained-on", type=int, help="trial of RegDB that they were trained on, if they do not say")
    add("--draws", type=at_least(1), default=10, help="of the corruptions (%(default)s)")
    add("--corruptions", nargs="+", choices=CORRUPTIONS, default=list(CORRUPTIONS), help="by default all 20")
    add("--mixed-only", action="store_true", help="leave out each corruption alone, and the picture of them")
    add("--seed", type=at_least(0), default=0, help="of the draws (%(default)s)")
    add("--workers", type=at_least(0), default=1, help="processes that load and corrupt images (%(default)s)")
    add("--output", type=Path, default=Path("runs/corruption"), help="folder for results (%(default)s)")
    return parser.parse_args()


def name_networks(sources, names):
    """Return the names given, or what the runs trained if all differ, or the paths."""
    if names is not None:
        if not len(set(names)) == len(names) == len(sources):
            raise ValueError(f"names must be {len(sources)} different names, one for each network, got {names}.")
        return names
    runs = [source.parent / "run.json" for source in sources]  # of train.py, beside last.pt and best/
    settings = [json.loads(run.read_text())["settings"] for run in runs if run.is_file()]
    methods = {name_of(of_run): None for of_run in settings if "method" in of_run}
    return [*methods] if len(methods) == len(sources) else [str(source) for source in sources]


def measure(network, name, dataset, trials, args):
    """Return the results on clean and on corrupted images, and the first protocol's for each corruption alone."""
    protocols = create_protocols(name, **trials)
    transform = create_test_transform(**network.preprocessing)
    clean = dataset.test_images(transform)
    single = () if args.mixed_only else args.corruptions
    progress = tqdm(total=2 + len(single), unit="evaluation")

    def corrupted(corruptions, draw=0):
        size = network.preprocessing["size"]
        corruption = RandomCorruption(size=size, seed=args.seed, corruptions=corruptions, draw=draw)
        return PersonImages(dataset.test_visible, transform, corruption=corruption)

    def run(visible, protocols):
        images = {"visible": visible, "infrared": clean["infrared"]}
        results = evaluate(network, images, protocols, workers=args.workers, cache=args.output / "cache")
        progress.update()
        return results

    results = {f"{row}, clean": result for row, result in run(clean["visible"], protocols).items()}
    several = {row: CorruptedProtocol(protocol, draws=args.draws) for row, protocol in protocols.items()}
    draws = [corrupted(args.corruptions, draw) for draw in range(args.draws)]
    results |= {f"{row}, corrupted": result for row, result in run(draws, several).items()}
    row, first = next(iter(protocols.items()))
    return results, {alone: run(corrupted([alone]), {row: first})[row] for alone in single}


def main(args):
    corrupt(torch.zeros(3, 64, 32, dtype=torch.uint8), "contrast", 1)  # a missing extra is told now
    prepared = []
    for title, source in zip(name_networks(args.networks, args.names), args.networks, strict=True):
        network, notes = load(source)
        network.to("cuda" if torch.cuda.is_available() else "cpu")
        prepared.append((title, network, *open_test_data(args, notes)))
    args.output.mkdir(parents=True, exist_ok=True)
    rows, saved, panels, references = {}, {}, {}, {}
    for title, network, name, dataset, trials in prepared:
        results, alone = measure(network, name, dataset, trials, args)
        rows |= {f"{title}, {row}": result for row, result in results.items()}
        saved[title] = {row: result.to_dict() for row, result in (results | alone).items()}
        undamaged = 100 * next(iter(results.values())).cmc[:, 0].mean().item()
        panels[title] = {row: (100 * result.cmc[:, 0]).tolist() for row, result in alone.items()}
        references[title] = dict.fromkeys(alone, undamaged)
    (args.output / "corruption.json").write_text(json.dumps(saved, indent=1))
    if not args.mixed_only:
        label = f"rank-1 (%), {next(iter(results)).removesuffix(', clean')}"
        figure = plot_bars(panels, references=references, reference_name="clean images", label=label)
        figure.savefig(args.output / "corruption.png", dpi=110)
    print(format_results(rows))
    if name in TABLE_5:
        print(f"The paper's Table 5, on real data (rank-1 / mAP): {TABLE_5[name]}.")
    print(f"{args.output} holds corruption.json{'' if args.mixed_only else ' and corruption.png'}.")


if __name__ == "__main__":
    run_script(main, parse_arguments())
