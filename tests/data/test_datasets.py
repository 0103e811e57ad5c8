import random
import re
import shutil
import sys

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vireid.data import (
    SYSUMM01,
    CrossModalityIdentitySampler,
    PairedImages,
    PersonImages,
    Record,
    check_images,
    generate_synthetic,
    read_image,
)
from vireid.modality import Modality


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "Überwachung 夜"  # a path that is not ASCII
    return generate_synthetic(folder, train_identities=4, test_identities=3, images_per_camera=2, size=(48, 24))


@pytest.fixture
def tree(made, tmp_path):
    """A copy to damage."""
    return shutil.copytree(made, tmp_path / "SYSU-MM01")


def test_records_of_a_whole_tree(made):
    dataset = SYSUMM01(made)
    assert len(dataset.train) == 4 * 6 * 2  # the lists train and val together
    assert {record.identity for record in dataset.train} == {1, 2, 3, 4}
    assert {(record.identity, record.camera) for record in dataset.query} == {(i, c) for i in (5, 6, 7) for c in (3, 6)}
    assert {record.camera for record in dataset.gallery} == {1, 2, 4, 5}
    assert len(dataset.gallery) == 3 * 4 * 2
    for record in dataset.train + dataset.query + dataset.gallery:
        assert record.path == made / f"cam{record.camera}" / f"{record.identity:04d}" / record.path.name
        assert record.modality is (Modality.INFRARED if record.camera in {3, 6} else Modality.VISIBLE)
    keys = [(record.camera, record.identity, record.path.name) for record in dataset.train]
    assert keys == sorted(keys)


def test_order_does_not_depend_on_the_file_system(made, monkeypatch):
    expected = SYSUMM01(made).train
    scandir = __import__("os").scandir

    def shuffled(folder):
        entries = list(scandir(folder))
        random.Random(0).shuffle(entries)
        return entries

    monkeypatch.setattr("vireid.data.datasets.os.scandir", shuffled)
    assert SYSUMM01(made).train == expected


def test_missing_cameras_and_stray_files_are_normal(tree):
    shutil.rmtree(tree / "cam2" / "0001")
    (tree / "cam1" / "0001" / "Thumbs.db").write_bytes(b"stray")
    (tree / "cam1" / "0001" / ".DS_Store").write_bytes(b"stray")
    (tree / "cam1" / "0001" / "._0001.jpg").write_bytes(b"what macOS leaves on foreign disks")
    (tree / "cam1" / "0001" / "more.jpg").mkdir()
    (tree / "cam1" / "notes").mkdir()
    dataset = SYSUMM01(tree)
    assert len(dataset.train) == 4 * 6 * 2 - 2


def save_list(tree, split, values):
    """Put a list of identities as a .mat in place of the .txt."""
    path = tree / "exp" / f"{split}_id.txt"
    path.unlink()
    scipy.io.savemat(path.with_suffix(".mat"), {"id": values})


@pytest.mark.parametrize("dtype", ["u2", "f8"])  # as published, and as MATLAB saves numbers by default
def test_lists_as_matrices(tree, dtype):
    expected = SYSUMM01(tree)
    for split in ("train", "val", "test"):
        identities = (tree / "exp" / f"{split}_id.txt").read_text().split(",")
        save_list(tree, split, np.array([[int(i) for i in identities]], dtype))
    dataset = SYSUMM01(tree)
    assert (dataset.train, dataset.query, dataset.gallery) == (expected.train, expected.query, expected.gallery)


def test_matrices_need_the_extra(tree, monkeypatch):
    save_list(tree, "test", np.array([[5, 6, 7]]))
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r"scipy must be installed for this: pip install 'vireid\[mat\]'"):
        SYSUMM01(tree)


def test_text_of_windows(tree):
    expected = SYSUMM01(tree).query
    (tree / "exp" / "test_id.txt").write_bytes(b"\xef\xbb\xbf5, 6, 7\r\n\r\n")  # with a byte order mark
    assert SYSUMM01(tree).query == expected


def write_permutations(tree, rng, change=0, first=1, trials=10):
    """A rand_perm_cam.mat of the official form: cameras × identities, each trials × images from 1."""
    cells = np.empty((6, 1), object)
    for camera in range(1, 7):
        of_camera = np.empty((7, 1), object)
        for identity in range(1, 8):
            images = len(list((tree / f"cam{camera}" / f"{identity:04d}").glob("*.jpg"))) + change
            orders = [rng.permutation(images) + first for _ in range(trials)]
            of_camera[identity - 1, 0] = np.array(orders, "u1")
        cells[camera - 1, 0] = of_camera
    scipy.io.savemat(tree / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": cells})
    return cells


def test_official_permutations(tree):
    cells = write_permutations(tree, np.random.default_rng(0))
    permutations = SYSUMM01(tree).gallery_permutations()
    assert permutations.keys() == {(camera, identity) for camera in (1, 2, 4, 5) for identity in (5, 6, 7)}
    for (camera, identity), order in permutations.items():
        np.testing.assert_array_equal(order, cells[camera - 1, 0][identity - 1, 0].astype(int) - 1)
        assert order.dtype == np.int64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"change": 1}, r"must hold 10 orders of the 2 images of camera 1, identity 5, got \(10, 3\)"),
        ({"change": -2}, r"must hold 10 orders of the 2 images of camera 1, identity 5, got "),
        ({"trials": 1}, r"must hold 10 orders of the 2 images of camera 1, identity 5, got \(1, 2\)"),
        ({"first": 0}, r"must count the images of camera 1, identity 5 from 1, each once, got \[(0, 1|1, 0)\]"),
    ],
)
def test_wrong_permutations(tree, options, message):
    write_permutations(tree, np.random.default_rng(0), **options)
    with pytest.raises(ValueError, match=f"rand_perm_cam.mat {message}"):
        SYSUMM01(tree).gallery_permutations()


def test_permutations_that_are_none(tree):
    scipy.io.savemat(tree / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": np.zeros((6, 1))})
    with pytest.raises(ValueError, match="rand_perm_cam.mat must hold cells for 6 cameras, got 'none'"):
        SYSUMM01(tree).gallery_permutations()
    scipy.io.savemat(tree / "exp" / "rand_perm_cam.mat", {"other": np.zeros((6, 1))})
    with pytest.raises(ValueError, match="rand_perm_cam.mat must hold cells for 6 cameras, got 'none'"):
        SYSUMM01(tree).gallery_permutations()
    (tree / "exp" / "rand_perm_cam.mat").write_bytes(b"no matrix")
    with pytest.raises(ValueError, match="path must be a readable .mat file, got .*rand_perm_cam.mat"):
        SYSUMM01(tree).gallery_permutations()
    (tree / "exp" / "rand_perm_cam.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"root must hold exp/rand_perm_cam.mat, got 'no such file'"):
        SYSUMM01(tree).gallery_permutations()


def empty_cameras(tree, *cameras):
    for camera in cameras:
        shutil.rmtree(tree / f"cam{camera}")


def write(tree, split, text):
    (tree / "exp" / f"{split}_id.txt").write_text(text)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (shutil.rmtree, FileNotFoundError, "root must be the folder of SYSU-MM01, got .*SYSU-MM01'. Expected in"),
        (
            lambda t: (t / "exp/val_id.txt").unlink(),
            FileNotFoundError,
            "root must hold exp/val_id.txt, got 'no such file'",
        ),
        (lambda t: write(t, "test", ""), ValueError, r"exp/test_id must list .* from 1, got \[''\]. It is one line"),
        (lambda t: write(t, "test", "5;6;7"), ValueError, r"exp/test_id must list .* from 1, got \['5;6;7'\]"),
        (lambda t: write(t, "test", "5,x7"), ValueError, r"exp/test_id must list identities .*, got \['x7'\]"),
        (lambda t: write(t, "test", "0,5"), ValueError, r"exp/test_id must list identities .*, got \['0'\]"),
        (lambda t: write(t, "test", "5\n6\n7\n"), ValueError, r"exp/test_id must be one line, got '3 lines'"),
        (
            lambda t: (t / "exp/test_id.txt").write_bytes(b"5,\xe9"),
            ValueError,
            r"exp/test_id must list identities .*'�'",
        ),
        (lambda t: save_list(t, "test", np.zeros((0, 0))), ValueError, r"exp/test_id must list .* from 1, got \[\]"),
        (lambda t: save_list(t, "test", np.array([[5, 6.5]])), ValueError, r"exp/test_id must list .*\['6.5'\]"),
        (
            lambda t: write(t, "test", "4,5"),
            ValueError,
            r"test_id must name no identity of train_id or val_id, got \[4\]",
        ),
        (
            lambda t: write(t, "test", "5,99"),
            FileNotFoundError,
            r"hold images of every identity in test_id, got 'none of \[99",
        ),
        (
            lambda t: empty_cameras(t, 3, 6),
            FileNotFoundError,
            "root must hold infrared images of the identities in train",
        ),
        (
            lambda t: empty_cameras(t, 1, 2, 4, 5),
            FileNotFoundError,
            "root must hold visible images of the identities in",
        ),
    ],
)
def test_damaged_trees(tree, damage, error, message):
    damage(tree)
    with pytest.raises(error, match=message):
        SYSUMM01(tree)


def test_missing_data_show_the_expected_tree(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cam1 … cam6/<identity, 4 digits>/<frame>.jpg\n  exp/train_id.txt"):
        SYSUMM01(tmp_path / "nowhere")


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
    records = SYSUMM01(made).query
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
        PairedImages(SYSUMM01(made).query, pairs.visible_transform, pairs.infrared_transform)


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
    sampler.generator.manual_seed(3)
    loaded = list(DataLoader(pairs, batch_sampler=sampler, num_workers=workers))
    assert len(loaded) == len(expected) == len(sampler)
    for (visible, infrared, labels), batch in zip(loaded, expected):
        assert labels.tolist() == [pairs.visible_identities[i] for i, _ in batch]
        torch.testing.assert_close(visible, torch.stack([pairs[pair][0] for pair in batch]))
        torch.testing.assert_close(infrared, torch.stack([pairs[pair][1] for pair in batch]))
