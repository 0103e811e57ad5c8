"""A network is tested on people whom it does not know, whatever the user asks for."""

import json
import shutil
import warnings
from dataclasses import asdict, replace

import pytest
from PIL import Image

from vireid.data import DataSource, OwnDataset, generate_synthetic, open_test_data

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


def test_the_same_images_as_another_kind_of_data_are_known(home):
    _, notes = described()
    lines = [f"{path},{side},{path.parent.name}" for path, side in (
        (path, {"rgb": "visible", "ir": "infrared"}[path.parts[0]]) for path in map(relative(home), home.rglob("*.png"))
    )]  # fmt: skip
    (home / "people.csv").write_text("\n".join(["path,modality,identity", *lines]))
    with pytest.raises(ValueError, match=r"^root must hold images for the test .*, got '8 of its training, the first"):
        open_test_data({"dataset": "table", "root": "people.csv"}, notes)


def relative(home):
    return lambda path: path.relative_to(home)


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
