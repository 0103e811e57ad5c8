import os
import pickle
import re
import shutil
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
    RandomCorruption,
    Record,
    check_images,
    check_modalities,
    create_dataset,
    create_test_transform,
    generate_synthetic,
    read_image,
)
from vireid.modality import Modality


def test_reads_what_pillow_reads(tmp_path):
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png").numpy(), pixels.transpose(2, 0, 1))
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "gray.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.bmp").numpy(), np.stack([pixels[:, :, 0]] * 3))


@pytest.mark.parametrize(
    "kind", ["RGB", "L", "CMYK", "turned", "exif", "comment", "comment, turned", "padded", "png", "gray png"]
)
def test_simplejpeg_reads_what_pillow_reads(tmp_path, kind, monkeypatch):
    simplejpeg = pytest.importorskip("simplejpeg")
    decode, decoded = simplejpeg.decode_jpeg, []
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda data, space: decoded.append(space) or decode(data, space))
    path = tmp_path / ("0.png" if "png" in kind else "0.jpg")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (13, 22, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112 if "turned" in kind else 0x010F] = 6 if "turned" in kind else "a camera"
    options = {"exif": exif} if "turned" in kind or kind == "exif" else {}
    image.convert({"L": "L", "CMYK": "CMYK", "gray png": "L"}.get(kind, "RGB")).save(path, **options)
    if kind.startswith(("comment", "padded")):  # a comment that holds what starts the pixels, or a fill byte
        start, rest = path.read_bytes()[:2], path.read_bytes()[2:]
        path.write_bytes(start + (b"\xff" if kind == "padded" else b"\xff\xfe\x00\x06\xff\xda\xff\xda") + rest)
    read = read_image(path, decoder="simplejpeg")
    assert torch.equal(read, read_image(path))
    assert read.shape == ((3, 22, 13) if "turned" in kind else (3, 13, 22))
    assert decoded == (["RGBA"] if kind in {"RGB", "L", "comment"} else [])
    transform = create_test_transform((8, 6))
    assert torch.equal(transform(read), transform(read_image(path)))
    records = [Record(path, 1, 3 * (modality == "infrared"), modality) for modality in ("visible", "infrared")]
    assert torch.equal(PersonImages(records, decoder="simplejpeg")[0][0], read)
    pairs = PairedImages(records, torch.clone, torch.clone, decoder="simplejpeg")
    assert torch.equal(pairs[0, 0][1], read)
    assert len(decoded) in {0, 4}


def test_simplejpeg_leaves_errors_to_pillow_and_names_its_extra(tmp_path, monkeypatch):
    pytest.importorskip("simplejpeg")
    path = tmp_path / "0.jpg"
    with pytest.raises(FileNotFoundError, match="path must be an image file, got .* There is no such file"):
        read_image(path, decoder="simplejpeg")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:10], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="path must be a readable image"):
            read_image(path, decoder="simplejpeg")
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(ImportError, match=r"simplejpeg must be installed for this: pip install 'vireid\[jpeg\]'"):
        read_image(path, decoder="simplejpeg")


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
    message = f"^2 of 48 images cannot be read, the first: path must be .*{re.escape(first.name)}"
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


def test_images_without_a_transform_are_given_as_read(made):
    records = SYSUMM01(made).test_visible
    image, identity, _ = PersonImages(records)[1]
    assert torch.equal(image, read_image(records[1].path))
    assert identity == records[1].identity


def save_deep(path, values, mode):
    Image.fromarray(values).save(path)
    with Image.open(path) as image:
        assert image.mode == mode  # not brought to 8 bits by the writer or by Pillow
    return path


@pytest.mark.parametrize(
    ("name", "dtype", "mode"),
    [
        ("deep.png", "uint16", "I;16"),
        ("deep.tif", "uint16", "I;16"),
        ("big.tif", ">u2", "I;16B"),
        ("int.tif", "int32", "I"),
        ("float.tif", "float32", "F"),
    ],
)
def test_gray_images_of_more_than_8_bits_are_scaled(tmp_path, name, dtype, mode):
    kelvin = np.array([[29000, 29100], [29200, 29510]], dtype)  # hundredths of a kelvin, which saturated before
    path = save_deep(tmp_path / name, kelvin, mode)
    assert read_image(path)[0].tolist() == [[0, 50], [100, 255]]
    assert torch.equal(read_image(path)[1:], read_image(path)[:1].expand(2, -1, -1))
    fixed = [[0, 0], [100, 255]]
    assert read_image(path, value_range=(29100, 29355))[0].tolist() == fixed
    records = [Record(path, 1, 1, modality) for modality in Modality if modality is not Modality.AUXILIARY]
    assert PersonImages(records, value_range=(29100, 29355))[0][0][0].tolist() == fixed
    pairs = PairedImages(records, torch.clone, torch.clone, value_range=(29100, 29355))
    assert pairs[0, 0][0][0].tolist() == pairs[0, 0][1][0].tolist() == fixed
    prints = {PersonImages(records, value_range=limits).fingerprint() for limits in (None, (0, 1), (0, 2))}
    prints |= {PersonImages(records, decoder="simplejpeg").fingerprint()}
    assert len(prints) == 4


def test_flat_and_undefined_gray_images(tmp_path):
    flat = save_deep(tmp_path / "flat.png", np.full((3, 2), 29000, np.uint16), "I;16")
    assert read_image(flat).unique().tolist() == [0]
    broken = save_deep(tmp_path / "nan.tif", np.array([[1, np.nan]], np.float32), "F")
    with pytest.raises(ValueError, match=r"path must be a readable image, got .*nan.tif'. It holds values that are no"):
        read_image(broken)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_images_are_upright(tmp_path, suffix):
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 8:] = 255  # bright on the right
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    image.save(tmp_path / f"turned.{suffix}", exif=exif)
    upright = read_image(tmp_path / f"turned.{suffix}")
    assert upright.shape == (3, 16, 8)
    assert upright[:, :8].float().mean() < 5
    assert upright[:, 8:].float().mean() > 250


def test_records_have_their_types(tmp_path):
    record = Record(str(tmp_path), np.int64(2), 1, "visible")
    assert record == (tmp_path, 2, 1, Modality.VISIBLE)
    assert record.modality is Modality.VISIBLE  # a string was lost by PairedImages
    assert type(record.identity) is int
    assert record._replace(modality="infrared").modality is Modality.INFRARED
    assert pickle.loads(pickle.dumps(record)) == record
    pairs = PairedImages([record, record._replace(modality="infrared")], torch.neg, torch.neg)
    assert pairs.visible == [record]
    with pytest.raises(ValueError, match="modality must be one of 'visible', 'infrared', got 'thermal'"):
        record._replace(modality="thermal")


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
        assert labels.tolist() == [pairs.visible_identities[i] for i, _, _ in batch]
        torch.testing.assert_close(visible, torch.stack([pairs[pair][0] for pair in batch]))
        torch.testing.assert_close(infrared, torch.stack([pairs[pair][1] for pair in batch]))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_augmentations_depend_on_neither_worker_nor_process(made, workers):
    noise = [lambda image: image + torch.rand(image.shape)] * 2
    pairs = PairedImages(SYSUMM01(made).train, *noise)
    sampler = CrossModalityIdentitySampler(
        pairs.visible_identities,
        pairs.infrared_identities,
        identities_per_batch=2,
        images_per_identity=7,  # of 8 and 4, so that pairs repeat
        batches_per_epoch=4,
        generator=torch.Generator().manual_seed(3),
    )
    torch.manual_seed(5)
    expected = [[pairs[pair][:2] for pair in batch] for _ in range(2) for batch in sampler]
    after = torch.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), after)  # the global generator is left as it was
    images = torch.stack([image for batch in expected for pair in batch for image in pair])
    draws = images - images.floor()
    assert len({draw[0, 0, 0].item() for draw in draws}) == len(draws)  # each image has draws of its own
    torch.manual_seed(6)
    sampler.set_epoch(0)
    loader = DataLoader(pairs, batch_sampler=sampler, num_workers=workers)
    for batch, (visible, infrared, _) in zip(expected, [*loader, *loader]):
        assert torch.equal(visible, torch.stack([v for v, _ in batch]))
        assert torch.equal(infrared, torch.stack([r for _, r in batch]))


def test_pairs_without_a_seed_draw_from_the_global_generator(made):
    pairs = PairedImages(SYSUMM01(made).train, lambda image: torch.rand(2), lambda image: torch.rand(2))
    torch.manual_seed(1)
    expected = torch.rand(2), torch.rand(2)
    torch.manual_seed(1)
    assert all(map(torch.equal, pairs[0, 0][:2], expected))


def test_names_that_are_not_utf_8(made, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    shutil.copy(next((made / "cam1").rglob("*.jpg")), path)
    images = PersonImages([Record(path, 1, 1, "visible")], corruption=RandomCorruption(size=None, corruptions=["rain"]))
    assert len(images.fingerprint()) == 64
    assert images[0][0].shape == (3, 48, 24)


FINGERPRINT = """
import sys
from vireid.data import PersonImages, RandomCorruption, create_dataset, create_test_transform
records = create_dataset("sysu", sys.argv[1]).test_visible
for size, draw in (((64, 32), 0), ((64, 32), 1), ((32, 16), 0)):
    corruption = RandomCorruption(size=size, draw=draw)
    print(PersonImages(records, create_test_transform(size), corruption=corruption).fingerprint())
"""


@pytest.mark.slow
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


def test_images_of_the_other_modality_are_noticed(tmp_path):
    def records(modality, *, colour, number=4):
        paths = [tmp_path / f"{modality}-{colour}-{i}.png" for i in range(number)]
        for path in paths:
            Image.new("RGB", (4, 8), (90, 20, 60) if colour else (60, 60, 60)).save(path)
        return [Record(path, 1, 1, modality) for path in paths]

    gray, colour = records("infrared", colour=False), records("visible", colour=True)
    assert check_modalities([*gray, *colour]) == ()
    gray_visible, coloured = records("visible", colour=False), records("infrared", colour=True)
    found = check_modalities([*gray_visible, *coloured], sample=2)
    assert [sentence.partition(", the")[0] for sentence in found] == [
        "2 of 2 visible images looked at are gray",
        "2 of 2 infrared images looked at are in colour",
    ]
    assert found[1].endswith(f"the first: {coloured[0].path}. Are they visible images?")
    assert check_modalities([*colour[:1], *gray_visible, *gray, *coloured[:2]]) == ()  # some are not enough
    assert check_modalities([Record(tmp_path / "none.png", 1, 1, "infrared")]) == ()
    with pytest.raises(ValueError, match="sample must be an integer of at least 1, got 0"):
        check_modalities(gray, sample=0)
