"""How long each corruption takes for an image of 288×144.

    python benchmarks/corruptions.py

One thread; the median over the five severities of the median of seven repetitions. The library compiles what glass blur
needs once in a process, which is not counted.
"""

import statistics
import tempfile
import time

import cv2
import torch

from vireid.data import CORRUPTIONS, corrupt, generate_synthetic, read_image


def main():
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = generate_synthetic(f"{folder}/people", train_identities=2, test_identities=1, images_per_camera=1)
        image = read_image(root / "cam1" / "0001" / "0001.jpg")
    medians = {}
    for name in CORRUPTIONS:
        corrupt(image, name, 1)  # warm-up
        severities = []
        for severity in range(1, 6):
            times = []
            for repetition in range(7):
                started = time.perf_counter()
                corrupt(image, name, severity, seed=repetition)
                times.append(1000 * (time.perf_counter() - started))
            severities.append(statistics.median(times))
        medians[name] = statistics.median(severities)
        print(f"{name:18} {medians[name]:6.1f} ms")
    print(f"{'mean':18} {statistics.mean(medians.values()):6.1f} ms")


if __name__ == "__main__":
    main()
