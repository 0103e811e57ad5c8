"""Train MUN and evaluate it on people that it has never seen: the least that it takes, in about a minute on a CPU.

    python examples/minimal.py

It draws synthetic people; for real ones put `SYSUMM01("folder")` in place of the two lines that make the data set.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait slow down all that share a core

import argparse
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from vireid import MUN, evaluate
from vireid.data import (
    SYSUMM01,
    CrossModalityIdentitySampler,
    PairedImages,
    create_test_transform,
    create_train_transform,
    generate_synthetic,
)
from vireid.evaluation import create_protocols, format_results
from vireid.losses import MUNLoss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4, help="passes over the images (%(default)s)")
    epochs = parser.parse_args().epochs
    torch.manual_seed(0)

    folder = Path("data/minimal")
    if not folder.exists():
        generate_synthetic(folder, train_identities=40, test_identities=20, images_per_camera=5, size=(96, 48))
    dataset = SYSUMM01(folder)

    transforms = [create_train_transform(modality, (96, 48)) for modality in ("visible", "infrared")]
    pairs = PairedImages(dataset.train, *transforms)
    sampler = CrossModalityIdentitySampler(
        pairs.visible_identities, pairs.infrared_identities, identities_per_batch=8, images_per_identity=4
    )
    batches = DataLoader(pairs, batch_sampler=sampler)

    model = MUN(pairs.num_identities, "test_resnet", image_size=(96, 48))
    criterion = MUNLoss.recommended(model.embedding_dim, batch_size=32, iterations=epochs * len(batches))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * len(batches))

    model.train()
    for epoch in range(epochs):
        for visible, infrared, identities in batches:
            output = model(visible, infrared)
            loss, terms = criterion(output, identities)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {loss:.2f},", ", ".join(f"{name} {term:.2f}" for name, term in terms.items()))

    images = dataset.test_images(create_test_transform(**model.preprocessing))
    print(format_results(evaluate(model, images, create_protocols("sysu"))))
    model.embedder.save_pretrained("runs/minimal")


if __name__ == "__main__":
    main()
