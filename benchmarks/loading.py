"""How fast images become normalised tensors, beside the usual PIL pipeline, and how much memory loading takes.

    python benchmarks/loading.py

"PIL" is what the scripts of the field do with a file: open, resize (theirs is LANCZOS), array, back to PIL, pad, crop,
flip, tensor, normalise. vireid does the same shift, flip and normalisation with its ``agw`` recipe, from the same JPEG
files, in turn, on one thread, with each decoder and at equal filters; processor times are medians of nine passes, and the
ratios are given with their range. The steps of the fastest are timed one by one. The last lines compare the memory of a process that goes
through the data set with loading on demand to one that first puts all images into an array, as those scripts do.
"""

import importlib.util
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from vireid.data import PersonImages, Record, create_train_transform, generate_synthetic, read_image
from vireid.modality import Modality

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = [(288, 144), (384, 192)]  # of the files; what the network takes is 288 × 144


def create_pil_pipeline(interpolation):
    steps = [transforms.ToPILImage(), transforms.Pad(10), transforms.RandomCrop((288, 144))]
    steps += [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    augment, resample = transforms.Compose(steps), Image.Resampling[interpolation.upper()]
    return lambda path: augment(np.array(Image.open(path).convert("RGB").resize((144, 288), resample)))


def create_vireid_pipeline(interpolation, decoder):
    augment = create_train_transform("visible", recipe="agw", interpolation=interpolation)
    return lambda path: augment(read_image(path, decoder=decoder))


def measure_throughput(folder):
    decoders = ["pillow", *(["simplejpeg"] if importlib.util.find_spec("simplejpeg") else [])]
    for size in SIZES:
        root = generate_synthetic(
            folder / f"{size[0]}", train_identities=4, test_identities=2, images_per_camera=6, size=size
        )
        paths = sorted(root.glob("cam*/*/*.jpg"))
        for interpolation in ("bilinear", "lanczos"):
            pipelines = {"PIL": create_pil_pipeline(interpolation)}
            pipelines |= {f"vireid, {name}": create_vireid_pipeline(interpolation, name) for name in decoders}
            seconds = {name: [] for name in pipelines}
            for _ in range(9):
                for name, pipeline in pipelines.items():
                    started = time.process_time()
                    for path in paths:
                        pipeline(path)
                    seconds[name].append((time.process_time() - started) / len(paths))
            print(f"files of {size[0]}×{size[1]}, {interpolation}")
            for name, values in seconds.items():
                ratios = sorted(pil / value for pil, value in zip(seconds["PIL"], values, strict=True))
                shown = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) times PIL's"
                print(f"  {name:20}{1 / statistics.median(values):6.0f} images/s a core, {shown}")
        print("  " + ", ".join(f"{name} {1e6 * value:.0f} µs" for name, value in time_steps(paths, decoders[-1])))


def time_steps(paths, decoder):
    """Return the median seconds of each step of vireid's pipeline."""
    steps = {f"read ({decoder})": lambda path: read_image(path, decoder=decoder)}
    steps |= {type(step).__name__.strip("_"): step for step in create_train_transform("visible", recipe="agw")}
    seconds = {name: [] for name in steps}
    for path in paths * 3:
        value = path
        for name, step in steps.items():
            started = time.perf_counter()
            value = step(value)
            seconds[name].append(time.perf_counter() - started)
    return [(name, statistics.median(values)) for name, values in seconds.items()]


def go_through(way, root, repeats):
    """Read every image `repeats` times over, as a larger data set would be; print the growth of this process in MB."""
    paths = sorted(Path(root).glob("cam*/*/*.jpg")) * repeats
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if way == "array":
        images = np.stack([np.array(Image.open(path).resize((144, 288), Image.Resampling.LANCZOS)) for path in paths])
        images.sum()
    else:
        records = [Record(path, 1, 1, Modality.VISIBLE) for path in paths]
        for _ in torch.utils.data.DataLoader(PersonImages(records, create_train_transform("visible")), 64):
            pass
    print(len(paths), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def measure_memory(folder):
    for repeats in (10, 40):
        for way in ("array", "on demand"):
            command = [sys.executable, __file__, way, str(folder / "288"), str(repeats)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            images, grown = done.stdout.split()
            print(f"{images} images, {way:9}: {float(grown):6.0f} MB more")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        go_through(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            measure_throughput(Path(temporary))
            measure_memory(Path(temporary))
