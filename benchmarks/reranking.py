"""How fast and how small `KReciprocalReranking` is beside the algorithm of the public scripts, image by image in NumPy.

    python benchmarks/reranking.py [--rounds 3] [--dim 512]

At the size of SYSU-MM01 (3,803 queries, a gallery of 301 images) and of RegDB (2,060 of each). Each contender runs in a
process of its own, in turns, on one thread; times are those of the processor.
Memory is the growth of the process's peak (getrusage) over its size with the embeddings in place.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _record
import numpy as np
import torch

from vireid.evaluation import KReciprocalReranking

SIZES = {"SYSU-MM01": (3803, 301, 96), "RegDB": (2060, 2060, 206)}  # queries, gallery images, identities


def rerank_in_loops(queries, gallery, k1=20, k2=6, weight=0.3):
    """Re-rank as the scripts do: whole matrices, with loops over the images."""
    rows = np.concatenate([queries, gallery])
    lengths = (rows**2).sum(1)
    distances = np.maximum(lengths[:, None] + lengths - 2 * rows @ rows.T, 0)
    distances /= distances.max(1, keepdims=True)
    order = np.argsort(distances, axis=1)

    def mutual(i, k):
        near = order[i, : k + 1]
        return near[(order[near, : k + 1] == i).any(1)]

    encoded = np.zeros_like(distances)
    for i in range(len(rows)):
        near = neighbourhood = mutual(i, k1)
        for j in near:
            of_j = mutual(j, round(k1 / 2))
            if len(np.intersect1d(of_j, near)) > 2 / 3 * len(of_j):
                neighbourhood = np.append(neighbourhood, of_j)
        neighbourhood = np.unique(neighbourhood)
        weights = np.exp(-distances[i, neighbourhood])
        encoded[i, neighbourhood] = weights / weights.sum()
    if k2 > 1:
        encoded = np.stack([encoded[order[i, :k2]].mean(0) for i in range(len(rows))])
    holders = [np.flatnonzero(column) for column in encoded.T]
    jaccard = np.zeros((len(queries), len(rows)), dtype=rows.dtype)
    for i in range(len(queries)):
        overlap = np.zeros(len(rows), dtype=rows.dtype)
        for j in np.flatnonzero(encoded[i]):
            overlap[holders[j]] += np.minimum(encoded[i, j], encoded[holders[j], j])
        jaccard[i] = 1 - overlap / (2 - overlap)
    mixed = (1 - weight) * jaccard + weight * distances[: len(queries)]
    return mixed[:, len(queries) :]


def measure(contender, name, dim, file):
    """Re-rank, print the measures as JSON and write the distances to a file."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    queries, gallery, people = SIZES[name]
    centres = rng.normal(size=(people, dim))
    rows = [centres[np.arange(size) % people] + 2 * rng.normal(size=(size, dim)) for size in (queries, gallery)]
    x, y = ((part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32) for part in rows)
    del rows, centres
    before, started = _record.peak(), time.process_time()
    if contender == "scripts":
        distances = rerank_in_loops(x, y)
    else:
        distances = KReciprocalReranking()(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    seconds, grown = time.process_time() - started, _record.peak() - before
    np.save(file, distances)
    print(json.dumps({"seconds": seconds, "MiB": grown}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times that each contender runs")
    parser.add_argument("--dim", type=int, default=512, help="width of the embeddings")
    parser.add_argument("--contender", nargs=3, help=argparse.SUPPRESS)  # its name, the data set, a file
    arguments = _record.parse(parser)
    if arguments.contender:
        contender, name, file = arguments.contender
        measure(contender, name, arguments.dim, file)
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    with _record.measuring(arguments) as figures:
        for name in SIZES:
            figures[name] = compare(name, arguments.rounds, environment)


def compare(name, rounds, environment):
    measures, distances = {"scripts": [], "vireid": []}, {}
    with tempfile.TemporaryDirectory() as folder:
        for contender in list(measures) * rounds:
            file = str(Path(folder, f"{contender}.npy"))
            command = [sys.executable, *sys.argv, "--contender", contender, name, file]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            measures[contender].append(json.loads(done.stdout))
            distances[contender] = np.load(file)
    figures = {}
    for key, label in {"seconds": "s", "MiB": "MiB"}.items():
        values = {contender: [one[key] for one in measured] for contender, measured in measures.items()}
        figures |= {f"{contender}, {label}": _record.spread(of) for contender, of in values.items()}
        figures[f"ratio of {label}"] = _record.ratio(*values.values())
    change = np.abs(distances["scripts"] - distances["vireid"])
    return figures | {"distances differ by": float(f"{change.max():.0e}")}


if __name__ == "__main__":
    main()
