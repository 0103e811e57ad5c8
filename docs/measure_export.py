"""Print the table of ``docs/deploy.md``: exported files of every precision against PyTorch.

python docs/measure_export.py MODEL ROOT

MODEL is the folder of an embedder and ROOT a data set in the layout of SYSU-MM01, such as the synthetic one. It takes
some minutes. The times are of one thread, the fastest batch of 64 images.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

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
    """Rank-1 and mAP of all search and indoor search, in percent."""
    results = evaluate(model, images, create_protocols("sysu")).values()
    return " | ".join(f"{100 * x.mean():.2f}" for result in results for x in (result.cmc[:, 0], result.mAP))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="folder of an embedder")
    parser.add_argument("root", help="data set in the layout of SYSU-MM01")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    embedder = TwoStreamEmbedder.from_pretrained(arguments.model)
    dataset = create_dataset("sysu", arguments.root)
    transform, resize = create_test_transform(**embedder.preprocessing), Resize(embedder.preprocessing["size"])
    images, normalised = dataset.test_images(resize), dataset.test_images(transform)
    known = {modality: extract_embeddings(embedder, normalised[modality], modality) for modality in MODALITIES}
    shuffled = [
        dataset.train[i] for i in torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(0))
    ]
    ranges = {
        modality: PersonImages([record for record in shuffled if record.modality == modality][:RANGES], resize)
        for modality in MODALITIES
    }
    print("| File | MB | largest difference | same rank-1 | all rank-1 | mAP | indoor rank-1 | mAP | ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    size = sum(value.numel() * value.element_size() for value in embedder.state_dict().values()) / 1e6
    with torch.inference_mode():
        time_ = milliseconds(lambda batch: embedder.embed(transform(batch), "infrared"), images["infrared"])
    print(f"| PyTorch | {size:.2f} | – | – | {scores(embedder, normalised)} | {time_:.2f} |", flush=True)
    with TemporaryDirectory() as folder:
        for suffix, precisions in {"onnx": ("float32", "float16", "int8"), "pt2": ("float32", "float16")}.items():
            for precision in precisions:
                models, reports = {}, []
                for modality in MODALITIES:
                    path = Path(folder, f"{modality}-{precision}.{suffix}")
                    some = ranges[modality] if precision == "int8" else None
                    written = export(embedder, modality, path, precision=precision, images=some)
                    models[modality] = load_exported(path, trusted=True)
                    other = known[MODALITIES[modality == "infrared"]].embeddings
                    reports.append(check_export(models[modality], embedder, images[modality], gallery=other))
                difference = max(report.largest_difference for report in reports)
                same = " / ".join(f"{report.rank1_agreement:.2%}" for report in reports)
                found = scores(lambda batch, modality, models=models: models[modality](batch), images)
                time_ = milliseconds(models["infrared"], images["infrared"])
                size = written.file_size / 1e6
                name = f"`.{suffix}`, {precision}"
                print(f"| {name} | {size:.2f} | {difference:.1e} | {same} | {found} | {time_:.2f} |", flush=True)
                if precision == "float32" and min(report.ranking_agreement for report in reports) < 1:
                    raise SystemExit("\n".join(map(str, reports)))  # the page promises the same ranking


if __name__ == "__main__":
    main()
