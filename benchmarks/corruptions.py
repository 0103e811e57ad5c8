"""How long each corruption takes for an image of 288×144, beside reading it from its file.

    python benchmarks/corruptions.py

Processor time on one thread, in turns: median, least and most over the five severities of the median of seven
repetitions. The library compiles what glass blur needs once in a process, which is not counted.
"""

import argparse
import statistics
import tempfile
import time

import _record
import cv2
import torch

from vireid.data import CORRUPTIONS, corrupt, generate_synthetic, read_image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args = _record.parse(parser)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder, _record.measuring(args) as figures:
        root = generate_synthetic(f"{folder}/people", train_identities=2, test_identities=1, images_per_camera=1)
        path = root / "cam1" / "0001" / "0001.jpg"
        image = read_image(path)
        for name in CORRUPTIONS:
            corrupt(image, name, 1)  # warm-up
            times = [time_severity(path, image, name, severity) for severity in range(1, 6)]
            corrupting, reading = zip(*times, strict=True)
            figures[name] = {"ms": _record.spread(corrupting), "ratio": _record.ratio(corrupting, reading)}


def time_severity(path, image, name, severity):
    """Return the median milliseconds of corrupting an image and of reading it."""
    times = []
    for repetition in range(7):
        started = time.process_time()
        corrupt(image, name, severity, seed=repetition)
        between = time.process_time()
        read_image(path)
        times.append((1000 * (between - started), 1000 * (time.process_time() - between)))
    return [statistics.median(column) for column in zip(*times, strict=True)]


if __name__ == "__main__":
    main()
