import copy
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from vireid.data import SYSUMM01, create_dataset, pedestrians, synthetic
from vireid.data.synthetic import generate_synthetic
from vireid.modality import Modality

SMALL = {"train_identities": 4, "test_identities": 2, "images_per_camera": 2, "size": (48, 24)}


@pytest.fixture(scope="module")
def sysu(tmp_path_factory):
    return generate_synthetic(tmp_path_factory.mktemp("sysu") / "people", **SMALL)


def files(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def photograph(identity, modality, frame=1, camera=1, size=(48, 24), difficulty=0.5, seed=0):
    shot = pedestrians.Shot("", identity, camera, frame, Modality.of(modality))
    return pedestrians.photograph(shot, size, difficulty, seed).astype(float)


# Files


def test_sysu_mm01_has_its_folders_and_split_files(sysu):
    images = {f"cam{c}/{i:04d}/{f:04d}.jpg" for c, i, f in product(range(1, 7), range(1, 7), (1, 2))}
    splits = {"exp/train_id.txt": "1,2,3\n", "exp/val_id.txt": "4\n", "exp/test_id.txt": "5,6\n"}
    assert set(files(sysu)) == images | set(splits) | {"exp/rand_perm_cam.mat"}
    assert {name: (sysu / name).read_text() for name in splits} == splits


def test_images_are_rgb_jpegs_with_content_and_gray_exactly_where_infrared(sysu):
    for path in sysu.glob("cam*/*/*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (24, 48))
        image = pixels(path).astype(float)
        assert image.std() > 8
        assert (np.ptp(image, axis=2).max() == 0) == (path.parts[-3] in {"cam3", "cam6"})


def test_a_quarter_of_the_training_identities_is_for_validation(tmp_path):
    lists = synthetic._sysu_mm01(range(1, 101), range(101, 161), [], range(1, 2), 0)[1]
    counts = {name: len(text.split(b",")) for name, text in lists.items() if name.endswith(".txt")}
    assert counts == {"exp/train_id.txt": 75, "exp/val_id.txt": 25, "exp/test_id.txt": 60}


def test_two_training_identities_leave_one_in_each_list(tmp_path):
    root = generate_synthetic(tmp_path / "people", **SMALL | {"train_identities": 2})
    assert (root / "exp/train_id.txt").read_text() + (root / "exp/val_id.txt").read_text() == "1\n2\n"


def test_regdb_has_ten_trials_of_bmp_files(tmp_path):
    root = generate_synthetic(tmp_path / "people", "regdb", **SMALL)
    trials = []
    for trial in range(1, 11):
        members = {}
        for split, stem in product(("train", "test"), ("visible", "thermal")):
            lines = (root / f"idx/{split}_{stem}_{trial}.txt").read_text().splitlines()
            rows = [line.split(" ") for line in lines]
            assert all((root / path).is_file() and path.startswith(f"{stem.title()}/") for path, _ in rows)
            identities = [path.split("/")[1] for path, _ in rows]
            members[split, stem] = set(identities)
            count = SMALL[f"{split}_identities"]
            assert [int(label) for _, label in rows] == [label for label in range(count) for _ in range(2)]
            assert len(set(identities)) == count
            assert len(rows) == 2 * count
        assert members["train", "visible"] == members["train", "thermal"]
        assert members["test", "visible"] == members["test", "thermal"]
        assert members["train", "visible"] | members["test", "visible"] == set("123456")
        trials.append(frozenset(members["test", "visible"]))
    assert len(set(trials)) > 3
    images = list(root.glob("*/*/*.bmp"))
    assert len(images) == 2 * 6 * 2
    for path in images:
        image = pixels(path).astype(float)
        assert image.shape == (48, 24, 3)
        assert (np.ptp(image, axis=2).max() == 0) == (path.parts[-3] == "Thermal")


def test_llcm_has_nine_visible_and_eight_infrared_cameras(tmp_path):
    root = generate_synthetic(tmp_path / "people", "llcm", **SMALL | {"images_per_camera": 1})
    assert (root / "idx/test_id.txt").read_text() == "5,6\n"
    for stem, cameras in [("vis", set(range(1, 10))), ("nir", set(range(1, 10)) - {3})]:
        rows = [line.split(" ") for line in (root / f"idx/train_{stem}.txt").read_text().splitlines()]
        assert all((root / path).is_file() and int(path.split("/")[1]) == int(label) + 1 for path, label in rows)
        assert len(rows) == 4 * len(cameras)
        tests = [path.relative_to(root).parts for path in root.glob(f"test_{stem}/cam*/*/*.jpg")]
        assert {int(parts[1][3:]) for parts in tests} == cameras
        assert {parts[2] for parts in tests} == {"0005", "0006"}
        assert len(tests) == 2 * len(cameras)


def test_official_orders_are_read_as_those_of_the_real_data_set(tmp_path):
    root = generate_synthetic(tmp_path / "people", **SMALL | {"images_per_camera": 3, "absence": 0.5})
    cells = scipy.io.loadmat(root / "exp/rand_perm_cam.mat")["rand_perm_cam"]
    assert (cells.shape, cells[0, 0].shape) == ((6, 1), (6, 1))
    for camera, identity in product(range(1, 7), range(1, 7)):
        order = cells[camera - 1, 0][identity - 1, 0]
        if (root / f"cam{camera}" / f"{identity:04d}").is_dir():
            assert (np.sort(order) == [1, 2, 3]).all()
            assert order.shape == (10, 3)
            assert len(np.unique(order, axis=0)) > 1
        else:
            assert order.size == 0
    permutations = SYSUMM01(root).gallery_permutations()
    assert {order.shape for order in permutations.values()} == {(10, 3)}


@pytest.mark.filterwarnings("ignore:.* has no images of these cameras")
@pytest.mark.parametrize("layout", ["sysu", "regdb", "llcm"])
def test_absence(tmp_path, layout):
    arguments = SMALL | {"test_identities": 8, "images_per_camera": 1, "absence": 0.6}
    root = generate_synthetic(tmp_path / "people", layout, **arguments)
    dataset = create_dataset(layout, root, trial=1)
    for records in (dataset.train, dataset.test_visible + dataset.test_infrared):
        for modality in (Modality.VISIBLE, Modality.INFRARED):
            seen = {(record.identity, record.camera) for record in records if record.modality is modality}
            people = {record.identity for record in records}
            assert {identity for identity, _ in seen} == people  # each in one camera of each modality at least
            cameras = len(synthetic._CAMERAS[layout][modality])
            assert cameras == 1 or len(people) <= len(seen) < 0.8 * cameras * len(people)


@pytest.mark.filterwarnings("ignore:.* has no images of these cameras")
def test_cameras(tmp_path):
    root = generate_synthetic(tmp_path / "people", **SMALL, cameras=[2, 6])
    assert {path.name for path in root.glob("cam*")} == {"cam2", "cam6"}
    assert len(SYSUMM01(root).train) == 4 * 2 * 2
    rule = r"cameras must be cameras of the layout, one of each modality at least, got \[{}\]. visible: \(1, "
    for cameras in ([1, 2], [3, 7], []):
        with pytest.raises(ValueError, match=rule.format(str(cameras)[1:-1])):
            generate_synthetic(tmp_path / "other", **SMALL, cameras=cameras)


# Determinism


def test_bytes_depend_on_neither_process_nor_order_nor_number(sysu, tmp_path):
    script = (
        "import sys; from vireid.data.synthetic import generate_synthetic;"
        "generate_synthetic(sys.argv[1], train_identities=3, test_identities=2, images_per_camera=1, size=(48, 24))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "people")], check=True)
    ours, theirs = files(sysu), files(tmp_path / "people")
    shared = [name for name in theirs if name.endswith(".jpg")]
    assert len(shared) == 6 * 5
    root = generate_synthetic(
        tmp_path / "again", train_identities=3, test_identities=2, images_per_camera=1, size=(48, 24)
    )
    assert files(root) == theirs  # split files included
    assert all(ours[name] == theirs[name] for name in shared)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bar_counts_the_images(workers, tmp_path, capsys):
    few = {"train_identities": 2, "test_identities": 1, "images_per_camera": 1, "size": (32, 16)}
    generate_synthetic(tmp_path / "people", **few, workers=workers, progress=True)
    assert "18/18" in capsys.readouterr().err


def test_workers_write_the_same_bytes(sysu, tmp_path):
    assert files(generate_synthetic(tmp_path / "people", **SMALL, workers=2)) == files(sysu)


@pytest.mark.parametrize("other", [{"seed": 1}, {"difficulty": 0.2}, {"size": (48, 26)}])
def test_another_argument_changes_every_image(sysu, tmp_path, other):
    ours, theirs = files(sysu), files(generate_synthetic(tmp_path / "people", **SMALL | other))
    assert set(ours) == set(theirs)
    assert not [name for name in ours if name.endswith(".jpg") and ours[name] == theirs[name]]


@pytest.mark.parametrize(
    ("modality", "expected"),
    [
        ("visible", [[133.0, 140.0], [120.9, 126.9], [112.5, 109.1], [100.7, 101.5]]),
        ("infrared", [[66.7, 84.3], [98.0, 111.4], [80.9, 110.5], [73.4, 129.1]]),
    ],
)
def test_the_people_stay_the_same_from_version_to_version(modality, expected):
    image = photograph(1, modality, size=(64, 32)).mean(axis=2)
    np.testing.assert_allclose(image.reshape(4, 16, 2, 16).mean(axis=(1, 3)), expected, atol=1)


# What the pictures say


def test_clothes_have_independent_brightness_in_the_two_modalities():
    people = [pedestrians._Person(0, identity) for identity in range(400)]

    def brightness(modality, material):
        return np.array([np.dot((0.3, 0.59, 0.11), person.tones[Modality.of(modality)][material]) for person in people])

    garments = [
        getattr(pedestrians, name) for name in ("_TOP", "_BOTTOM", "_SHOES", "_BAG", "_HAT", "_SHIRT", "_TOP_PRINT")
    ]
    for material in garments:
        visible, infrared = brightness("visible", material), brightness("infrared", material)
        assert visible.std() > 35
        assert infrared.std() > 35
        assert abs(np.corrcoef(visible, infrared)[0, 1]) < 0.15
    for garment in (pedestrians._TOP, pedestrians._BOTTOM):
        contrasts = [
            brightness(modality, garment + 1) - brightness(modality, garment) for modality in ("visible", "infrared")
        ]
        assert np.abs(contrasts).min() > 59  # a print can be seen, and in half of the people its sign flips
        assert 0.4 < np.mean(np.sign(contrasts[0]) == np.sign(contrasts[1])) < 0.6


def test_brightness_tells_a_person_within_a_modality_but_not_across():
    def chest(modality, frame):
        return np.array([photograph(i, modality, frame, difficulty=0.1)[14:22, 9:15].mean() for i in range(120)])

    visible, again, infrared = chest("visible", 1), chest("visible", 2), chest("infrared", 1)
    assert np.corrcoef(visible, again)[0, 1] > 0.8
    assert abs(np.corrcoef(visible, infrared)[0, 1]) < 0.25


def nearest_is_right(queries, gallery):
    queries, gallery = (x - x.mean(axis=0) for x in (queries, gallery))
    queries, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, gallery))
    return np.mean((queries @ gallery.T).argmax(axis=1) == np.arange(len(queries)))


def test_edges_tell_a_person_across_modalities_where_raw_pixels_do_not():
    def stack(modality, features):
        images = [photograph(i, modality, size=(96, 48), difficulty=0.0).mean(axis=2) for i in range(40)]
        return np.stack([features(image) for image in images])

    def edges(image):
        down, right = np.gradient(image)
        strength = np.hypot(down, right)
        return (strength / strength.mean()).reshape(48, 2, 24, 2).mean(axis=(1, 3)).ravel()

    assert nearest_is_right(stack("visible", edges), stack("infrared", edges)) > 0.6
    assert nearest_is_right(stack("visible", np.ravel), stack("infrared", np.ravel)) < 0.3


def drawing(person, **traits):
    changed = copy.copy(person)
    vars(changed).update(traits)
    canvas = pedestrians._Canvas((96, 48), yaw=0.3, swing=0.3, zoom=1.0, right=0.0, up=0.0)
    pedestrians._draw_person(canvas, changed)
    return pedestrians._print_patterns(canvas, changed).tobytes()


def test_every_trait_of_a_person_can_be_seen():
    options = {
        "hair": ("short", "long", "bun", "cap", "bald"),
        "sleeves": ("long", "short", "none"),
        "front": ("plain", "jacket", "triangle", "square", "disc"),
        "top_pattern": ("plain", *pedestrians._PATTERNS),
        "bottom": ("trousers", "shorts", "skirt"),
        "bottom_pattern": ("plain", "hoops", "stripes", "checks", "dots"),
        "shoes": ("low", "boots"),
        "bag": ("none", "backpack", "shoulder", "hand"),
        "bag_side": (-1, 1),
        "hem": (0.0, 0.1, 0.42),
        "bottom_length": (0.4, 0.7),
        "flare": (0.1, 0.9),
        "period": (100, 160),
    }
    options |= dict.fromkeys(("half_shoulders", "half_hips", "head", "depth"), (0.16, 0.2))
    options |= {"height": (1.6, 1.8), "shoulders": (1.3, 1.5), "hips": (0.75, 0.9), "limbs": (0.8, 1.1)}
    person = pedestrians._Person(0, 1)
    assert set(options) | {"girth", "stride", "tones"} == set(vars(person))  # these act through others or the pose
    vars(person).update(
        hair="short",
        sleeves="short",
        front="plain",
        top_pattern="hoops",
        bottom="skirt",
        bag="hand",
        shoes="low",
        hem=0.1,
    )
    for trait, values in options.items():
        assert len({drawing(person, **{trait: value}) for value in values}) == len(values), trait


@pytest.mark.parametrize("size", [(32, 16), (90, 31), (64, 64)])
@pytest.mark.parametrize("difficulty", [0, 1])
def test_any_size_and_either_end_of_the_difficulty_give_a_picture(size, difficulty):
    for identity, modality in product(range(3), ("visible", "infrared")):
        image = photograph(identity, modality, size=size, difficulty=difficulty)
        assert image.shape == (*size, 3)
        assert image.std() > 8


def test_images_of_a_person_differ_more_where_it_is_more_difficult():
    def spread(difficulty):
        frames = [[photograph(i, "visible", frame, difficulty=difficulty) for frame in range(6)] for i in range(8)]
        return np.std(frames, axis=1).mean()

    assert spread(0.0) + 10 < spread(0.5) < spread(1.0) - 5


def test_cameras_differ_and_a_camera_has_one_scene():
    def corner(identity, camera):
        return np.mean(
            [photograph(identity, "visible", f, camera)[36:, :4].mean(axis=(0, 1)) for f in range(8)], axis=0
        )

    same = np.linalg.norm(corner(1, 1) - corner(2, 1))
    assert same < np.linalg.norm(corner(1, 1) - corner(1, 4))


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "sysu-mm02"}, r"layout must be one of .*, got 'sysu-mm02'. Did you mean 'sysu'\?"),
        ({"train_identities": 1}, r"train_identities must be an integer of at least 2, got 1\."),
        ({"test_identities": 0}, r"test_identities must be an integer of at least 1, got 0\."),
        ({"images_per_camera": 0}, r"images_per_camera must be an integer of at least 1, got 0\."),
        ({"images_per_camera": 1.5}, r"images_per_camera must be an integer of at least 1, got 1\.5\."),
        ({"size": (24, 24)}, r"size\[0\] must be an integer of at least 32, got 24\."),
        ({"size": (48, 8)}, r"size\[1\] must be an integer of at least 16, got 8\."),
        ({"size": (48.0, 24.0)}, r"size\[0\] must be an integer of at least 32, got 48\.0\."),
        ({"size": (48, 24, 3)}, r"size must be \(height, width\) in pixels, at least \(32, 16\), got \(48, 24, 3\)\."),
        ({"difficulty": 1.1}, r"difficulty must be a finite number from 0 to 1, got 1\.1\."),
        ({"difficulty": -0.1}, r"difficulty must be a finite number from 0 to 1, got -0\.1\."),
        ({"seed": -1}, r"seed must be an integer of at least 0, got -1\."),
        ({"workers": 0}, r"workers must be an integer of at least 1, got 0\."),
    ],
)
def test_a_bad_argument_is_named_before_any_work(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate_synthetic(tmp_path / "people", **arguments)
    assert not list(tmp_path.iterdir())


def test_an_existing_data_set_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    for root in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(FileExistsError, match=r"root must be a new or an empty folder, got .* Delete it or choose"):
            generate_synthetic(root, **SMALL)
    assert files(tmp_path) == {"mine.txt": b"precious"}


def test_an_empty_folder_and_missing_parents_are_fine(sysu, tmp_path):
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "empty", tmp_path / "new" / "people"):
        assert generate_synthetic(str(root), **SMALL) == root
        assert files(root) == files(sysu)


def test_an_empty_folder_is_kept(sysu, tmp_path, monkeypatch):
    """It may be a mounted volume, which can be neither removed nor replaced, in a folder that may not be written to."""
    root = tmp_path / "volume"
    root.mkdir()
    before = root.stat().st_ino

    def refuse(self, *_):
        raise OSError(16, "Device or resource busy", str(self))

    rename = Path.rename
    monkeypatch.setattr(Path, "rmdir", refuse)
    monkeypatch.setattr(Path, "rename", lambda self, to: refuse(self) if Path(to) == root else rename(self, to))
    assert generate_synthetic(root, **SMALL) == root
    assert root.stat().st_ino == before
    assert files(root) == files(sysu)
    assert {path.name for path in root.iterdir()} == {"exp", *(f"cam{camera}" for camera in range(1, 7))}


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    write, written = synthetic._write_image, []

    def interrupted(folder, shot, **options):
        if len(written) == 3:
            assert len(list(folder.rglob("*.jpg"))) == 3
            raise KeyboardInterrupt
        written.append(shot)
        write(folder, shot, **options)

    monkeypatch.setattr(synthetic, "_write_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate_synthetic(tmp_path / "people", **SMALL)
    assert not list(tmp_path.iterdir())
