"""Measure exported files of every precision against PyTorch, the table of ``docs/deploy.md``.

python docs/measure_export.py runs/train/best data/synthetic-sysu-96x48 && python docs/make_tables.py

It takes the folder of an embedder and a data set in the layout of SYSU-MM01, some minutes, and writes
``docs/results/exports.json``. The times are of one thread, the fastest batch of 64 images.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import make_tables
import torch
from torchvision.transforms.v2 import Resize

from vireid import TwoStreamEmbedder
from vireid.data import PersonImages, create_dataset, create_test_transform
from vireid.evaluation import create_protocols, evaluate, extract_embeddings
from vireid.models import check_export, export, load_exported

MODALITIES = ("infrared", "visible")
RANGES = 256  # images from which int8 takes its ranges


def milliseconds(embed, images):
    """The time of an image in the fastest of twenty batches."""
    batch = torch.stack([images[i][0] for i in range(64)])
    times = []
    for _ in range(20):
        start = time.perf_counter()
        embed(batch)
        times.append(time.perf_counter() - start)
    return 1000 * min(times) / len(batch)


def scores(model, images):
    """Rank-1 and mAP of all search and indoor search."""
    results = evaluate(model, images, create_protocols("sysu"))
    return {name: {"rank-1": r.cmc[:, 0].mean().item(), "mAP": r.mAP.mean().item()} for name, r in results.items()}


def export_all(embedder, ranges, folder):
    """Yield each kind of file with its size in MB and the files of both modalities, read again."""
    for suffix, precisions in {"onnx": ("float32", "float16", "int8"), "pt2": ("float32", "float16")}.items():
        for precision in precisions:
            models = {}
            for modality in MODALITIES:
                path = Path(folder, f"{modality}-{precision}.{suffix}")
                some = ranges[modality] if precision == "int8" else None
                written = export(embedder, modality, path, precision=precision, images=some)
                models[modality] = load_exported(path, trusted=True)
            yield f"`.{suffix}`, {precision}", written.file_size / 1e6, models


def compare(models, embedder, images, known):
    """Compare the files of both modalities with PyTorch."""
    reports = [
        check_export(models[first], embedder, images[first], gallery=known[second].embeddings)
        for first, second in (MODALITIES, MODALITIES[::-1])
    ]
    for report in reports:
        if report.precision == "float32" and report.ranking_agreement < 1:
            raise SystemExit(str(report))  # the page promises the same ranking
    return {
        "largest difference": max(report.largest_difference for report in reports),
        "smallest cosine": min(report.smallest_cosine for report in reports),
        "same rank-1": [report.rank1_agreement for report in reports],
        "results": scores(lambda batch, modality: models[modality](batch), images),
    }


def main():
    """Measure every file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="folder of an embedder")
    parser.add_argument("root", help="data set in the layout of SYSU-MM01")
    parser.add_argument("--times", action="store_true", help="measure the times alone, again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    embedder = TwoStreamEmbedder.from_pretrained(arguments.model)
    dataset = create_dataset("sysu", arguments.root)
    transform, resize = create_test_transform(**embedder.preprocessing), Resize(embedder.preprocessing["size"])
    images, normalised = dataset.test_images(resize), dataset.test_images(transform)
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(0))
    shuffled = [dataset.train[i] for i in order]
    ranges = {
        modality: PersonImages([record for record in shuffled if record.modality == modality][:RANGES], resize)
        for modality in MODALITIES
    }
    rows = make_tables.read("exports") if arguments.times else {}
    if not arguments.times:
        known = {modality: extract_embeddings(embedder, normalised[modality], modality) for modality in MODALITIES}
        size = sum(value.numel() * value.element_size() for value in embedder.state_dict().values()) / 1e6
        rows["PyTorch"] = {"MB": size, "results": scores(embedder, normalised)}
    with torch.inference_mode():
        time_ = milliseconds(lambda batch: embedder.embed(transform(batch), "infrared"), images["infrared"])
    rows["PyTorch"]["ms"] = time_
    with TemporaryDirectory() as folder:
        for name, size, models in export_all(embedder, ranges, folder):
            if not arguments.times:
                rows[name] = {"MB": size, **compare(models, embedder, images, known)}
            rows[name]["ms"] = milliseconds(models["infrared"], images["infrared"])
    make_tables.write("exports", rows)


if __name__ == "__main__":
    main()
