"""The helper itself: it must notice what it is for."""

import pytest
import torch
from torch import nn

from tests.fake_cuda import run_on_fake_cuda


class Careless(nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.plain = torch.ones(2)
        self.fault = fault

    def forward(self, rows):
        result = self.linear(rows)
        return {"result": result} if self.fault is None else FAULTS[self.fault](self, rows, result)


FAULTS = {
    "item": lambda module, rows, result: result * rows.sum().item(),
    "branch": lambda module, rows, result: result if rows.sum() > 0 else -result,
    "mask": lambda module, rows, result: result[rows[:, 0] > 0],
    "plain": lambda module, rows, result: result + module.plain,
    "new": lambda module, rows, result: result + torch.ones(4, 2),
    "returns": lambda module, rows, result: (result, torch.ones(2)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault):
    with pytest.raises(Exception, match=r"data_?dependent|aten\.nonzero|FakeTensor|device|is on cpu|local_scalar"):
        run_on_fake_cuda(Careless(fault), torch.rand(4, 3))


def test_a_careful_module_runs():
    module = Careless(None)
    output = run_on_fake_cuda(module, torch.rand(4, 3))
    assert output["result"].shape == (4, 2)
    assert output["result"].device.type == "cuda"
    assert module.linear.weight.device.type == "cpu"
