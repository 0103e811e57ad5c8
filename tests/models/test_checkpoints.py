from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from vireid import Modality
from vireid.models import load_training_state, save_training_state


class Evil:
    def __reduce__(self):
        return (open, ("executed", "w"))


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
    with pytest.raises(
        ValueError, match="path must be a whole training state, got .*save_training_state did not write it"
    ):
        load_training_state(path)


def test_a_state_of_every_type_comes_back(tmp_path):
    module = torch.nn.Linear(2, 3)
    state = {
        "model": module.state_dict(),
        "module": OrderedDict(module.named_parameters()),
        "values": [True, -3, 10**30, 2.5, 1j, "é", b"\x00\xff", None, (1, (2,)), {1, "a"}, float("inf")],
        "torch": [torch.float16, torch.device("cpu"), torch.Size([2, 3]), torch.get_rng_state()],
        3: {(1, 2): []},
    }
    state["twice"] = state["values"]
    save_training_state(tmp_path / "last.pt", state)
    loaded = load_training_state(tmp_path / "last.pt")
    assert loaded.keys() == state.keys()
    for name in ("values", "torch", "twice", 3):
        assert repr(loaded[name]) == repr(state[name])
    for name in ("model", "module"):
        assert all(torch.equal(loaded[name][key], value) for key, value in state[name].items())


class Pair(NamedTuple):
    first: int


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.float64(0.5), r"numpy.float64'. Write float\(x\) or int\(x\)."),
        (np.int64(5), "numpy.int64'. Write float"),
        (np.arange(3), "numpy.ndarray'. Write torch.from_numpy"),
        (Path("x"), "PosixPath'.$"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (torch.optim.SGD, "builtins.type"),
        (lambda: 0, "builtins.function"),
        (torch.Generator(), "Generator"),
        (Pair(1), "Pair"),
        (defaultdict(list), "collections.defaultdict"),
        (Modality.VISIBLE, "vireid.modality.Modality"),
        (iter([]), "list_iterator"),
    ],
)
def test_a_state_that_could_not_be_read_is_refused(value, kind, tmp_path):
    for state, name in (
        ({"a": [{"b": value}]}, r"state\['a'\]\[0\]\['b'\]"),
        ({"c": (1, value)}, r"state\['c'\]\[1\]"),
    ):
        with pytest.raises(TypeError, match=rf"^{name} must be a tensor, a number, .* got '.*{kind}"):
            save_training_state(tmp_path / "last.pt", state)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_could_not_be_read_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"^key of state\['a'\] must be .* got 'numpy.float64'"):
        save_training_state(tmp_path / "last.pt", {"a": {np.float64(1): 2}})


def test_a_state_that_is_nested_too_deep_or_no_dictionary_is_refused(tmp_path):
    state = {}
    for _ in range(200):
        state = {"a": state}
    endless = {}
    endless["self"] = [endless]
    with pytest.raises(ValueError, match=r"state\['a'\].* must be nested at most 100 deep"):
        save_training_state(tmp_path / "last.pt", state)
    with pytest.raises(TypeError, match="state must be a dictionary, got 'list'"):
        save_training_state(tmp_path / "last.pt", [1])
    save_training_state(tmp_path / "last.pt", endless)
    assert load_training_state(tmp_path / "last.pt")["self"][0].keys() == {"self"}
