"""How much faster `compute_metrics` is than the per-query loop of the field's scripts.

    python benchmarks/evaluation.py

All compute CMC, mAP and mINP from the same distances, in turn: at the size of SYSU-MM01 (3,803 queries, galleries of
301 images, without those of the query's room) and of RegDB (2,060 queries and images, image-level CMC). The times are
those of the processor, on one thread, which is all that the loop has. "scripts" does per query what the public
evaluation scripts do, with their list comprehensions; "NumPy" is the same loop with every step vectorised within it.
"""

import argparse
import time

import _record
import numpy as np
import torch

from vireid.evaluation import compute_metrics, exclude_same_location


def evaluate_in_a_loop(distances, queries, gallery, query_cameras, gallery_cameras, *, by_identity, as_scripts):
    order = np.argsort(distances, axis=1, kind="stable")
    ranked, ranked_cameras = gallery[order], gallery_cameras[order]
    cmc, precisions, penalties = [], [], []
    for i, identity in enumerate(queries):
        kept = ~((query_cameras[i] == 3) & (ranked_cameras[i] == 2))
        identities = ranked[i][kept]
        match = (identities == identity).astype(np.int64)
        if not match.any():
            continue
        listed = identities
        if by_identity:
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


def create_retrieval(rng, name):
    """Create embeddings' distances with as many identities and images per camera as the data set's test has."""
    if name == "SYSU-MM01":
        queries = np.concatenate([np.arange(1883) % 93, np.arange(1920) % 96])
        query_cameras = np.repeat([3, 6], [1883, 1920])
        gallery = np.concatenate([np.arange(size) for size in (56, 56, 94, 95)])
        gallery_cameras = np.repeat([1, 2, 4, 5], [56, 56, 94, 95])
    else:
        queries = gallery = np.arange(2060) % 206
        query_cameras, gallery_cameras = np.full(2060, 1), np.full(2060, 4)
    centres = rng.normal(size=(206, 64))
    rows = [centres[x] + 2 * rng.normal(size=(len(x), 64)) for x in (queries, gallery)]
    query_rows, gallery_rows = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rows)
    return 1 - query_rows @ gallery_rows.T, queries, gallery, query_cameras, gallery_cameras


def compare(name, trials):
    rng = np.random.default_rng(0)
    by_identity = name == "SYSU-MM01"
    seconds = {"scripts": [], "NumPy": [], "vireid": []}
    largest = 0.0
    for _ in range(trials):
        retrieval = create_retrieval(rng, name)
        results = {}
        for way in ("scripts", "NumPy"):
            started = time.process_time()
            results[way] = evaluate_in_a_loop(*retrieval, by_identity=by_identity, as_scripts=way == "scripts")
            seconds[way].append(time.process_time() - started)
        started = time.process_time()
        excluded = exclude_same_location(*retrieval[3:], {3: 2}) if by_identity else None
        level = "identity" if by_identity else "image"
        metrics = compute_metrics(*retrieval[:3], excluded=excluded, cmc_level=level)
        seconds["vireid"].append(time.process_time() - started)
        for cmc, precision, penalty in results.values():
            differences = [*(metrics.cmc.numpy() - cmc), metrics.mAP - precision, metrics.mINP - penalty]
            largest = max(largest, *np.abs(differences))
    if largest > 1e-12:
        raise SystemExit(f"{name}: the numbers differ by {largest:.0e}.")
    measures = {f"{way}, ms": _record.spread([1000 * x for x in values]) for way, values in seconds.items()}
    measures |= {f"{way}, ratio": _record.ratio(seconds[way], seconds["vireid"]) for way in ("scripts", "NumPy")}
    return measures | {"numbers differ by": float(f"{largest:.0e}")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galleries", type=int, default=10, help="galleries of SYSU-MM01, and half as many of RegDB")
    args = _record.parse(parser)
    torch.set_num_threads(1)
    compute_metrics(*create_retrieval(np.random.default_rng(0), "RegDB")[:3])  # warm-up
    with _record.measuring(args) as figures:
        for name, trials in (("SYSU-MM01", args.galleries), ("RegDB", max(1, args.galleries // 2))):
            figures[name] = compare(name, trials)


if __name__ == "__main__":
    main()
