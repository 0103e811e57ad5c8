"""How fast images become normalised tensors, beside the usual PIL pipeline, and how much memory loading takes.

    python benchmarks/loading.py

"PIL" is what the scripts of the field do with a file: open, resize, array, back to PIL, pad, crop, flip, tensor,
normalise. vireid does the same with its ``agw`` recipe, from the same JPEG files, in turn, on one thread, with Pillow
and with simplejpeg, at equal filters; figures are processor times, ratios are those of each round. "read" and "transform"
are the parts of the last. The main job is `examples/train.py` with its defaults, but MUN as printed: what one worker makes and what the
network takes, each alone and by the clock, and for what share of the time the network waits if both run. The last rows
compare the memory of a process that goes through the data set with loading on demand to one that first puts all images
into an array, as those scripts do.
"""

import argparse
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _record
import numpy as np
import simplejpeg
import torch
from options import keep_memory
from PIL import Image
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg

from vireid import MUN
from vireid.data import (
    CrossModalityIdentitySampler,
    PairedImages,
    PersonImages,
    Record,
    create_dataset,
    create_train_transform,
    generate_synthetic,
    read_image,
)
from vireid.losses import MUNLoss
from vireid.modality import Modality

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CASES = {  # size of the files, and the filter; what the network takes is 288 × 144
    "288×144, no filter": ((288, 144), "bilinear"),
    "384×192, bilinear": ((384, 192), "bilinear"),
    "384×192, Lanczos": ((384, 192), "lanczos"),
}


def create_pil_pipeline(interpolation):
    steps = [transforms.ToPILImage(), transforms.Pad(10), transforms.RandomCrop((288, 144))]
    steps += [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    augment, resample = transforms.Compose(steps), Image.Resampling[interpolation.upper()]
    return lambda path: augment(np.array(Image.open(path).convert("RGB").resize((144, 288), resample)))


def create_vireid_pipeline(interpolation, decoder):
    augment = create_train_transform("visible", recipe="agw", interpolation=interpolation)
    return lambda path: augment(read_image(path, decoder=decoder))


def measure_throughput(root, interpolation, rounds):
    """Return images a second of the pipelines, the ratios, and the parts of the fastest, over the rounds."""
    pipelines = {
        "PIL": create_pil_pipeline(interpolation),
        "vireid": create_vireid_pipeline(interpolation, "pillow"),
        "simplejpeg": create_vireid_pipeline(interpolation, "simplejpeg"),
        "read": lambda path: read_image(path, decoder="simplejpeg"),
    }
    seconds = time_in_turn(pipelines, sorted(root.glob("cam*/*/*.jpg")), rounds)
    measures = {f"{name}, images/s": _record.spread(1 / seconds[name]) for name in ("PIL", "vireid", "simplejpeg")}
    measures["ratio"] = _record.ratio(seconds["PIL"], seconds["vireid"])
    measures["ratio, simplejpeg"] = _record.ratio(seconds["PIL"], seconds["simplejpeg"])
    measures["read, µs"] = _record.spread(1e6 * seconds["read"])
    measures["transform, µs"] = _record.spread(1e6 * (seconds["simplejpeg"] - seconds["read"]))
    return measures


def measure_decoders(root, rounds):
    """Return the time of decoding a file in memory to pixels, by library."""
    decoders = {
        "Pillow": lambda data: Image.open(io.BytesIO(data)).load(),
        "torchvision": lambda data: decode_jpeg(torch.frombuffer(data, dtype=torch.uint8), ImageReadMode.RGB),
        "simplejpeg, 3 bytes": lambda data: simplejpeg.decode_jpeg(data, "RGB"),
        "simplejpeg, 4 bytes": lambda data: simplejpeg.decode_jpeg(data, "RGBA"),
    }
    if importlib.util.find_spec("cv2"):
        cv2 = importlib.import_module("cv2")
        decoders["OpenCV"] = lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    files = [bytearray(path.read_bytes()) for path in sorted(root.glob("cam*/*/*.jpg"))]
    seconds = time_in_turn(decoders, files, rounds)
    return {f"{name}, µs": _record.spread(1e6 * values) for name, values in seconds.items()}


def time_in_turn(functions, items, rounds):
    """Return the processor seconds of each function for one of the items, an array over the rounds."""
    seconds = {name: np.zeros(rounds) for name in functions}
    for i in range(rounds):
        for name, function in functions.items():
            started = time.process_time()
            for item in items:
                function(item)
            seconds[name][i] = (time.process_time() - started) / len(items)
    return seconds


def measure_main_job(root, rounds):
    """Return images a second of one worker and of the step, each alone, and the share of the time the step waits."""
    size, steps = (96, 48), 2 * rounds
    transforms = [create_train_transform(modality, size) for modality in ("visible", "infrared")]
    pairs = PairedImages(create_dataset("sysu", root).train, *transforms)
    sampler = CrossModalityIdentitySampler(
        pairs.visible_identities,
        pairs.infrared_identities,
        identities_per_batch=8,
        images_per_identity=4,
        batches_per_epoch=steps + 2,
    )
    model = MUN(pairs.num_identities, "test_resnet", image_size=size)
    criterion = MUNLoss(model.embedding_dim, batch_size=32, iterations=steps)
    optimizer = torch.optim.AdamW([*model.parameters(), *criterion.parameters()], lr=1e-5)

    def step(visible, infrared, identities):
        optimizer.zero_grad()
        criterion(model(visible, infrared), identities).total.backward()
        optimizer.step()

    def go(work):
        """Return the seconds of waiting and of working for each batch but the first, which may find some ready."""
        marks = [time.perf_counter()]
        for batch in torch.utils.data.DataLoader(pairs, batch_sampler=sampler, num_workers=1):
            marks.append(time.perf_counter())
            work(batch)
            marks.append(time.perf_counter())
        waiting, working = np.diff(marks).reshape(-1, 2).T
        return waiting[2:], working[2:]

    loading = go(lambda batch: None)[0]
    batch = next(iter(torch.utils.data.DataLoader(pairs, batch_sampler=sampler)))
    waiting, working = go(lambda batch: step(*batch))
    alone = []
    for _ in range(rounds):
        started = time.perf_counter()
        step(*batch)
        alone.append(time.perf_counter() - started)
    groups = loading.reshape(rounds, 2).mean(1), waiting.reshape(rounds, 2).sum(1), working.reshape(rounds, 2).sum(1)
    return {
        "one worker, images/s": _record.spread(64 / groups[0]),
        "step, images/s": _record.spread([64 / seconds for seconds in alone]),
        "waiting, %": _record.spread(100 * groups[1] / (groups[1] + groups[2])),
    }


def go_through(way, root, repeats):
    """Read every image `repeats` times over, as a larger data set would be; print the growth of this process in MiB."""
    paths = sorted(Path(root).glob("cam*/*/*.jpg")) * repeats
    before = _record.peak()
    if way == "array":
        images = np.stack([np.array(Image.open(path).resize((144, 288), Image.Resampling.LANCZOS)) for path in paths])
        images.sum()
    else:
        records = [Record(path, 1, 1, Modality.VISIBLE) for path in paths]
        for _ in torch.utils.data.DataLoader(PersonImages(records, create_train_transform("visible")), 64):
            pass
    print(_record.peak() - before)


def measure_memory(root, repeats):
    """Return the MiB by which a process grows, in either way."""
    measures = {}
    for way in ("array", "on demand"):
        command = [sys.executable, __file__, "--grow", way, str(root), str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        measures[f"{way}, MiB"] = float(f"{float(done.stdout):.3g}")
    return measures


def main(args):
    torch.set_num_threads(1)
    if args.grow:
        way, root, repeats = args.grow
        go_through(way, root, int(repeats))
        return
    keep_memory()
    with tempfile.TemporaryDirectory() as folder, _record.measuring(args) as figures:
        size_of = {"train_identities": 8, "test_identities": 2, "images_per_camera": args.images}
        sizes = {(96, 48), *(size for size, _ in CASES.values())}
        roots = {size: generate_synthetic(Path(folder, f"{size[0]}"), **size_of, size=size) for size in sizes}
        for name, (size, interpolation) in CASES.items():
            figures[name] = measure_throughput(roots[size], interpolation, args.rounds)
        figures["decoding 288×144"] = measure_decoders(roots[288, 144], args.rounds)
        torch.set_num_threads(os.cpu_count() or 1)
        figures["main job"] = measure_main_job(roots[96, 48], args.rounds)
        images = len(list(roots[288, 144].glob("cam*/*/*.jpg")))
        for repeats in (10, 40):
            figures[f"{repeats * images} images"] = measure_memory(roots[288, 144], repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each measure (%(default)s)")
    parser.add_argument("--images", type=int, default=4, help="of each person and camera (%(default)s)")
    parser.add_argument("--grow", nargs=3, help=argparse.SUPPRESS)  # of the process that is measured
    main(_record.parse(parser))
