import math

import pytest
import torch

from tests import references
from vireid.losses import IdentityConsistencyLoss, IdentityLoss


def test_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert IdentityLoss()(logits, torch.tensor([1])).item() == pytest.approx(math.log(4 / 3))
    assert IdentityLoss()(logits, torch.tensor([0])).item() == pytest.approx(math.log(4))


def test_equals_the_equations(batch):
    visible_logits, infrared_logits, _, identities = batch
    expected = references.identity_loss(visible_logits, identities)
    assert IdentityLoss()(visible_logits, identities).item() == pytest.approx(expected, rel=1e-12)
    expected += references.identity_loss(infrared_logits, identities)
    actual = IdentityConsistencyLoss()(visible_logits, infrared_logits, identities).item()
    assert actual == pytest.approx(expected, rel=1e-12)


def test_identities_of_any_integer_type():
    logits = torch.rand(3, 4)
    expected = IdentityLoss()(logits, torch.tensor([0, 3, 1]))
    assert IdentityLoss()(logits, torch.tensor([0, 3, 1], dtype=torch.int32)) == expected


def test_one_classifier_for_both_modalities_counts_twice(batch):
    logits, _, _, identities = batch
    once = IdentityLoss()(logits, identities)
    assert IdentityConsistencyLoss()(logits, logits, identities) == 2 * once


def test_label_smoothing_raises_a_confident_loss():
    logits, identities = torch.tensor([[9.0, 0.0]]), torch.tensor([0])
    assert IdentityLoss(label_smoothing=0.1)(logits, identities) > IdentityLoss()(logits, identities) + 0.1


def test_gradcheck(batch):
    visible_logits, infrared_logits, _, identities = batch
    loss = IdentityConsistencyLoss()
    rows = [visible_logits.requires_grad_(), infrared_logits.requires_grad_()]
    assert torch.autograd.gradcheck(lambda *logits: loss(*logits, identities), rows)


@pytest.mark.parametrize(
    ("logits", "identities", "error", "message"),
    [
        (
            torch.rand(2, 3, 1, 1),
            torch.tensor([0, 1]),
            ValueError,
            r"logits must have shape \(b, d\), got \(2, 3, 1, 1",
        ),
        (torch.rand(2, 3), torch.tensor([0]), ValueError, r"identities must have shape \(2,\), one for each"),
        (torch.rand(2, 3), torch.tensor([0.0, 1.0]), TypeError, "identities must be integers, got torch.float32"),
        (torch.ones(2, 3).long(), torch.tensor([0, 1]), TypeError, "logits must be floating point, got torch.int64"),
        (torch.rand(2, 3), torch.tensor([0, 3]), ValueError, "identities must be labels from 0 to 2, .* got '0 … 3'"),
        (torch.rand(2, 3), torch.tensor([-1, 2]), ValueError, "identities must be labels from 0 to 2, .* got '-1 … 2'"),
    ],
)
def test_errors(logits, identities, error, message):
    with pytest.raises(error, match=message):
        IdentityLoss()(logits, identities)


def test_wrong_smoothing():
    with pytest.raises(ValueError, match="label_smoothing must be a finite number of at least 0 and below 1, got 1"):
        IdentityLoss(label_smoothing=1)
