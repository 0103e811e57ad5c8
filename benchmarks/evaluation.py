"""Evaluate SYSU-MM01 the library's way and the usual way, one query at a time, and print how much faster it is.

    python benchmarks/evaluation.py

Both rank the same ten galleries of the size of SYSU-MM01 (3,803 queries × 301 images) by the same distances, alternating
so that a busy machine slows both; the ratio is that of the medians. Their numbers must agree to 1e-12.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from vireid.evaluation import compute_metrics, exclude_same_location


def evaluate_one_by_one(distances, query_identities, gallery_identities, excluded, max_rank=20):
    """CMC at identity level, mAP and mINP as the field's scripts compute them: a NumPy loop over the queries."""
    order = np.argsort(distances, axis=1, kind="stable")
    matches = (gallery_identities[order] == query_identities[:, None]).astype(np.int32)
    curves, precisions, penalties = [], [], []
    for i, identity in enumerate(query_identities):
        keep = ~excluded[i, order[i]]
        match = matches[i][keep]
        if not match.any():
            continue
        ranked = gallery_identities[order[i]][keep]
        distinct, first = np.unique(ranked, return_index=True)
        distinct = distinct[first.argsort()]
        curve = (distinct == identity).cumsum()
        curves.append(np.pad(curve, (0, max(0, max_rank - len(curve))), mode="edge")[:max_rank])
        hits = match.cumsum()
        penalties.append(hits[-1] / (match.nonzero()[0][-1] + 1.0))
        precisions.append((hits / np.arange(1.0, len(match) + 1) * match).sum() / hits[-1])
    return np.mean(curves, axis=0), np.mean(precisions), np.mean(penalties)


def make_trial(rng, queries, identities):
    """Distances, identities and exclusions with the structure of one all-search gallery of SYSU-MM01."""
    missing = {1: 40, 2: 40, 4: 2, 5: 1}  # identities that a camera of the gallery never saw
    gallery = np.array([(i, c) for c, few in missing.items() for i in range(few, identities)])
    query_identities = np.arange(queries) % identities
    query_cameras = np.where(np.arange(queries) < queries // 2, 3, 6)
    centres = rng.standard_normal((identities, 64))
    query_rows = centres[query_identities] + 2 * rng.standard_normal((queries, 64))
    gallery_rows = centres[gallery[:, 0]] + 2 * rng.standard_normal((len(gallery), 64))
    query_rows /= np.linalg.norm(query_rows, axis=1, keepdims=True)
    gallery_rows /= np.linalg.norm(gallery_rows, axis=1, keepdims=True)
    excluded = exclude_same_location(query_cameras, gallery[:, 1], locations={3: 2}).numpy()
    return 1 - query_rows @ gallery_rows.T, query_identities, gallery[:, 0], excluded


def timed(function, trials):
    start = time.perf_counter()
    results = [function(*trial) for trial in trials]
    return time.perf_counter() - start, results


def evaluate_at_once(distances, query_identities, gallery_identities, excluded):
    metrics = compute_metrics(distances, query_identities, gallery_identities, excluded=excluded)
    return metrics.cmc.numpy(), metrics.mAP, metrics.mINP


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=3803, help="queries of each trial")
    parser.add_argument("--trials", type=int, default=10, help="galleries to evaluate")
    parser.add_argument("--repeats", type=int, default=5, help="times each way is measured")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    trials = [make_trial(rng, options.queries, 96) for _ in range(options.trials)]
    evaluate_at_once(*trials[0])
    evaluate_one_by_one(*trials[0])
    slow, fast = [], []
    for _ in range(options.repeats):
        seconds, expected = timed(evaluate_one_by_one, trials)
        slow.append(seconds)
        seconds, actual = timed(evaluate_at_once, trials)
        fast.append(seconds)
    difference = max(
        np.abs(a - b).max() for x, y in zip(expected, actual, strict=True) for a, b in zip(x, y, strict=True)
    )
    if difference > 1e-12:
        raise SystemExit(f"the two ways differ by {difference:.1e}")
    queries, gallery = trials[0][0].shape
    print(f"{options.trials} trials of {queries} × {gallery}, {options.threads} threads, median of {options.repeats}")
    print(f"one query at a time  {statistics.median(slow):7.3f} s   ({min(slow):.3f} to {max(slow):.3f})")
    print(f"vireid               {statistics.median(fast):7.3f} s   ({min(fast):.3f} to {max(fast):.3f})")
    print(
        f"ratio                {statistics.median(slow) / statistics.median(fast):7.1f} ×   greatest difference {difference:.1e}"
    )


if __name__ == "__main__":
    main()
