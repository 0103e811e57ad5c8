import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vireid.data import (
    SYSUMM01,
    CrossModalityIdentitySampler,
    Normalize,
    PairedImages,
    PersonImages,
    Record,
    check_images,
    create_dataset,
    generate_synthetic,
    read_image,
    read_rankings,
)
from vireid.modality import Modality


def test_reads_what_pillow_reads(tmp_path):
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png").numpy(), pixels.transpose(2, 0, 1))
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "gray.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.bmp").numpy(), np.stack([pixels[:, :, 0]] * 3))


def test_damaged_images_are_named(made, tmp_path):
    path = next((made / "cam1").rglob("*.jpg"))
    for name, content in {
        "truncated.jpg": path.read_bytes()[:400],
        "text.jpg": b"not an image",
        "empty.jpg": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"path must be a readable image, got .*{re.escape(name)}"):
            read_image(tmp_path / name)
    Image.new("RGB", (4, 4)).save(tmp_path / "giant.bmp")
    content = bytearray((tmp_path / "giant.bmp").read_bytes())
    content[18:26] = b"\x00\x00\x01\x00" * 2  # a damaged header says 65,536 × 65,536 pixels
    (tmp_path / "giant.bmp").write_bytes(content)
    with pytest.raises(ValueError, match=r"path must be a readable image, got .*giant.bmp"):
        read_image(tmp_path / "giant.bmp")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "missing.jpg")


def test_images_are_checked_before_the_work(tree):
    dataset = SYSUMM01(tree)
    check_images(dataset.train)
    first, second = dataset.train[3].path, dataset.train[8].path
    first.write_bytes(first.read_bytes()[:300])
    second.unlink()
    message = f"records must hold readable images, got '2 that are not'. path must be .*{re.escape(first.name)}"
    with pytest.raises(ValueError, match=message):
        check_images(dataset.train)


def test_person_images(made):
    records = SYSUMM01(made).test_infrared
    images = PersonImages(records, lambda image: image.float() / 255)
    assert len(images) == len(records)
    image, identity, camera = images[5]
    torch.testing.assert_close(image, read_image(records[5].path) / 255)
    assert (identity, camera) == (records[5].identity, records[5].camera)
    with pytest.raises(ValueError, match="records must hold an image, got 0"):
        PersonImages([], images.transform)


def pairs_of(made):
    return PairedImages(SYSUMM01(made).train, lambda image: image.float(), lambda image: -image.float())


def test_paired_images(made):
    pairs = pairs_of(made)
    assert pairs.num_identities == 4
    assert pairs.visible_identities.tolist() == [record.identity - 1 for record in pairs.visible]
    assert pairs.infrared_identities.tolist() == [record.identity - 1 for record in pairs.infrared]
    assert len(pairs) == len(pairs.visible) == 32
    visible, infrared, label = pairs[2, 3]
    torch.testing.assert_close(visible, read_image(pairs.visible[2].path).float())
    torch.testing.assert_close(infrared, -read_image(pairs.infrared[3].path).float())
    assert label == 1
    with pytest.raises(ValueError, match=r"pair must index images of one identity, got \(1, 4\)"):
        pairs[0, 7]
    for index in (0, (0,), (0, 0, 0)):
        with pytest.raises(TypeError, match=r"pair must be \(visible index, infrared index\), got .*batch_sampler"):
            pairs[index]
    with pytest.raises(ValueError, match=r"records must hold visible and infrared images, got \(0, 12\)"):
        PairedImages(SYSUMM01(made).test_infrared, pairs.visible_transform, pairs.infrared_transform)


def test_labels_follow_the_order_of_identities(tmp_path):
    records = [Record(tmp_path, identity, 1, Modality.VISIBLE) for identity in (4098, 70, 9, 1024)]
    pairs = PairedImages(records + [record._replace(modality=Modality.INFRARED) for record in records], torch.neg, abs)
    assert pairs.visible_identities.tolist() == pairs.infrared_identities.tolist() == [3, 1, 0, 2]
    assert pairs.visible_identities.dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_gives_the_sampler_s_pairs(made, workers):
    pairs = pairs_of(made)
    sampler = CrossModalityIdentitySampler(
        pairs.visible_identities,
        pairs.infrared_identities,
        identities_per_batch=2,
        images_per_identity=2,
        generator=torch.Generator().manual_seed(3),
    )
    expected = list(sampler)
    sampler.set_epoch(0)
    loaded = list(DataLoader(pairs, batch_sampler=sampler, num_workers=workers))
    assert len(loaded) == len(expected) == len(sampler)
    for (visible, infrared, labels), batch in zip(loaded, expected):
        assert labels.tolist() == [pairs.visible_identities[i] for i, _ in batch]
        torch.testing.assert_close(visible, torch.stack([pairs[pair][0] for pair in batch]))
        torch.testing.assert_close(infrared, torch.stack([pairs[pair][1] for pair in batch]))


def test_rankings_are_read(made):
    dataset = SYSUMM01(made)
    found = torch.tensor([[3, 0, -1]] * len(dataset.test_infrared))
    correct = torch.tensor([[True, False, False]] * len(dataset.test_infrared))
    queries, rankings, right = read_rankings(dataset.test_infrared, dataset.test_visible, found, correct, number=4)
    assert len(queries) == len(rankings) == 4
    assert torch.equal(queries[1], read_image(dataset.test_infrared[3].path))
    assert torch.equal(rankings[2][0], read_image(dataset.test_visible[3].path))
    assert right == [[True, False]] * 4
    with pytest.raises(ValueError, match=r"found must have 12 rows, got \(2, 3\)"):
        read_rankings(dataset.test_infrared, dataset.test_visible, found[:2], correct[:2])


FINGERPRINT = """
import sys
from vireid.data import PersonImages, RandomCorruption, create_dataset, create_test_transform
records = create_dataset("sysu", sys.argv[1]).test_visible
for size, draw in (((64, 32), 0), ((64, 32), 1), ((32, 16), 0)):
    corruption = RandomCorruption(size=size, draw=draw)
    print(PersonImages(records, create_test_transform(size), corruption=corruption).fingerprint())
"""


def test_fingerprint_is_the_same_in_another_process(tmp_path):
    root = generate_synthetic(tmp_path / "d", train_identities=2, test_identities=2, images_per_camera=1, size=(64, 32))
    printed = [
        subprocess.run(
            [sys.executable, "-c", FINGERPRINT, str(root)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert len(set(printed[0])) == 3
    records = create_dataset("sysu", root).test_visible
    other = PersonImages(records, Normalize(mean=(0.5, 0.5, 0.5))).fingerprint()
    assert other != PersonImages(records, Normalize()).fingerprint()
