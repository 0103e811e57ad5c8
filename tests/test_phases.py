import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.bad_input import case, integer, parameters, problems
from vireid import Phases, set_epoch

CASES = {
    "Phases": case(
        Phases, phases=[None, 3, [1], {}, {1: len}, {-1: len, 0: len}, {0: 3}, {0: len, "2": len}, {0: len, 0.5: len}]
    ),
    "Phases.set_epoch": case(Phases({0: len}).set_epoch, epoch=integer(least=0)),
    "set_epoch": case(set_epoch, epoch=integer(least=0)),
}


@pytest.mark.parametrize(("name", "argument"), parameters(CASES))
def test_bad_input_is_refused_clearly(name, argument):
    assert problems(CASES[name], argument) == []


def test_the_part_of_the_epoch_is_called():
    phases = Phases({6: lambda x, *, by: x * by, 0: lambda x, *, by: x + by, 2: lambda x, *, by: x - by})
    assert phases(2, by=5) == 7  # epoch 0 until the first call
    found = []
    for epoch in (0, 1, 2, 5, 6, 90, 1):  # back again, as a resumed run may
        phases.set_epoch(epoch)
        found.append(phases(2, by=5))
    assert found == [7, 7, -3, -3, 10, 10, 7]


def test_modules_are_moved_saved_and_copied_with_it():
    phases = Phases({0: nn.Linear(2, 1), 3: nn.Linear(2, 2), 4: len})
    assert set(phases.state_dict()) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    other = Phases({0: nn.Linear(2, 1), 3: nn.Linear(2, 2), 4: len})
    phases.set_epoch(3)
    other.load_state_dict(phases.state_dict())
    x = torch.rand(1, 2)
    assert other(x).shape == (1, 1)  # the epoch is not part of the state
    other.set_epoch(3)
    for like in (other, copy.deepcopy(phases), pickle.loads(pickle.dumps(phases))):
        assert torch.equal(like(x), phases(x))
    assert phases.double()(x.double()).dtype == torch.float64


def test_every_part_is_told():
    inner, outer = Phases({0: nn.ReLU(), 1: nn.Tanh()}), Phases({0: nn.ReLU(), 2: nn.Tanh()})
    nested = Phases({0: nn.Sequential(nn.Linear(1, 1), inner), 5: len})
    told = []
    set_epoch(2, SimpleNamespace(set_epoch=told.append), nn.ModuleList([nested, nn.ReLU()]), outer, len, None)
    assert told == [2]
    assert (inner.first_epoch, outer.first_epoch, nested.first_epoch) == (1, 2, 0)
