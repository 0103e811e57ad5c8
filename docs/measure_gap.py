"""Measure where the third modality of trained networks lies, between the others or beside them.

python docs/measure_gap.py runs/module data/sysu-200-200 && python docs/make_evidence.py

It embeds pairs of test images with the networks of Table 2, and with B's without a third modality: the last.pt of those
runs of ablation.py that ``docs/evidence/runs.json`` knows. It keeps with each run how far apart the centres of a
person's embeddings in two modalities are, at unit length.
"""

import argparse
import json
from pathlib import Path

import make_evidence
import torch
from runs import load
from torch.nn.functional import normalize

from vireid.data import SYSUMM01, CrossModalityIdentitySampler, PairedImages, create_test_transform

PAIRS = {"visible to third": (0, 2), "third to infrared": (2, 1), "visible to infrared": (0, 1)}
PEOPLE, IMAGES, BATCHES = 8, 4, 25


@torch.no_grad()
def measure(network, batches):
    """Compute the mean distances of the centres of a person's modalities."""
    rows = []
    for *images, _identities in batches:
        output = network(*images)
        parts = [part for part in (output.visible, output.infrared, output.auxiliary) if part is not None]
        centres = [normalize(part).view(PEOPLE, IMAGES, -1).mean(1) for part in parts]  # (p k) d -> p d
        between = {name: pair for name, pair in PAIRS.items() if max(pair) < len(centres)}
        rows.append([(centres[i] - centres[j]).norm(dim=1).mean() for i, j in between.values()])
    means = torch.tensor(rows).mean(0).tolist()
    return dict(zip(between, (round(mean, 3) for mean in means), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="output of ablation.py")
    parser.add_argument("root", type=Path, help="the data set that it trained on, in the layout of SYSU-MM01")
    args, runs = parser.parse_args(), make_evidence.read_runs()
    rows = make_evidence.MODALITIES.values()
    known = {json.dumps(run["command"]): run for run in runs if run["method"] in rows}
    dataset = SYSUMM01(args.root)
    for path in sorted(args.folder.glob("*/*/metrics.json")):
        run = known.get(json.dumps(make_evidence.command_of(json.loads(path.read_text(encoding="utf-8")))))
        if run is None:
            continue
        network = load(path.with_name("last.pt"))[0]
        transform = create_test_transform(**network.preprocessing)
        pairs = PairedImages([*dataset.test_visible, *dataset.test_infrared], transform, transform)
        sampler = CrossModalityIdentitySampler(
            pairs.visible_identities,
            pairs.infrared_identities,
            identities_per_batch=PEOPLE,
            images_per_identity=IMAGES,
            batches_per_epoch=BATCHES,
            generator=torch.Generator().manual_seed(0),
        )
        run["gap"] = measure(network, torch.utils.data.DataLoader(pairs, batch_sampler=sampler))
        print(run["method"], run["seed"], run["gap"], flush=True)
    make_evidence.write_runs(runs)


if __name__ == "__main__":
    main()
