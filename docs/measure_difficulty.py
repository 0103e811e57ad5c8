"""Measure how hard the synthetic data set is: rank-1 and mAP of chance, of pixels and of colours.

python examples/train.py && python docs/measure_difficulty.py && python docs/make_tables.py

It writes ``docs/results/difficulty.json`` from the images that the training run left in ``data/``. The networks' rows
of the table are those of ``docs/results/main-job.json``, the run's ``run.json``.
"""

import json
from pathlib import Path

import torch
from torch.nn.functional import one_hot

from vireid.data import SYSUMM01, read_image
from vireid.evaluation import EmbeddingSet, SYSUMM01Protocol


def raw_pixels(image):
    """The image itself, without its mean: the cosine of two is their correlation."""
    return (image.float() - image.float().mean()).flatten()


def colour_histogram(image):
    """How much of the image, and of its upper, middle and lower third, has each of 4 × 4 × 4 colours."""
    colours = (image.long() // 64 * torch.tensor([16, 4, 1])[:, None, None]).sum(0)
    return torch.cat([one_hot(part, 64).float().mean((0, 1)) for part in (colours, *colours.chunk(3))]).sqrt()


def random_numbers(image):
    """Nothing of the image."""
    return torch.rand(32) - 0.5 + 0 * image[0, 0, 0]


def describe(records, describe_image):
    """Embed the images of records by a function."""
    embeddings = torch.stack([describe_image(read_image(record.path)) for record in records])
    identities = torch.tensor([record.identity for record in records])
    cameras = torch.tensor([record.camera for record in records])
    return EmbeddingSet(embeddings, identities, cameras, records[0].modality, describe_image.__name__)


def main():
    torch.manual_seed(0)
    dataset = SYSUMM01(Path("data/synthetic-sysu-96x48"))
    protocol = SYSUMM01Protocol()
    rows = {}
    for name, function in {
        "random numbers": random_numbers,
        "raw pixels": raw_pixels,
        "colour histograms": colour_histogram,
    }.items():
        rows[name] = protocol.evaluate(*(describe(x, function) for x in (dataset.test_infrared, dataset.test_visible)))
    record = {
        "fingerprint": dataset.fingerprint(),
        "results": {name: result.to_dict() for name, result in rows.items()},
    }
    for result in record["results"].values():
        del result["trials"]
    target = Path(__file__).parent / "results" / "difficulty.json"
    target.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
