import os
import random
import shutil
import sys
import time

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vireid.data import LLCM, SYSUMM01, RegDB, check_dataset, create_dataset, generate_synthetic, synthetic
from vireid.modality import Modality


def test_records_of_a_whole_tree(made):
    dataset = SYSUMM01(made)
    assert len(dataset.train) == 4 * 6 * 2  # the lists train and val together
    assert {record.identity for record in dataset.train} == {1, 2, 3, 4}
    assert {(record.identity, record.camera) for record in dataset.test_infrared} == {
        (i, c) for i in (5, 6, 7) for c in (3, 6)
    }
    assert {record.camera for record in dataset.test_visible} == {1, 2, 4, 5}
    assert len(dataset.test_visible) == 3 * 4 * 2
    for record in dataset.train + dataset.test_infrared + dataset.test_visible:
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


def test_what_is_missing_or_ignored_is_told(tree):
    shutil.rmtree(tree / "cam2")
    images = sorted((tree / "cam4").rglob("*.jpg"))
    for path in images[::2]:
        path.rename(path.with_suffix(".webp"))
    with pytest.warns(UserWarning, match="no images of these cameras|not named as images") as told:
        dataset = SYSUMM01(tree)
    assert len(dataset.train) == 4 * 5 * 2 - 4
    assert [str(warning.message) for warning in told] == [
        f"{tree} has no images of these cameras: cam2.",
        f"7 files are not named as images and are ignored, the first: '{tree / 'cam4/0001/0001.webp'}'.",
    ]
    link = tree / "cam1" / "0001" / "0003.jpg"
    link.symlink_to(tree / "elsewhere.jpg")
    with pytest.raises(FileNotFoundError, match=r"root must hold the files that its links point to, got .*0003\.jpg"):
        SYSUMM01(tree)


def test_fingerprint_tells_other_people_and_images(tree, tmp_path):
    first = SYSUMM01(tree).fingerprint()
    assert len(first) == 16
    assert SYSUMM01(shutil.copytree(tree, tmp_path / "copy")).fingerprint() == first
    path = tree / "cam1" / "0001" / "0001.jpg"
    path.write_bytes(path.read_bytes() + b"0")
    second = SYSUMM01(tree).fingerprint()
    (tree / "exp" / "test_id.txt").write_text("5,6\n")
    third = SYSUMM01(tree).fingerprint()
    path.rename(path.with_name(os.fsdecode(b"caf\xe9.jpg")))  # not UTF-8
    assert len({first, second, third, SYSUMM01(tree).fingerprint()}) == 4


def test_test_images(made):
    dataset = SYSUMM01(made)
    images = dataset.test_images()
    assert images["visible"].records == dataset.test_visible
    assert images[Modality.INFRARED].records == dataset.test_infrared
    assert images["infrared"][0][0].dtype == torch.uint8
    assert dataset.test_images(value_range=(0, 9))["visible"].value_range == (0, 9)
    assert dataset.test_images(decoder="simplejpeg")["infrared"].decoder == "simplejpeg"
    assert dataset.test_images(lambda image: image / 255)["visible"][0][0].is_floating_point()


def test_long_lists_with_a_repeat_are_read_quickly(regdb, tree):
    path = regdb / "idx" / "train_visible_1.txt"
    path.write_text("".join(f"Visible/{i}/{i}.bmp {i}\n" for i in [*range(1, 60_001), 7]))
    (tree / "exp" / "test_id.txt").write_text(",".join(map(str, [*range(1, 60_001), 7])))
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"must list an image once, got \['Visible/7/7.bmp'\]"):
        RegDB(regdb, 1)
    with pytest.raises(ValueError, match=r"must list an identity once, got \['7'\]"):
        SYSUMM01(tree)
    assert time.perf_counter() - started < 5  # over a minute each before


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
    assert (dataset.train, dataset.test_infrared, dataset.test_visible) == (
        expected.train,
        expected.test_infrared,
        expected.test_visible,
    )


def test_matrices_need_no_scipy(tree, monkeypatch):
    save_list(tree, "test", np.array([[5, 6, 7]]))
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert {record.identity for record in SYSUMM01(tree).test_visible} == {5, 6, 7}
    assert len(SYSUMM01(tree).gallery_permutations()) == 12


def test_text_of_windows(tree):
    expected = SYSUMM01(tree).test_infrared
    (tree / "exp" / "test_id.txt").write_bytes(b"\xef\xbb\xbf5, 6, 7\r\n\r\n")  # with a byte order mark
    assert SYSUMM01(tree).test_infrared == expected


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


def test_fractional_permutations(tree):
    cells = write_permutations(tree, np.random.default_rng(0))
    cells[1, 0][4, 0] = cells[1, 0][4, 0] + 0.5  # of camera 2, identity 5; it was cut off before
    scipy.io.savemat(tree / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": cells})
    with pytest.raises(
        ValueError, match=r"mat must count the images of camera 2, identity 5 from 1, .* got \[[12].5, "
    ):
        SYSUMM01(tree).gallery_permutations()


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
        (lambda t: write(t, "test", "5,6,5"), ValueError, r"exp/test_id must list an identity once, got \['5'\]"),
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
            "root must hold infrared images of the training identities",
        ),
        (
            lambda t: empty_cameras(t, 1, 2, 4, 5),
            FileNotFoundError,
            "root must hold visible images of the training identities",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.* has no images of these cameras")
def test_damaged_trees(tree, damage, error, message):
    damage(tree)
    with pytest.raises(error, match=message):
        SYSUMM01(tree)


def test_missing_data_show_the_expected_tree(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cam1 … cam6/<identity, 4 digits>/<frame>.jpg\n  exp/train_id.txt"):
        SYSUMM01(tmp_path / "nowhere")


# RegDB and LLCM

SMALL = {"train_identities": 4, "test_identities": 3, "images_per_camera": 2, "size": (48, 24)}


@pytest.fixture(scope="module")
def made_regdb(tmp_path_factory):
    return generate_synthetic(tmp_path_factory.mktemp("regdb") / "Reg DB", "regdb", **SMALL)


@pytest.fixture(scope="module")
def made_llcm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llcm") / "camera" / "cam7"  # what the field's readers take for a camera
    return generate_synthetic(folder, "llcm", **SMALL)


@pytest.fixture
def regdb(made_regdb, tmp_path):
    return shutil.copytree(made_regdb, tmp_path / "RegDB")


@pytest.fixture
def llcm(made_llcm, tmp_path):
    return shutil.copytree(made_llcm, tmp_path / "LLCM")


def keys(records):
    return [(record.camera, record.identity, record.path.name) for record in records]


def test_regdb_trials(made_regdb):
    divisions = set()
    for trial in range(1, 11):
        dataset = RegDB(made_regdb, trial)
        listed = {
            (split, stem): (made_regdb / f"idx/{split}_{stem}_{trial}.txt").read_text().splitlines()
            for split in ("train", "test")
            for stem in ("visible", "thermal")
        }
        tests = dataset.test_visible + dataset.test_infrared
        for split, records in (("train", dataset.train), ("test", tests)):
            for stem, modality in (("visible", Modality.VISIBLE), ("thermal", Modality.INFRARED)):
                paths = {made_regdb / line.split()[0] for line in listed[split, stem]}
                assert {record.path for record in records if record.modality is modality} == paths
                assert len(paths) == len(listed[split, stem])
            assert keys(records) == sorted(keys(records))
        for record in dataset.train + tests:
            assert record.identity == int(record.path.parent.name)
            assert record.camera == (1 if record.modality is Modality.VISIBLE else 2)
        assert not {record.identity for record in dataset.train} & {record.identity for record in tests}
        divisions.add(frozenset(record.identity for record in tests))
    assert len(divisions) > 3


def test_llcm_records(made_llcm):
    dataset = LLCM(made_llcm)
    assert {record.identity for record in dataset.train} == {1, 2, 3, 4}
    for modality, tests, cameras in (
        (Modality.VISIBLE, dataset.test_visible, range(1, 10)),
        (Modality.INFRARED, dataset.test_infrared, (1, 2, 4, 5, 6, 7, 8, 9)),
    ):
        expected = {(camera, identity) for camera in cameras for identity in (5, 6, 7)}
        assert {(record.camera, record.identity) for record in tests} == expected
        assert len(tests) == 2 * len(expected)
        assert {record.modality for record in tests} == {modality}
        trained = [record for record in dataset.train if record.modality is modality]
        assert {record.camera for record in trained} == set(cameras)
        assert len(trained) == 2 * 4 * len(cameras)
    for record in dataset.test_visible:
        assert record.path.parent == made_llcm / "test_vis" / f"cam{record.camera}" / f"{record.identity:04d}"
    assert keys(dataset.train) == sorted(keys(dataset.train))


def edit(name, change):
    """A damage: replace the text of a split file."""

    def damage(root):
        path = root / "idx" / name
        path.write_text(change(path.read_text()))

    return damage


def missing(name):
    return lambda root: (root / name).unlink()


def first_path(name):
    """A damage: delete the first image of a list."""
    return lambda root: (root / (root / "idx" / name).read_text().split()[0]).unlink()


def swap(one, other):
    """A damage: exchange the training lists of the modalities."""

    def damage(root):
        first, second = (root / "idx" / f"train_{name}.txt" for name in (one, other))
        texts = first.read_text(), second.read_text()
        first.write_text(texts[1])
        second.write_text(texts[0])

    return damage


def lists_elsewhere(root):
    """A damage: both lists name the same images, in a folder whose name says nothing."""
    (root / "vis").rename(root / "images")
    text = (root / "idx/train_vis.txt").read_text().replace("vis/", "images/")
    for name in ("train_vis.txt", "train_nir.txt"):
        (root / "idx" / name).write_text(text)


def repeat_first(text):
    return text + text.splitlines()[0] + "\n"


LIST = "train_visible_1.txt"
LINES = r"idx/train_visible_1.txt must list '<folder>/<identity>/<image> <label>' on every line, got \['line 1: "


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            shutil.rmtree,
            FileNotFoundError,
            r"root must be the folder of RegDB, got .*RegDB'. (?s:.*)Thermal/<id",
        ),
        (missing("idx/" + LIST), FileNotFoundError, "root must hold idx/train_visible_1.txt, got 'no such file'. Exp"),
        (edit(LIST, lambda text: " \n"), ValueError, "idx/train_visible_1.txt must list an image, got 'an empty file'"),
        (edit(LIST, lambda text: text.replace(" ", ",")), ValueError, LINES),
        (edit(LIST, lambda text: text.replace("/", "\\")), ValueError, LINES),
        (edit(LIST, lambda text: text.replace(" 0", "")), ValueError, LINES),
        (edit(LIST, lambda text: text.replace(" 0", " a")), ValueError, LINES),
        (edit(LIST, lambda text: text.replace(" 0", " 1")), ValueError, "must give each identity a label of its own"),
        (edit(LIST, repeat_first), ValueError, r"idx/train_visible_1.txt must list an image once, got \['Visible/"),
        (first_path(LIST), FileNotFoundError, r'must hold the images that idx/train_visible_1.txt lists, got "no \['),
        (
            swap("visible_1", "thermal_1"),
            ValueError,
            r"idx/train_visible_1.txt must list visible images, got \['Thermal/",
        ),
        (
            lambda root: shutil.copy(root / "idx/test_visible_1.txt", root / "idx/test_thermal_1.txt"),
            ValueError,
            r"idx/test_thermal_1.txt must list infrared images, got \['Visible/",
        ),
        (
            lambda root: shutil.copy(root / "idx/train_thermal_1.txt", root / "idx/test_thermal_1.txt"),
            ValueError,
            "root must train and test on different identities, got ",
        ),
    ],
)
def test_damaged_regdb(regdb, damage, error, message):
    damage(regdb)
    with pytest.raises(error, match=message):
        RegDB(regdb, 1)


@pytest.mark.parametrize(
    ("trial", "error"), [(0, ValueError), (11, ValueError), (1.0, ValueError), ("1", TypeError), (True, TypeError)]
)
def test_regdb_has_ten_trials(made_regdb, trial, error):
    assert RegDB(made_regdb, np.int64(3)).trial == 3
    message = f"trial must be an integer from 1 to 10, got {trial!r}"
    with pytest.raises(error, match=message):
        RegDB(made_regdb, trial)
    with pytest.raises(error, match=message):
        create_dataset("regdb", made_regdb, trial=trial)


def test_regdb_tests_in_the_order_of_its_lists(regdb):
    """AGW's scripts rank equal distances by that order."""
    path = regdb / "idx" / "test_visible_1.txt"
    lines = path.read_text().splitlines()[::-1]
    path.write_text("\n".join(lines) + "\n")
    dataset = RegDB(regdb, trial=1)
    listed = [str(record.path.relative_to(regdb)) for record in dataset.test_visible]
    assert listed == [line.split()[0] for line in lines]


def test_regdb_s_trial_has_no_default(made_regdb):
    with pytest.raises(TypeError, match="trial must be an integer from 1 to 10, got None"):
        create_dataset("regdb", made_regdb)
    with pytest.raises(TypeError, match="required positional argument: 'trial'"):
        RegDB(made_regdb)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            shutil.rmtree,
            FileNotFoundError,
            r"root must be the folder of LLCM, got .*LLCM'. (?s:.*)test_nir/cam1",
        ),
        (missing("idx/test_id.txt"), FileNotFoundError, "root must hold idx/test_id.txt, got 'no such file'"),
        (swap("vis", "nir"), ValueError, r"idx/train_vis.txt must list visible images, got \['nir/0001/"),
        (lists_elsewhere, ValueError, r"root must have other images in the visible than in the .*\['images/0001/"),
        (edit("test_id.txt", lambda text: ""), ValueError, r"idx/test_id must list identities by number, from 1, got"),
        (edit("test_id.txt", lambda text: "5,99"), FileNotFoundError, r"identity in test_id, got 'none of \[99\]'"),
        (edit("test_id.txt", lambda text: "4,5"), FileNotFoundError, r"identity in test_id, got 'none of \[4\]'"),
        (
            edit("train_nir.txt", lambda text: text.replace("_c01_", "_1_")),
            FileNotFoundError,
            "must hold the images that idx/train_nir.txt lists",
        ),
        (
            lambda root: [shutil.rmtree(root / f"test_nir/cam{camera}") for camera in (1, 2, 4, 5, 6, 7, 8, 9)],
            FileNotFoundError,
            "root must hold infrared images of the test identities, got 0",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.* has no images of these cameras")
def test_damaged_llcm(llcm, damage, error, message):
    damage(llcm)
    with pytest.raises(error, match=message):
        LLCM(llcm)


def test_llcm_needs_cameras_in_names(llcm):
    path = next((llcm / "nir" / "0001").iterdir())
    path.rename(path.with_name("image.jpg"))
    edit("train_nir.txt", lambda text: text.replace(path.name, "image.jpg"))(llcm)
    with pytest.raises(ValueError, match=r"idx/train_nir.txt must name the camera of every image, .*'image.jpg'"):
        LLCM(llcm)


def test_llcm_people_whom_cameras_have_not_seen(llcm):
    shutil.rmtree(llcm / "test_vis" / "cam2" / "0005")
    shutil.rmtree(llcm / "test_nir" / "cam4")
    with pytest.warns(UserWarning, match=r"LLCM has no images of these cameras: test_nir/cam4\.") as told:
        dataset = LLCM(llcm)
    assert len(told) == 1
    assert told[0].filename == __file__
    assert len(dataset.test_visible) == 2 * (9 * 3 - 1)
    assert {record.camera for record in dataset.test_infrared} == {1, 2, 5, 6, 7, 8, 9}


# Counts


@pytest.mark.parametrize("reader", [SYSUMM01, RegDB, LLCM])
def test_counts(reader, made, made_regdb, made_llcm):
    dataset = create_dataset(
        *{SYSUMM01: ("sysu", made), RegDB: ("regdb", made_regdb), LLCM: ("llcm", made_llcm)}[reader], trial=1
    )
    counts, visible, infrared = dataset.counts(), dataset.test_visible, dataset.test_infrared
    assert counts["training identities"] == 4
    assert counts["test identities"] == 3
    assert counts["training visible images"] + counts["training infrared images"] == len(dataset.train)
    assert (counts["test visible images"], counts["test infrared images"]) == (len(visible), len(infrared))
    for camera in {record.camera for record in visible + infrared}:
        taken = [record for record in visible + infrared if record.camera == camera]
        assert counts[f"test images of camera {camera}"] == len(taken)
    assert reader.published["training visible images"] > 2000


def test_report_of_counts(made_regdb, monkeypatch):
    report = check_dataset(RegDB(made_regdb, 1))
    assert not report.complete
    assert str(report).splitlines() == [
        "RegDB: counts differ from the published ones",
        "                               found  published",
        "training identities                4        206  ←",
        "training visible images            8       2060  ←",
        "training infrared images           8       2060  ←",
        "test identities                    3        206  ←",
        "test visible images                6       2060  ←",
        "test infrared images               6       2060  ←",
    ]
    monkeypatch.setattr(RegDB, "published", {"training identities": 4, "test visible images": 6})
    report = check_dataset(RegDB(made_regdb, 1))
    assert report.complete
    assert "all counts are the published ones" in str(report)
    assert "←" not in str(report)


def test_published_counts_agree_with_each_other():
    for reader in (SYSUMM01, RegDB, LLCM):
        counts = reader.published
        for split in ("training", "test"):
            images = counts[f"{split} visible images"] + counts[f"{split} infrared images"]
            cameras = [count for what, count in counts.items() if what.startswith(f"{split} images of camera")]
            assert sum(cameras) in {0, images}
    assert sum(count for what, count in LLCM.published.items() if what.endswith("images")) == 46_767


def test_data_sets_by_name(made, made_regdb, made_llcm):
    assert create_dataset("sysu", made).train == SYSUMM01(made).train
    assert create_dataset("regdb", made_regdb, trial=3).train == RegDB(made_regdb, 3).train
    assert create_dataset("llcm", made_llcm).train == LLCM(made_llcm).train
    with pytest.raises(ValueError, match="name must be one of .*, got 'regd'. Did you mean 'regdb'"):
        create_dataset("regd", made)


# Any data set that the layouts allow


@pytest.mark.filterwarnings("ignore:.* has no images of these cameras")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["sysu", "regdb", "llcm"]),
    st.integers(2, 6),
    st.integers(1, 4),
    st.integers(1, 3),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_records_are_what_the_folders_hold(tmp_path_factory, name, train, test, frames, absence, seed):
    root = tmp_path_factory.mktemp("tree")
    people = range(1, train + 1), range(train + 1, train + test + 1)
    sightings = synthetic._sightings(name, [*people[0], *people[1]], None, absence, seed)
    shots, lists = synthetic._LAYOUTS[name](*people, sightings, range(1, frames + 1), seed)
    for path, content in [*lists.items(), *((shot.path, b"") for shot in shots)]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    dataset = create_dataset(name, root, trial=seed % 10 + 1)
    tests = dataset.test_visible + dataset.test_infrared
    read = {(r.path, r.identity, r.camera, r.modality) for r in dataset.train + tests}
    assert read == {(root / s.path, s.identity, s.camera, s.modality) for s in shots}
    assert len(dataset.train) + len(tests) == len(shots)
    assert len({r.identity for r in dataset.train}) == train
    assert not {r.identity for r in dataset.train} & {r.identity for r in tests}
    for records in (dataset.train, dataset.test_visible, dataset.test_infrared):
        assert keys(records) == sorted(keys(records))
    counts = dataset.counts()
    assert counts["training visible images"] + counts["training infrared images"] == len(dataset.train)


def test_a_folder_that_may_not_be_read_is_named(made, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("vireid.data.datasets.os.scandir", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*cam1.*0001'"):
        SYSUMM01(made)
