import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from vireid.data import (
    CrossModalityIdentitySampler,
    OwnDataset,
    PairedImages,
    PersonDataset,
    Record,
    RecordList,
    check_dataset,
    check_images,
    read_folders,
    read_table,
    split_identities,
)
from vireid.modality import Modality

SIDES = {"v": "visible", "i": "infrared"}


def make(seen):
    """Records of people by name: "vi" has an image of each modality, "vvi" two visible ones; "?" is unlabelled."""
    names = dict(enumerate(sorted(set(seen) - {"?"}), 1))
    numbers = {name: number for number, name in names.items()} | {"?": -1}
    records = [
        Record(f"/data/{SIDES[side]}/{name}/{i}.png", numbers[name], 1 + (side == "i"), SIDES[side])
        for name, sides in seen.items()
        for i, side in enumerate(sides)
    ]
    return RecordList(records, names=names)


def people(records, modality=None):
    return {record.path.parent.name for record in records if modality in {None, record.modality}}


def roles(dataset):
    """The people to train on, in the visible test, and in the infrared test."""
    return people(dataset.train), people(dataset.test_visible), people(dataset.test_infrared)


@pytest.fixture(autouse=True)
def no_disk(monkeypatch, request):
    """The records of most tests have no files."""
    if "tmp_path" not in request.fixturenames:
        monkeypatch.setattr(Path, "is_dir", lambda self: True)


def test_half_of_the_people_are_tested():
    seen = {f"person {i}": "vvi" for i in range(10)} | {"?": "vi"}
    dataset = split_identities(make(seen))
    assert isinstance(dataset, PersonDataset)
    train, visible, infrared = roles(dataset)
    assert len(train) == len(visible) == 5
    assert visible == infrared
    assert train | visible == set(seen) - {"?"}
    assert len(dataset.train) == 15
    assert (len(dataset.test_visible), len(dataset.test_infrared)) == (10, 5)
    assert people(dataset.unlabelled) == {"?"}
    assert dataset.names == make(seen).names
    assert people(split_identities(make(seen), seed=1).train) != train


def test_the_split_is_a_hash_by_hand():
    """The order of sha256 of 'seed test name': computed with sha256sum, so that splits stay what they were."""
    dataset = split_identities(make(dict.fromkeys(["anna", "ben", "carl", "zoë"], "vi")), test=0.25)
    assert roles(dataset)[1] == {"zoë"}


def test_extremes():
    records = make({"anna": "vi", "ben": "vi", "carl": "v", "dora": "i"})
    dataset = split_identities(records, test=0)
    assert roles(dataset) == ({"anna", "ben"}, set(), set())
    dataset = split_identities(records, test=1)
    assert roles(dataset) == (set(), {"anna", "ben", "carl"}, {"anna", "ben", "dora"})
    assert [len(roles(split_identities(records, test=share))[0]) for share in (0.01, 0.99)] == [1, 1]
    with pytest.raises(ValueError, match="records must show 2 or more people in both modalities, got 1"):
        split_identities(make({"anna": "vi", "ben": "v"}))
    assert roles(split_identities(make({"anna": "vi"}), test=1)) == (set(), {"anna"}, {"anna"})
    with pytest.raises(ValueError, match=r"got 1. In one alone are ben, carl, dora and 1 more\."):
        split_identities(make({"anna": "vi", "ben": "v", "carl": "i", "dora": "i", "emil": "v"}))
    message = r"records must show people who are known, got '2 unlabelled images'. A pattern needs the group \(\?P<iden"
    with pytest.raises(ValueError, match=message):
        split_identities(make({"?": "vi"}), test=1)


def test_people_of_one_modality_are_named():
    records = make({"anna": "vi", "ben": "vi", "carl": "v", "dora": "i", "emil": "v", "fay": "vv", "gil": "v"})
    report = str(check_dataset(split_identities(records, test=0.5)))
    assert "\ntest people in visible images only: 4 (carl, emil, fay and 1 more)\n" in report
    assert report.endswith("\ntest people in infrared images only: 1 (dora)")
    assert "only" not in str(check_dataset(split_identities(make({"anna": "vi", "ben": "vi"}))))


def test_people_of_one_modality_make_the_test_open():
    dataset = split_identities(make({"anna": "vi", "ben": "vi", "carl": "v", "dora": "ii"}))
    train, visible, infrared = roles(dataset)
    assert len(train) == 1
    assert {"carl"} == visible - infrared
    assert {"dora"} == infrared - visible
    assert len(visible & infrared) == 1


def test_shares_of_the_open_set():
    records = make({f"{i}": "vvi" for i in range(20)})
    closed = roles(split_identities(records, seed=3))
    train, visible, infrared = roles(split_identities(records, seed=3, queries_only=0.2, gallery_only=0.4))
    assert train == closed[0]
    assert visible | infrared == closed[1]
    assert (len(infrared - visible), len(visible - infrared)) == (2, 4)
    reverse = split_identities(records, seed=3, query="visible", queries_only=0.2, gallery_only=0.4)
    assert people(reverse.test_visible) == infrared
    assert people(reverse.test_infrared) == visible
    assert len(split_identities(records, queries_only=0.01).test_visible) == 18  # a share that is not 0 is somebody
    rule = r"queries_only must leave test people for both sides, with gallery_only, got \(0.5, 0.5\)"
    with pytest.raises(ValueError, match=rule):
        split_identities(records, queries_only=0.5, gallery_only=0.5)
    with pytest.raises(ValueError, match="queries_only must leave test people"):
        split_identities(records, test=0, queries_only=0.1)


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0.?"), min_size=1, max_size=8)
sightings = st.tuples(
    st.dictionaries(names, st.sampled_from(["vi", "vvi", "iiv"]), min_size=8, max_size=15),
    st.dictionaries(names, st.sampled_from(["v", "ii"]), max_size=5),
).map(lambda parts: parts[1] | parts[0])
shares = st.one_of(  # of people to test on, and of those in queries only and in the gallery only
    st.tuples(st.floats(0, 1), st.just(0.0), st.just(0.0)),
    st.tuples(st.floats(0.4, 1), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0.0, 0.1, 0.3])),
)
property_test = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@property_test
@given(sightings, shares, st.integers(0, 9), st.sampled_from(["visible", "infrared"]))
def test_nobody_is_lost_or_on_both_sides(seen, three, seed, query):
    both = {name for name, sides in seen.items() if len(set(sides)) == 2}
    test, queries_only, gallery_only = three
    records = make(seen | {"?": "v"})
    options = {"test": test, "seed": seed, "query": query, "queries_only": queries_only, "gallery_only": gallery_only}
    dataset = split_identities(records, **options)
    train, visible, infrared = roles(dataset)
    tested = visible | infrared
    assert not train & tested
    assert train | tested == (set(seen) if test > 0 else both)
    assert train <= both
    count = len(both & tested)
    assert abs(count - test * len(both)) <= 1
    assert 0 < test < 1 or count == test * len(both)
    assert 1 <= count < len(both) or test in {0, 1}

    searching, searched = (infrared, visible) if query == "infrared" else (visible, infrared)
    for share, alone in ((queries_only, searching - searched), (gallery_only, searched - searching)):
        assert len(alone & both) == (max(1, round(share * count)) if share else 0)
    hidden = {name for name in both & tested if (name in visible) != (name in infrared)}
    kept = dataset.train + dataset.test_visible + dataset.test_infrared
    whole = [record for record in records if people([record]) <= (train | tested) - hidden - {"?"}]
    assert {record for record in kept if not people([record]) <= hidden} == set(whole)  # all images of everybody else
    assert all(record.modality is Modality.VISIBLE for record in dataset.test_visible)
    assert all(record.modality is Modality.INFRARED for record in dataset.test_infrared)

    shuffled = RecordList(random.Random(seed).sample(records, len(records)), names=records.names)
    again = split_identities(shuffled, **options)
    for part in ("train", "test_visible", "test_infrared", "unlabelled"):
        assert getattr(again, part) == getattr(dataset, part)


@property_test
@given(sightings, st.floats(0, 1), st.integers(0, 9), st.text("abcäß", min_size=1))
def test_a_newcomer_moves_one_other_person_at_most(seen, test, seed, newcomer):
    both = [name for name, sides in seen.items() if len(set(sides)) == 2]
    assume(newcomer not in seen)
    before = split_identities(make(seen), test=test, seed=seed)
    after = split_identities(make(seen | {newcomer: "vi"}), test=test, seed=seed)
    moved = people(before.train) ^ (people(after.train) - {newcomer})
    assert len(moved) <= 1
    more = {name: sides + "viv" if name in both else sides * 3 for name, sides in seen.items()}
    assert people(split_identities(make(more), test=test, seed=seed).train) == people(before.train)


def test_numbered_people_are_split_alike_without_names():
    records = RecordList([Record(f"/data/{i}-{m}", i, 0, m) for i in range(30) for m in SIDES.values()])
    named = RecordList(records, names={i: str(i) for i in range(30)})
    assert split_identities(list(records)).train == split_identities(named).train


def listed(**splits):
    records = make(dict.fromkeys(splits, "vi"))
    return RecordList(
        records,
        names=records.names,
        splits={
            record.path: splits[record.path.parent.name][record.modality is Modality.INFRARED] for record in records
        },
    )


def test_splits_of_a_table_are_followed():
    records = listed(anna=("train", "train"), ben=("test", "test"), carl=("gallery", "query"), dora=("train", "train"))
    dataset = split_identities(records)
    assert roles(dataset) == ({"anna", "dora"}, {"ben", "carl"}, {"ben", "carl"})
    assert len(people(split_identities(records, test=0.25).train)) == 3
    with pytest.raises(ValueError, match="gallery_only must be 0 where the splits of a table are followed, got 0.1"):
        split_identities(records, gallery_only=0.1)
    with pytest.raises(ValueError, match=r"records must have a split for every labelled image, got \['/data/visible/x"):
        split_identities(RecordList([*records, *make({"x": "v"})], splits=records.splits))


def test_splits_that_cannot_be_followed():
    both = r"records must have queries of one modality and a gallery of the other, got \{'query': \['infrared', 'vis"
    with pytest.raises(ValueError, match=both):
        split_identities(listed(anna=("train", "train"), ben=("query", "query"), carl=("gallery", "query")))
    with pytest.raises(ValueError, match="records must have queries of one modality and a gallery of the other"):
        split_identities(listed(anna=("query", "train"), ben=("gallery", "train")))
    with pytest.raises(ValueError, match=r"test must hold other people than train, got \['anna'\]"):
        split_identities(listed(anna=("train", "test"), ben=("train", "train"), carl=("test", "test")))


def test_data_sets_of_records():
    records = make({"anna": "vi", "ben": "vi", "?": "v"})
    dataset = OwnDataset(records[:2], records[2:4], unlabelled=records[4:], names=records.names)
    assert roles(dataset) == ({"anna"}, {"ben"}, {"ben"})
    assert dataset.root == Path("/data")
    assert dataset.name == "own data"
    for arguments, message in (
        (([], []), "train must hold an image, or test, got 0"),
        ((records[:2], records[1:3]), r"test must hold every image once.*, got \['/data/infrared/anna/1.png'\]"),
        ((records[:1], records[1:3]), r"test must hold other people than train, got \[1\]"),
        ((records[3:], []), r"train\[1\] must show a known person, 0 or more, got -1"),
        (([], ["a.png"]), r"test\[0\] must be a Record, got 'str'"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            OwnDataset(*arguments)
    with pytest.raises(ValueError, match=r"unlabelled\[0\] must show an unknown person, -1, got 1"):
        OwnDataset([], [], unlabelled=records[:1])


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = []
    for i, modality in enumerate(["visible", "infrared"] * 2):
        Image.new("RGB", (2, 4)).save(f"{i}.png")
        records.append(Record(f"{i}.png", i // 2, 0, modality))
    dataset = OwnDataset(records[:2], records[2:])
    assert dataset.root == tmp_path
    assert [record.path for record in dataset.train] == [tmp_path / "0.png", tmp_path / "1.png"]
    first = dataset.fingerprint()
    monkeypatch.chdir("/")
    assert dataset.fingerprint() == first
    assert OwnDataset(dataset.train, dataset.test_visible + dataset.test_infrared).fingerprint() == first


def test_folders_on_two_drives(monkeypatch):
    monkeypatch.setattr(os.path, "commonpath", lambda paths: (_ for _ in ()).throw(ValueError("different drives")))
    with pytest.raises(ValueError, match=r"train must lie on one drive, with test and unlabelled, got \['/data/infra"):
        split_identities(make({"anna": "vi", "ben": "vi"}))


@pytest.fixture
def home(tmp_path):
    """Eight people before a visible camera of 8 bits and a thermal one of 16."""
    draw = np.random.default_rng(0)
    for i in range(8):
        for n in range(3):
            pixels = draw.integers(0, 256, (32, 16, 3), np.uint8)
            for name, image in {
                f"rgb/p{i}/{n}_door.png": pixels,
                f"ir/p{i}/{n}_yard.tiff": pixels[:, :, 0].astype(np.uint16) + 29000,
            }.items():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(tmp_path / name)
    return tmp_path


PATTERN = r"(?P<identity>[^/]+)/\d_(?P<camera>\w+)"


def test_everything_a_data_set_can_do(home, tmp_path):
    records = read_folders(visible="rgb", infrared="ir", pattern=PATTERN, root=home)
    dataset = split_identities(records, test=0.25)
    assert dataset.root == home
    images = [*dataset.train, *dataset.test_visible, *dataset.test_infrared]
    check_images(images)
    expected = {
        "training identities": 6,
        "training visible images": 18,
        "training infrared images": 18,
        "training images of camera door": 18,
        "training images of camera yard": 18,
        "test identities": 2,
        "test visible images": 6,
        "test infrared images": 6,
        "test images of camera door": 6,
        "test images of camera yard": 6,
        "training identities in both modalities": 6,
        "test identities in both modalities": 2,
        "unlabelled images": 0,
    }
    assert dataset.counts() == expected
    tests = dataset.test_images(value_range=(29000, 29255))
    image, identity, camera = tests["infrared"][0]
    assert image.dtype == torch.uint8
    assert (dataset.names[identity], dataset.camera_names[camera]) == (
        dataset.test_infrared[0].path.parent.name,
        "yard",
    )
    colours = next(tests["visible"][i][0] for i, r in enumerate(dataset.test_visible) if r.path.stem == "0_door")
    assert image[0].equal(colours[0])  # the two cameras took the same pixels

    pairs = PairedImages(dataset.train, lambda x: x / 255, lambda x: x / 255, value_range=(29000, 29255))
    sampler = CrossModalityIdentitySampler(
        pairs.visible_identities, pairs.infrared_identities, identities_per_batch=3, images_per_identity=2
    )
    visible, infrared, labels = next(iter(DataLoader(pairs, batch_sampler=sampler)))
    assert visible.shape == infrared.shape == (6, 3, 32, 16)
    assert set(labels.tolist()) <= set(range(6))


def test_fingerprint(home, tmp_path):
    def fingerprint(folder, **options):
        records = read_folders(visible="rgb", infrared="ir", pattern=PATTERN, root=folder)
        return split_identities(records, **options).fingerprint()

    first = fingerprint(home)
    copy = tmp_path / "another" / "place"
    shutil.copytree(home / "rgb", copy / "rgb")
    shutil.copytree(home / "ir", copy / "ir")
    assert fingerprint(copy) == first
    assert fingerprint(home, seed=1) != first
    assert fingerprint(home, gallery_only=0.1) != first
    path = copy / "ir" / "p0" / "0_yard.tiff"
    path.write_bytes(path.read_bytes() + b"0")
    assert fingerprint(copy) != first


def test_report_has_the_counts_that_were_found(home):
    records = read_folders(visible="rgb", infrared="ir", pattern=PATTERN, root=home)
    report = check_dataset(split_identities(records))
    lines = str(report).splitlines()
    assert lines[0] == "own data: there are no published counts to compare with"
    assert lines[1].split() == ["found"]
    assert lines[2].split() == ["training", "identities", "4"]
    assert len({len(line) for line in lines[1:]}) == 1  # one column
    assert ("unlabelled images", 0, None) in report.rows
    assert not report.complete


def test_table_with_splits(home):
    lines = ["path,modality,identity,camera,split"]
    for path in sorted(home.glob("*/*/*")):
        person, side = path.parent.name, "visible" if path.suffix == ".png" else "infrared"
        split = "train" if person < "p4" else "query" if side == "visible" else "gallery"
        if (person, side) not in {("p5", "visible"), ("p6", "infrared")}:
            lines.append(f"{path.relative_to(home).as_posix()},{side},{person},1,{split}")
    (home / "people.csv").write_text("\n".join(lines))
    train, visible, infrared = roles(split_identities(read_table(home / "people.csv")))
    assert train == {"p0", "p1", "p2", "p3"}
    assert visible == {"p4", "p6", "p7"}  # p6 is searched for in vain
    assert infrared == {"p4", "p5", "p7"}


def test_records_are_ordered_by_camera_identity_and_path():
    order = [("b/1", 1, 1), ("b/2", 1, 1), ("a/1", 2, 1), ("a/0", 1, 2)]
    records = [Record(f"/data/{name}.png", identity, camera, "visible") for name, identity, camera in order]
    assert OwnDataset(records[::-1], []).train == records


def test_the_seed_draws_the_open_set():
    records = make({f"{i}": "vi" for i in range(20)})
    drawn = [roles(split_identities(records, test=1, seed=seed, queries_only=0.5))[1] for seed in range(3)]
    assert len({frozenset(visible) for visible in drawn}) == 3
