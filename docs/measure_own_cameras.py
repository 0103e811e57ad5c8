"""Measure what a threshold decides with the network of ``examples/own_cameras.py``, the table of ``own-cameras.md``.

python examples/own_cameras.py && python docs/measure_own_cameras.py && python docs/make_tables.py

It writes ``docs/results/own-cameras.json``: the first images that the queries find at each false-accept rate.
"""

import json
from pathlib import Path

import make_tables
import torch

from vireid import TwoStreamEmbedder
from vireid.data import create_test_transform, open_test_data
from vireid.evaluation import GalleryIndex, calibrate, extract_embeddings

FOLDER = Path("runs/own-cameras")
RATES = (0.01, 0.003, 0.001, 0.0003)


def main():
    embedder = TwoStreamEmbedder.from_pretrained(FOLDER)
    dataset = open_test_data({}, json.loads((FOLDER / "training.json").read_text(encoding="utf-8")))[1]
    images = dataset.test_images(create_test_transform(**embedder.preprocessing))
    queries, gallery = (extract_embeddings(embedder, images[name], name) for name in ("infrared", "visible"))
    index = GalleryIndex(embedder.embedding_dim)
    index.add(gallery.embeddings)
    known = torch.isin(queries.identities, gallery.identities)
    rows = []
    for rate in RATES:
        threshold = calibrate(queries, gallery, false_accept_rate=rate).threshold
        first = index.search(queries.embeddings, 1, threshold=threshold).rows[:, 0]
        nobody, right = first < 0, gallery.identities[first] == queries.identities
        outcomes = {"right": right & ~nobody, "nobody": nobody, "wrong": ~right & ~nobody}
        shares = {name: chosen[known].double().mean().item() for name, chosen in outcomes.items()}
        unknown = nobody[~known].double().mean().item()
        rows.append({"false-accept rate": rate, "threshold": threshold, "known": shares, "unknown, nobody": unknown})
    counts = {"queries": len(known), "of unknown people": int((~known).sum()), "gallery": len(index.names)}
    make_tables.write(
        "own-cameras", {"people trained on": dataset.counts()["training identities"], **counts, "rows": rows}
    )


if __name__ == "__main__":
    main()
