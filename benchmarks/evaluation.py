"""How much faster `compute_metrics` is than the per-query loop of the field's scripts, at the size of SYSU-MM01.

    python benchmarks/evaluation.py

Both compute CMC, mAP and mINP of 3,803 queries against ten galleries of 301 images from the same distances, in turn;
the times are the medians over the galleries, all on one thread: the loop has no other, and threads that wait for each
other on a busy machine measure that machine. "scripts" does per query what the public evaluation scripts do, with their
list comprehensions; "NumPy" is the same loop with every step vectorised within the query.
"""

import statistics
import time

import numpy as np
import torch

from vireid.evaluation import compute_metrics, exclude_same_location


def evaluate_in_a_loop(distances, queries, gallery, query_cameras, gallery_cameras, *, as_scripts):
    order = np.argsort(distances, axis=1, kind="stable")
    ranked, ranked_cameras = gallery[order], gallery_cameras[order]
    cmc, precisions, penalties = [], [], []
    for i, identity in enumerate(queries):
        kept = ~((query_cameras[i] == 3) & (ranked_cameras[i] == 2))
        identities = ranked[i][kept]
        match = (identities == identity).astype(np.int64)
        if not match.any():
            continue
        places = np.unique(identities, return_index=True)[1]
        listed = np.array([identities[j] for j in sorted(places)]) if as_scripts else identities[np.sort(places)]
        cmc.append(np.minimum((listed == identity).cumsum(), 1)[:20])
        hits = match.cumsum()
        if as_scripts:
            precision = np.asarray([count / (rank + 1.0) for rank, count in enumerate(hits)])
        else:
            precision = hits / np.arange(1, len(hits) + 1)
        precisions.append((precision * match).sum() / match.sum())
        last = np.flatnonzero(match)[-1]
        penalties.append(hits[last] / (last + 1))
    return np.mean(cmc, axis=0), np.mean(precisions), np.mean(penalties)


def create_retrieval(rng):
    """Create embeddings' distances with as many identities and images per camera as SYSU-MM01's test has."""
    queries = np.concatenate([np.arange(1883) % 93, np.arange(1920) % 96])
    query_cameras = np.repeat([3, 6], [1883, 1920])
    gallery = np.concatenate([np.arange(size) for size in (56, 56, 94, 95)])
    gallery_cameras = np.repeat([1, 2, 4, 5], [56, 56, 94, 95])
    centres = rng.normal(size=(96, 64))
    rows = [centres[x] + 2 * rng.normal(size=(len(x), 64)) for x in (queries, gallery)]
    query_rows, gallery_rows = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rows)
    return 1 - query_rows @ gallery_rows.T, queries, gallery, query_cameras, gallery_cameras


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    seconds = {"scripts": [], "NumPy": [], "vireid": []}
    largest = 0.0
    compute_metrics(*create_retrieval(rng)[:3])  # warm-up
    for _ in range(10):
        retrieval = create_retrieval(rng)
        results = {}
        for name in ("scripts", "NumPy"):
            started = time.perf_counter()
            results[name] = evaluate_in_a_loop(*retrieval, as_scripts=name == "scripts")
            seconds[name].append(time.perf_counter() - started)
        started = time.perf_counter()
        excluded = exclude_same_location(*retrieval[3:], {3: 2})
        metrics = compute_metrics(*retrieval[:3], excluded=excluded)
        seconds["vireid"].append(time.perf_counter() - started)
        for cmc, precision, penalty in results.values():
            differences = [*(metrics.cmc.numpy() - cmc), metrics.mAP - precision, metrics.mINP - penalty]
            largest = max(largest, *np.abs(differences))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        ratio = median / medians["vireid"]
        print(f"{name:8} {1000 * median:7.1f} ms a gallery, {ratio:5.1f} times as long as vireid")
    print(f"largest difference of a number: {largest:.0e}")
    if largest > 1e-12:
        raise SystemExit("The numbers differ.")


if __name__ == "__main__":
    main()
