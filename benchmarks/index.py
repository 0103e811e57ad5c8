"""How fast and how small the search of `GalleryIndex` is beside faiss's exact index, `IndexFlatIP`.

    pip install faiss-cpu
    python benchmarks/index.py [--gallery 1000000] [--queries 2048] [--dim 256] [--k 20] [--threads 2]

Each contender runs in a process of its own, in turns, on the same random unit rows. Memory is the growth of the process's peak (getrusage) over its size with the rows and queries in place: the copy
that an index keeps, and what the search adds to it. Where two rows are nearer to each other than the rounding of float32,
the rows found may differ.
"""

import argparse
import importlib.util
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

from vireid.evaluation import GalleryIndex


def search(contender, arguments, file):
    """Index, search, print the measures as JSON and write the ids to a file."""
    generator = torch.Generator().manual_seed(0)
    rows, queries = (
        torch.randn(size, arguments.dim, generator=generator) for size in (arguments.gallery, arguments.queries)
    )
    for x in (rows, queries):
        x.div_(torch.linalg.vector_norm(x, dim=1, keepdim=True))
    torch.set_num_threads(arguments.threads)
    if contender == "faiss":
        import faiss  # noqa: PLC0415  (only this contender needs it)

        faiss.omp_set_num_threads(arguments.threads)
        index = faiss.IndexFlatIP(arguments.dim)
    else:
        index = GalleryIndex(arguments.dim)
    before, started = _record.peak(), time.perf_counter()
    index.add(rows.numpy() if contender == "faiss" else rows)
    added, processor, indexed = time.perf_counter(), time.process_time(), _record.peak()
    found = index.search(queries.numpy() if contender == "faiss" else queries, arguments.k)
    done, processor = time.perf_counter(), time.process_time() - processor
    measures = {"search, s": done - added, "processor time of the search, s": processor}
    measures |= {
        "adding the rows, s": added - started,
        "index, MiB": indexed - before,
        "search adds, MiB": _record.peak() - indexed,
    }
    np.save(file, np.asarray(found[1]))
    print(json.dumps(measures))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=int, default=1_000_000, help="rows of the gallery")
    parser.add_argument("--queries", type=int, default=2048, help="rows to search for")
    parser.add_argument("--dim", type=int, default=256, help="width of the rows")
    parser.add_argument("--k", type=int, default=20, help="rows to find for each query")
    parser.add_argument("--threads", type=int, default=2, help="threads of each contender")
    parser.add_argument("--rounds", type=int, default=3, help="times that each contender runs")
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)  # its name and where it writes its ids
    arguments = _record.parse(parser)
    if arguments.contender:
        search(arguments.contender[0], arguments, arguments.contender[1])
        return
    if importlib.util.find_spec("faiss") is None:
        raise SystemExit("faiss must be installed for this: pip install faiss-cpu")
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    torch.set_num_threads(arguments.threads)
    measures, ids = {"faiss": [], "vireid": []}, {}
    with tempfile.TemporaryDirectory() as folder, _record.measuring(arguments) as figures:
        for contender in list(measures) * arguments.rounds:
            file = str(Path(folder, f"{contender}.npy"))
            command = [sys.executable, *sys.argv, "--contender", contender, file]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            measures[contender].append(json.loads(done.stdout))
            ids[contender] = np.load(file)
        for key in measures["vireid"][0]:
            values = {contender: [one[key] for one in rounds] for contender, rounds in measures.items()}
            figures[key] = {contender: _record.spread(rounds) for contender, rounds in values.items()}
            figures[key]["ratio"] = _record.ratio(values["faiss"], values["vireid"])
        figures["rows that differ, %"] = {"vireid": float(f"{100 * (ids['faiss'] != ids['vireid']).mean():.2g}")}


if __name__ == "__main__":
    main()
