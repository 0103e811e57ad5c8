import json
import pickle

import pytest
import torch

from vireid import MUN
from vireid.models import TwoStreamBaseline, checkpoints, load_training_state, save_training_state


def make(**options):
    torch.manual_seed(0)
    return MUN(num_identities=7, backbone="test_resnet", image_size=(64, 32), **options)


@pytest.fixture
def images():
    return torch.rand(3, 3, 64, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"modality_specific_stages": 0, "last_stride": 2, "pooling_ratios": (2, 4), "bn_neck": False},
        {"learnable_pooling": True, "auxiliary_classifier": True},
    ],
)
def test_round_trip(tmp_path, images, options):
    model = make(**options)
    model(images, images)  # moves the running statistics
    model.eval().save_pretrained(tmp_path / "a" / "b")
    loaded = MUN.from_pretrained(tmp_path / "a" / "b", num_identities=7)
    assert not loaded.training
    for expected, actual in zip(model(images, images), loaded(images, images)):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert config["arguments"]["backbone"] == "test_resnet"
    assert config["preprocessing"] == {"size": [64, 32], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def test_retrieval_only(tmp_path, images):
    model = make().eval()
    expected = model.embed(images, "infrared")
    unneeded = ("generator.", "auxiliary_statistics.", "visible_classifier.", "infrared_classifier.")
    needed = {name for name in model.state_dict() if not name.startswith(unneeded)}
    model.drop_training_parts().save_pretrained(tmp_path)
    loaded = MUN.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded.embed(images, "infrared"), expected, rtol=0, atol=0)
    assert set(loaded.state_dict()) == needed
    with pytest.raises(
        RuntimeError, match="forward must come before drop_training_parts, after which only embed is le"
    ):
        loaded(images, images)


@pytest.mark.parametrize("create", [TwoStreamBaseline, TwoStreamBaseline.agw, MUN], ids=["B", "AGW", "MUN"])
def test_any_network_is_read_by_the_class_that_all_inherit_from(tmp_path, images, create):
    model = create(7, "test_resnet", image_size=(64, 32)).eval()
    model.save_pretrained(tmp_path)
    loaded = TwoStreamBaseline.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    torch.testing.assert_close(loaded.embed(images, "visible"), model.embed(images, "visible"), rtol=0, atol=0)
    for expected, actual in zip(model(images, images), loaded(images, images)):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    if create is not MUN:
        assert (loaded.visible_classifier is loaded.infrared_classifier) == (create is not TwoStreamBaseline)
        with pytest.raises(ValueError, match="source must hold a checkpoint of MUN, got .* config must be of MUN, got"):
            MUN.from_pretrained(tmp_path)


def test_a_failed_write_keeps_the_earlier_checkpoint(tmp_path, images, monkeypatch):
    model = make().eval()
    model.save_pretrained(tmp_path)
    expected = model.embed(images, "visible")

    def full(*_args, **_options):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints.safetensors.torch, "save_file", full)
    with torch.no_grad():
        model.neck.weight.mul_(torch.linspace(1, 2, 96))
    with pytest.raises(OSError, match="No space left on device"):
        model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    torch.testing.assert_close(MUN.from_pretrained(tmp_path).embed(images, "visible"), expected, rtol=0, atol=0)


class Evil:
    def __reduce__(self):
        return (open, ("executed", "w"))


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def change_arguments(folder, **changes):
    arguments = json.loads((folder / "config.json").read_text())["arguments"]
    change_config(folder, arguments=arguments | changes)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            lambda f: (f / "config.json").unlink(),
            FileNotFoundError,
            "source must hold config.json, got .* save_pretrained writes",
        ),
        (lambda f: (f / "model.safetensors").unlink(), FileNotFoundError, "source must hold model.safetensors, got"),
        (lambda f: (f / "config.json").write_text("{"), ValueError, "source must hold a config.json in JSON, got"),
        (
            lambda f: (f / "config.json").write_text("[]"),
            ValueError,
            "hold a config.json with a dictionary, got 'list'",
        ),
        (
            lambda f: change_config(f, model="AGW"),
            ValueError,
            "source must hold a checkpoint of MUN, got .* config must be of MUN, got 'AGW'. The checkpoint of anot",
        ),
        (
            lambda f: change_config(f, arguments=None),
            ValueError,
            "config must have the arguments, got None",
        ),
        (
            lambda f: change_arguments(f, pretrained=True),
            ValueError,
            "have the arguments of MUN, got others: .*pretrained",
        ),
        (
            lambda f: change_arguments(f, colour=1),
            ValueError,
            "have the arguments of MUN, got others: .*colour",
        ),
        (
            lambda f: change_arguments(f, num_identities=9),
            ValueError,
            "hold the .* weights .* does not: .'infrared_classi",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\0" * 99),
            ValueError,
            "source must hold whole weights, got",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(pickle.dumps(Evil())),
            ValueError,
            "source must hold whole weights, got",
        ),
    ],
)
def test_damaged_and_foreign_checkpoints(tmp_path, monkeypatch, damage, error, message):
    monkeypatch.chdir(tmp_path)
    make().save_pretrained(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(error, match=message):
        MUN.from_pretrained(tmp_path / "model")
    assert not (tmp_path / "executed").exists()


def test_wrong_number_of_identities(tmp_path):
    make().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="num_identities must be 7, the identities of this checkpoint, got 395"):
        MUN.from_pretrained(tmp_path, num_identities=395)


def test_missing_folder_and_unreachable_hub(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="source must be a folder, got .* Write 'name/model' for a repository"):
        MUN.from_pretrained(tmp_path / "nowhere")

    def unreachable(repository, **_options):
        raise OSError(f"{repository} is out of reach")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(
        FileNotFoundError, match=r"on the Hugging Face hub \(name/model is out of reach\), got 'name/model'"
    ):
        MUN.from_pretrained("name/model")
    make().save_pretrained(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_args, **_options: str(tmp_path))
    assert MUN.from_pretrained("name/model").embedding_dim == 96


# The state of a training run


def test_training_state_comes_back(tmp_path):
    state = {"epoch": 3, "weights": {"a": torch.arange(3.0)}, "history": [1.0, 2.5], "name": "run", "none": None}
    save_training_state(tmp_path / "new" / "last.pt", state)
    loaded = load_training_state(tmp_path / "new" / "last.pt")
    assert torch.equal(loaded.pop("weights")["a"], torch.arange(3.0))
    assert loaded == {name: value for name, value in state.items() if name != "weights"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["last.pt"]


@pytest.mark.parametrize("error", [OSError("disk full"), RuntimeError("PytorchStreamWriter failed writing file")])
def test_a_failed_write_leaves_the_state_before(tmp_path, monkeypatch, error):
    path = tmp_path / "last.pt"
    save_training_state(path, {"epoch": 1})

    def failing(state, unfinished):
        unfinished.write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(OSError, match=r"path must be a file that can be written, got '.*last.pt': (disk|Pytorch)"):
        save_training_state(path, {"epoch": 2})
    assert load_training_state(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="path must be a file that can be written"):
        save_training_state(tmp_path / "file" / "last.pt", {"epoch": 2})


def test_loading_a_state_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"epoch": Evil()}, "evil.pt")
    with pytest.raises(ValueError, match="path must be a whole training state, got 'evil.pt'"):
        load_training_state("evil.pt")
    assert not (tmp_path / "executed").exists()


def test_damaged_states(tmp_path):
    path = tmp_path / "last.pt"
    with pytest.raises(FileNotFoundError, match="path must be a file, got '.*last.pt'"):
        load_training_state(path)
    save_training_state(path, {"weights": torch.rand(1000)})
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match="path must be a whole training state"):
        load_training_state(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="path must be a training state, got 'list'"):
        load_training_state(path)
