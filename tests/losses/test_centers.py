import torch

from vireid.losses.centers import identity_centers, sum_same, widen


def test_centers_by_hand():
    rows = torch.tensor([[1.0, 2.0], [5.0, 5.0], [3.0, 4.0]])
    centers, counts = identity_centers(rows, torch.tensor([7, 0, 7]))
    assert centers.tolist() == [[2.0, 3.0], [5.0, 5.0], [2.0, 3.0]]
    assert counts.tolist() == [2, 1, 2]


def test_sums_do_not_overflow_in_half_precision():
    same = torch.ones(4, 4, dtype=torch.bool)
    values = torch.full((4,), 60000.0)
    with torch.autocast("cpu", torch.float16):
        assert sum_same(values, same).tolist() == [240000.0] * 4
        assert sum_same(values.half(), same).tolist() == [240000.0] * 4  # 60000 is a float16


def test_widen_touches_half_precision_only():
    types = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
    types |= {torch.float32: torch.float32, torch.float64: torch.float64}
    for before, after in types.items():
        assert widen(torch.ones(1, dtype=before)).dtype == after
