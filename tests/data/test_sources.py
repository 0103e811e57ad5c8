"""A network is tested on people whom it does not know, whatever the user asks for."""

import json
import shutil
import warnings
from dataclasses import asdict, replace

import pytest
from PIL import Image

from vireid.data import DataSource, OwnDataset, generate_synthetic, open_test_data, recognise_dataset

PATTERN = r"(?P<identity>[^/]+)/"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Two folders of eight people, in which commands run."""
    film(tmp_path, [f"p{i}" for i in range(8)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def film(folder, people):
    for i, person in enumerate(people):
        for j, side in enumerate(("rgb", "ir")):
            path = folder / side / person / "1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 4), (i, j, 7)).save(path)


def described(**options):
    """The source of the two folders, and the notes of a training on them."""
    source = DataSource("folder", visible="rgb", infrared="ir", pattern=PATTERN, **options)
    notes = {**asdict(source), "fingerprint": source.open().fingerprint(), "epoch": 3}
    return source, json.loads(json.dumps(notes))


def shown(dataset):
    return {dataset.names[record.identity] for record in dataset.test_visible}


def test_what_is_not_given_is_that_of_the_training(home):
    source, notes = described(test_share=0.25, split_seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in ({}, {"dataset": "folder"}, {"test_share": 0.25, "split_seed": 3, "visible": "rgb", "root": None}):
            found, dataset, trial = open_test_data(given, notes)
            assert replace(found, fingerprint=None) == source
            assert isinstance(dataset, OwnDataset)
            assert len(shown(dataset)) == 2
            assert dataset.fingerprint() == notes["fingerprint"]
            assert trial is None
    shutil.copytree(home, home.parent / "moved")
    assert shown(open_test_data({"root": home.parent / "moved"}, notes)[1]) == shown(dataset)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"test_share": 1},
            r"test_share must be that of the training, 0.25, got 1. Another division tests people whom",
        ),
        ({"split_seed": 4}, "split_seed must be that of the training, 3, got 4. Another division tests people whom"),
        ({"test_share": 0.25, "split_seed": 0}, "split_seed must be that of the training, 3, got 0"),
    ],
)
def test_another_division_is_refused(home, given, message):
    _, notes = described(test_share=0.25, split_seed=3)
    with pytest.raises(ValueError, match=f"^{message}"):
        open_test_data(given, notes)


def test_images_that_have_changed_are_refused(home):
    _, notes = described()
    film(home, ["p8"])
    rule = f"root must hold the images of the training, '{notes['fingerprint']}', got .* If all of them are new"
    with pytest.raises(ValueError, match=f"^{rule}"):
        open_test_data({}, notes)
    rule = (
        "root must hold images for the test that the network was not trained on, got '10 of its training, the first: "
    )
    with pytest.raises(ValueError, match=f"^{rule}"):
        open_test_data({"test_share": 1}, notes)  # whatever has changed


def tabulate(home, *, rename=str):
    """A table of the two folders."""
    lines = [
        f"{path.relative_to(home)},{modality},{rename(path.parent.name)}"
        for side, modality in (("rgb", "visible"), ("ir", "infrared"))
        for path in sorted((home / side).rglob("*.png"))
    ]
    (home / "people.csv").write_text("\n".join(["path,modality,identity", *lines]))


def test_the_same_images_as_another_kind_of_data_are_divided_alike(home):
    source, notes = described(test_share=0.25, split_seed=3)
    tabulate(home)
    table = {"dataset": "table", "root": "people.csv"}
    for training in (notes, source.describe_training(source.open())):
        with pytest.warns(UserWarning, match="^The network was trained on"):
            assert shown(open_test_data(table, training)[1]) == shown(source.open())
        with pytest.raises(ValueError, match=r"^root must hold images .*, got '12 of its training, the first"):
            open_test_data({**table, "test_share": 1}, training)


def test_people_with_names_of_the_training_are_never_tested(home, tmp_path):
    source, _ = described()
    training = json.loads(json.dumps(source.describe_training(source.open())))
    known = sorted({f"p{i}" for i in range(8)} - shown(source.open()))
    assert not any(name in json.dumps(training["people"]) for name in known)
    film(tmp_path / "copy", [f"p{i}" for i in range(8)])  # other files
    tabulate(tmp_path / "copy")
    given = {"dataset": "table", "root": tmp_path / "copy" / "people.csv"}
    with pytest.warns(UserWarning, match="only their names tell whether it knows people of"):
        assert shown(open_test_data(given, training)[1]) == shown(source.open())
    rule = (
        f"root must hold people for the test whom the network was not trained on, got '4 with .*: {known[0]}'. Divide"
    )
    with pytest.raises(ValueError, match=f"^{rule}"):
        open_test_data({**given, "test_share": 1}, training)
    film(tmp_path / "mixed", ["q1", "q2", *known])
    with pytest.raises(ValueError, match=f"^{rule}"):
        open_test_data({"root": tmp_path / "mixed", "test_share": 1}, training)
    lines = (tmp_path / "copy" / "people.csv").read_text().splitlines()
    lines = [lines[0] + ",split", *(f"{line},{'train' if line.endswith('p3') else 'test'}" for line in lines[1:])]
    (tmp_path / "copy" / "people.csv").write_text("\n".join(lines))
    rule = "root must hold people for the test whom the network was not trained on, got"
    with pytest.raises(ValueError, match=f"^{rule}"):
        open_test_data(given, training)  # a table's own division is compared as well
    film(tmp_path / "shop", ["q1", "q2", "q3"])
    with pytest.warns(UserWarning, match="only their names tell"):
        assert shown(open_test_data({"root": tmp_path / "shop"}, training)[1]) == {"q1", "q2", "q3"}
    with pytest.warns(UserWarning, match="only their names tell"):
        assert len(shown(open_test_data({"root": tmp_path / "shop", "test_share": 0.34}, training)[1])) == 1


def test_numbers_are_one_name_however_they_are_written(home, tmp_path):
    film(tmp_path / "a", ["1", "2", "3", "4"])
    source = DataSource("folder", tmp_path / "a", visible="rgb", infrared="ir", pattern=PATTERN, test_share=0.5)
    training = source.describe_training(source.open())
    film(tmp_path / "b", ["0001", "0002", "0003", "0004", "anna"])  # not all are numbers
    rule = "root must hold people for the test whom the network was not trained on, got '2 with names"
    with pytest.raises(ValueError, match=f"^{rule}"):
        open_test_data({"root": tmp_path / "b", "test_share": 1}, training)


def test_an_error_about_folders_of_the_training_says_so(home, tmp_path):
    _, notes = described()
    (tmp_path / "shop" / "thermo").mkdir(parents=True)
    rule = "visible must be a folder, .* which has the folders thermo. The visible is that of the training: give one"
    with pytest.raises(FileNotFoundError, match=f"^{rule}"):
        open_test_data({"root": tmp_path / "shop"}, notes)
    with pytest.raises(FileNotFoundError, match="which has the folders thermo.$"):
        open_test_data({"root": tmp_path / "shop", "visible": "rgb"}, notes)


def test_data_sets_are_recognised_by_their_split_files(tmp_path):
    for layout in ("sysu", "regdb", "llcm"):
        options = {"train_identities": 2, "test_identities": 1, "images_per_camera": 1, "size": (32, 16)}
        assert recognise_dataset(generate_synthetic(tmp_path / layout, layout, **options)) == layout
    assert recognise_dataset(tmp_path) is None
    (tmp_path / "people.csv").touch()
    assert recognise_dataset(tmp_path / "people.csv") == "table"
    with pytest.raises(FileNotFoundError, match="^root must be a folder or a table, got '.*nowhere'"):
        recognise_dataset(tmp_path / "nowhere")
    (tmp_path / "llcm" / "exp").mkdir()
    (tmp_path / "llcm" / "exp" / "test_id.mat").touch()
    with pytest.raises(ValueError, match=r"^root must have the split files of one data set, got \['sysu', 'llcm'\]"):
        recognise_dataset(tmp_path / "llcm")


def test_other_people_are_all_tested_and_it_is_said(home, tmp_path):
    _, notes = described()
    film(tmp_path / "other", ["q1", "q2", "q3"])
    with pytest.warns(UserWarning, match=r"^The network was trained on None: nothing tells whether it knows people of"):
        _, dataset, _ = open_test_data({"root": tmp_path / "other", "test_share": 1}, notes)
    assert shown(dataset) == {"q1", "q2", "q3"}
    with pytest.warns(UserWarning, match=r"^The network does not say what it was trained on: .* results are too good."):
        _, dataset, _ = open_test_data({"dataset": "folder", "visible": "rgb", "infrared": "ir", "pattern": PATTERN})
    assert len(shown(dataset)) == 4


def test_a_network_of_public_people_is_tested_on_all_of_yours(home):
    notes = {"dataset": "sysu", "root": "nowhere", "trial": None, "epoch": 2}
    given = {"dataset": "folder", "visible": "rgb", "infrared": "ir", "pattern": PATTERN}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(shown(open_test_data(given, notes)[1])) == 8
    with pytest.raises(ValueError, match="^pattern must match"):
        open_test_data({**given, "pattern": "x"}, notes)


def test_the_trial_of_regdb(tmp_path):
    options = {"train_identities": 2, "test_identities": 2, "images_per_camera": 1, "size": (32, 16)}
    root = str(generate_synthetic(tmp_path / "people", "regdb", **options))
    notes = {"dataset": "regdb", "root": root, "trial": 3}

    def found(given, training):
        source, dataset, trained_on = open_test_data(given, training)
        assert dataset.trial == source.trial
        return source.trial, trained_on

    assert found({}, notes) == found({"trained_on": 3}, notes) == (3, 3)
    assert found({"trial": 4}, notes) == (4, 3)  # the protocol refuses it
    assert found({"dataset": "regdb", "root": root, "trained_on": 2}, {}) == (2, 2)
    assert found({"dataset": "regdb", "root": root}, {"dataset": "sysu", "root": "nowhere"}) == (1, 1)
    with pytest.raises(ValueError, match="^trained_on must be 3, the trial of the training, or be left out, got 1"):
        open_test_data({"trained_on": 1}, notes)
    with pytest.raises(ValueError, match="^trained_on must be given, got None. The network does not say which trial"):
        open_test_data({"dataset": "regdb", "root": root}, {})


def test_what_is_missing_is_named(home):
    for given, message in (
        ({}, "dataset must be given, got None. The network does not say what it was trained on."),
        ({"dataset": "folder", "visible": "rgb"}, "infrared must be given for images in folders"),
        ({"dataset": "sysi"}, "dataset must be one of .* Did you mean 'sysu'"),
        ({"dataset": "sysu"}, "root must be given"),
        ({"dataset": "regdb", "root": ".", "trained_on": None}, "trained_on must be given"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            open_test_data(given)
    with pytest.raises(FileNotFoundError, match="^root must be a table, got 'none.csv'. There is no such file."):
        open_test_data({"dataset": "table", "root": "none.csv"})
    with pytest.raises(ValueError, match=r"^values must say which dataset it is, got \['epoch'\]"):
        open_test_data({"dataset": "folder"}, {"epoch": 3})
