"""Whether thresholds keep, on other people, the false-accept rate that `calibrate` promises.

    python benchmarks/thresholds.py                           # embeddings that are drawn, of 60 people
    python benchmarks/thresholds.py --model FOLDER --data ROOT  # of a trained network, on the test people of a data set

The people are divided at random into two halves, 20 times. A threshold is chosen by `calibrate` on one half, and its
false-accept rate measured on the other. A row of the table counts how often that rate lies within the stated interval, and
how often below its upper end. With a model, --data is a root in the layout of SYSU-MM01, such as
`generate_synthetic` makes it; `docs/make_tables.py` writes the table of `docs/evaluation.md` from the file of --json.
"""

import argparse
from itertools import product
from pathlib import Path

import _record
import torch
from torch.nn.functional import normalize

from vireid.data import SYSUMM01, create_test_transform
from vireid.evaluation import EmbeddingSet, calibrate, compare_pairs, extract_embeddings
from vireid.models import TwoStreamEmbedder

PAIRS = [("infrared", "visible"), ("visible", "visible"), ("infrared", "infrared")]


def embed(model, root):
    """Embed the test images of a data set in SYSU-MM01's layout."""
    embedder = TwoStreamEmbedder.from_pretrained(model)
    images = SYSUMM01(root).test_images(create_test_transform(**embedder.preprocessing))
    return {name: extract_embeddings(embedder, images[name], name) for name in ("visible", "infrared")}


def draw(seed, people=60, images=10, dim=16):
    """Draw embeddings: people look like one of 8 groups, infrared images are displaced by a constant."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    centres = normal(people, dim) + 0.75 * normal(8, dim)[torch.randint(8, (people,), generator=generator)]
    identities = torch.arange(people).repeat_interleave(images)
    cameras = torch.arange(images).repeat(people) % 2
    return {
        name: EmbeddingSet(
            normalize(centres[identities] + offset + 0.9 * normal(len(identities), dim)), identities, cameras, name
        )
        for name, offset in (("visible", 0.0), ("infrared", 0.6))
    }


def choose(part, people):
    return part.select(torch.isin(part.identities, people))


def measure(first, second, threshold):
    distances, same = compare_pairs(first, second)
    return (distances[~same] <= threshold).double().mean().item(), (distances[same] > threshold).double().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of a saved embedder")
    parser.add_argument("--data", help="root of the data set")
    parser.add_argument("--seeds", type=int, default=20, help="how many times the people are divided")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the rows to this file as well")
    parser.add_argument("--people", type=int, default=60, help="how many people are drawn without a model")
    arguments = parser.parse_args()
    fixed = embed(arguments.model, arguments.data) if arguments.model else None

    header = "| pair | promised | measured: mean (least, largest) | within | below the upper end | mean interval | false rejects |"
    print(header, "|---|---|---|---|---|---|---|", sep="\n")
    rows = []
    for (first, second), promised in product(PAIRS, (1e-2, 1e-3)):
        rates, rejects, intervals = [], [], []
        for seed in range(arguments.seeds):
            sets = fixed or draw(seed, arguments.people)
            people = sets[first].identities.unique()
            people = people[torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))]
            halves = [[choose(sets[name], half) for name in (first, second)] for half in people.tensor_split(2)]
            pairs = [half if first != second else (half[0], None) for half in halves]
            calibration = calibrate(*pairs[0], false_accept_rate=promised)
            accept, reject = measure(*pairs[1], calibration.threshold)
            rates.append(accept)
            rejects.append(reject)
            intervals.append(calibration.false_accept_interval)
        rate, reject = torch.tensor(rates), torch.tensor(rejects)
        low, high = torch.tensor(intervals).T
        name = f"within {first}" if first == second else f"{first} → {second}"
        within, below = int(((low <= rate) & (rate <= high)).sum()), int((rate <= high).sum())
        print(
            f"| {name} | {promised:.1%} | {rate.mean():.2%} ({rate.min():.2%}, {rate.max():.2%}) | {within} of {len(rate)} | "
            f"{below} of {len(rate)} | {low.mean():.2%} to {high.mean():.2%} | {reject.mean():.1%} |",
            flush=True,
        )
        rows.append({"pair": name, "promised": promised, "mean": rate.mean().item(), "least": rate.min().item()})
        rows[-1] |= {"largest": rate.max().item(), "divisions": len(rate), "within": within, "below": below}
        rows[-1] |= {"interval": [low.mean().item(), high.mean().item()], "false rejects": reject.mean().item()}
    if arguments.json:
        _record.write(arguments.json, rows)


if __name__ == "__main__":
    main()
