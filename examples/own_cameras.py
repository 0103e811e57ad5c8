"""From two folders of your own images to a search in another process, in about five minutes on two CPU cores.

    python examples/own_cameras.py

It draws synthetic people and files them as somebody's cameras might; for real ones change the lines under "Your
images". The folder runs/own-cameras then holds the network, its threshold, a file for each modality that needs neither
vireid nor timm, a gallery, and pictures. To search the gallery for images of a night camera:

    python examples/own_cameras.py --search data/own-cameras/thermal/*/*_0001.jpg
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait slow down all that share a core

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Resize

from vireid import MUN, data, evaluation, models, visualization
from vireid.losses import MUNLoss

SIZE, OUTPUT = (96, 48), Path("runs/own-cameras")  # height and width in pixels
CAMERAS = {"cam1": "colour/gate", "cam2": "colour/hall", "cam4": "colour/yard", "cam5": "colour/stairs"}
CAMERAS |= {"cam3": "thermal/hall-night", "cam6": "thermal/yard-night"}


def film(folder, people):
    """Draw people, and file their images as colour/<camera>/person-<number>_<frame>.jpg, or in thermal/."""
    options = {"train_identities": people - 2, "test_identities": 2, "images_per_camera": 6, "size": SIZE}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as work:
        drawn = data.generate_synthetic(f"{work}/drawn", **options)
        for path in sorted(drawn.glob("cam*/*/*.jpg")):
            camera, person = path.parts[-3:-1]
            image = Path(work, "filed", CAMERAS[camera], f"person-{person}_{path.name}")
            image.parent.mkdir(parents=True, exist_ok=True)
            path.rename(image)
        Path(work, "filed").rename(folder)  # once it is complete


def train(records, epochs):
    """Train MUN, as examples/minimal.py does."""
    transforms = [data.create_train_transform(modality, SIZE) for modality in ("visible", "infrared")]
    pairs = data.PairedImages(records, *transforms)  # value_range=… for thermal images of 16 bits
    people = min(8, pairs.num_identities)  # in a batch
    sampler = data.CrossModalityIdentitySampler(
        pairs.visible_identities, pairs.infrared_identities, identities_per_batch=people, images_per_identity=4
    )
    batches = DataLoader(pairs, batch_sampler=sampler)
    model = MUN(pairs.num_identities, "test_resnet", image_size=SIZE)
    criterion = MUNLoss.recommended(model.embedding_dim, batch_size=4 * people, iterations=epochs * len(batches))
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=epochs * len(batches))
    for epoch in range(epochs):
        for visible, infrared, identities in batches:
            loss, _ = criterion(model(visible, infrared), identities)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss:.2f}")
    return model.embedder


def search(paths, k=8):
    """Search the gallery for infrared images, with nothing but two files: a network with its threshold, and a gallery."""
    network = models.load_exported(OUTPUT / "infrared.onnx")
    gallery = evaluation.GalleryIndex.load(OUTPUT / "gallery.safetensors")
    images = [Resize(network.size)(data.read_image(path)) for path in paths]
    threshold = network.metadata["calibration"]["threshold"]
    found = gallery.search(network(torch.stack(images)), k, threshold=threshold)
    correct = []  # the names of the files tell it here
    for path, names, distances in zip(paths, found.names, found.distances, strict=True):
        print(f"{path}: {f'{names[0]}, distance {distances[0]:.3f}' if names[0] else 'nobody in the gallery'}")
        person = Path(path).name.split("_")[0]
        correct.append([Path(name).name.startswith(f"{person}_") for name in names])
    pictures = [data.read_image(name) for name in gallery.names]
    ranking = SimpleNamespace(rows=found.rows, correct=torch.tensor(correct), distances=found.distances)
    names = {"query_names": [str(path) for path in paths], "gallery_names": gallery.names}
    visualization.plot_rankings(ranking, images, pictures, number=6, **names).savefig(OUTPUT / "found.png")


def main(epochs, people):
    # Your images: two folders, and the person and the camera in their paths
    folder = Path("data/own-cameras")
    if not folder.exists():
        film(folder, people)
    pattern = r"(?P<camera>[^/]+)/person-(?P<identity>\d+)_"
    source = data.DataSource("folder", str(folder.absolute()), visible="colour", infrared="thermal", pattern=pattern)

    # Half of the people are kept for the test; a tenth of them never walk past a colour camera
    source = replace(source, test_share=0.5, queries_only=0.1)
    dataset = source.open()
    data.check_images(dataset.train + dataset.test_visible + dataset.test_infrared)
    print(data.check_dataset(dataset))

    torch.manual_seed(0)
    embedder = train(dataset.train, epochs).eval()
    embedder.save_pretrained(OUTPUT)
    notes = source.describe_training(dataset)  # `vireid evaluate` then tests the same people
    (OUTPUT / "training.json").write_text(json.dumps(notes))

    # How good is it on people it has never seen, and which distance means the same person?
    images = dataset.test_images(data.create_test_transform(**embedder.preprocessing))
    sets = {modality: evaluation.extract_embeddings(embedder, images[modality], modality) for modality in images}
    protocols = {row: evaluation.OwnProtocol(row.split()[0]) for row in ("infrared → visible", "visible → infrared")}
    print(evaluation.format_results({row: protocol.evaluate(*sets.values()) for row, protocol in protocols.items()}))
    calibration = evaluation.calibrate(sets["infrared"], sets["visible"], false_accept_rate=1e-3)
    calibration.save(OUTPUT)
    print(calibration)
    pairs = {"infrared and visible images": evaluation.compare_pairs(sets["infrared"], sets["visible"])}
    figure = visualization.plot_histograms(pairs, thresholds=dict.fromkeys(pairs, calibration.threshold))
    figure.savefig(OUTPUT / "threshold.png")

    # A file for each modality, compared with PyTorch, and a gallery
    for modality, raw in dataset.test_images(Resize(SIZE)).items():
        path = OUTPUT / f"{modality.value}.onnx"
        print(models.export(embedder, modality, path, calibration=calibration))
        print(models.check_export(path, embedder, raw))
    gallery = evaluation.GalleryIndex(embedder.embedding_dim)
    gallery.add(sets["visible"].embeddings, names=[str(record.path) for record in dataset.test_visible])
    gallery.save(OUTPUT / "gallery.safetensors")

    # Another process searches the gallery for an image of each person
    queries = {record.identity: str(record.path) for record in dataset.test_infrared}
    subprocess.run([sys.executable, __file__, "--search", *queries.values()], check=True)
    print(f"{OUTPUT} holds {', '.join(sorted(path.name for path in OUTPUT.iterdir()))}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15, help="passes over the images (%(default)s)")
    parser.add_argument("--people", type=int, default=100, help="people to draw, if there are none yet (%(default)s)")
    parser.add_argument("--search", nargs="+", metavar="IMAGE", help="infrared images to search the gallery for")
    args = parser.parse_args()
    search(args.search) if args.search else main(args.epochs, args.people)
