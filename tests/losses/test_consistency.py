import math
from typing import NamedTuple

import pytest
import torch

from tests import references
from vireid.losses import (
    BaselineLoss,
    ConsistentViewsLoss,
    JensenShannonLoss,
    ViewCrossEntropyLoss,
    WeightedRegularizedTripletLoss,
)

LOSSES = {
    "cross entropy": (ViewCrossEntropyLoss(), references.view_cross_entropy),
    "cross entropy, learnt from the first": (
        ViewCrossEntropyLoss(target=0),
        lambda views: references.view_cross_entropy(views, target=0),
    ),
    "Jensen-Shannon": (JensenShannonLoss(), references.jensen_shannon),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def logits(views, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(views, 7, 4, generator=generator, dtype=torch.float64)


@every_loss
@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_equals_the_loop(name, views, scale):
    loss, reference = LOSSES[name]
    rows = logits(views, scale)
    assert loss(rows).item() == pytest.approx(reference(rows), rel=1e-9)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(rows[:, order]), loss(rows))
    torch.testing.assert_close(loss(rows + 5), loss(rows))  # as softmax does not see a common shift


def test_by_hand():
    even, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]])  # ½ ½ and ¾ ¼
    assert ViewCrossEntropyLoss()(torch.stack([even, sure])).item() == pytest.approx(math.log(2))
    learnt_by_sure = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    assert ViewCrossEntropyLoss(target=0)(torch.stack([even, sure])).item() == pytest.approx(learnt_by_sure)
    mean = 5 / 8
    halves = math.log(1 / 2 / mean) / 2 + math.log(1 / 2 / (1 - mean)) / 2
    quarters = 3 / 4 * math.log(3 / 4 / mean) + 1 / 4 * math.log(1 / 4 / (1 - mean))
    expected = (halves + quarters) / 2
    assert JensenShannonLoss()(torch.stack([even, sure])).item() == pytest.approx(expected, rel=1e-4)


def test_jensen_shannon_is_zero_for_equal_views_and_bounded():
    rows = logits(1).repeat(3, 1, 1)
    assert JensenShannonLoss()(rows).item() == pytest.approx(0, abs=1e-12)
    apart = 1e4 * torch.eye(3).unsqueeze(1).requires_grad_()
    loss = JensenShannonLoss()(apart)
    (gradient,) = torch.autograd.grad(loss, apart)
    assert loss.item() == pytest.approx(math.log(3))
    assert gradient.isfinite().all()
    views = logits(3)
    torch.testing.assert_close(JensenShannonLoss()(views[[2, 0, 1]]), JensenShannonLoss()(views))  # of no view first


@pytest.mark.parametrize("target", [0, 1])
def test_the_target_has_no_gradient_and_the_others_have(target):
    views = logits(3).requires_grad_()
    ViewCrossEntropyLoss(target)(views).backward()
    moved = views.grad.abs().amax((1, 2))
    assert moved[target] == 0
    assert (moved[[view for view in range(3) if view != target]] > 0).all()


def test_gradcheck():
    assert torch.autograd.gradcheck(JensenShannonLoss(), logits(3).requires_grad_())
    weak, strong = logits(2)
    loss = ViewCrossEntropyLoss()
    assert torch.autograd.gradcheck(lambda rows: loss(torch.stack([rows, strong])), weak.requires_grad_())


@every_loss
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision(name, half):
    rows = logits(2, 3.0).to(half)
    loss = LOSSES[name][0]
    torch.testing.assert_close(loss(rows), loss(rows.float()), rtol=1e-6, atol=0)


class Output(NamedTuple):
    visible: torch.Tensor
    infrared: torch.Tensor
    visible_logits: torch.Tensor
    infrared_logits: torch.Tensor


@pytest.fixture
def views(batch):
    """The output for three views of twelve pairs, and the labels."""
    visible, infrared, strong, identities = batch
    rows = torch.cat([visible, strong, visible - strong])
    return Output(rows, infrared, 2 * rows, 3 * infrared), identities


@pytest.mark.parametrize("first_view_only", [False, True])
@pytest.mark.parametrize("consistency", [ViewCrossEntropyLoss(), JensenShannonLoss()])
def test_terms_of_the_method_and_of_the_views(views, first_view_only, consistency):
    output, identities = views
    method = BaselineLoss(triplet=WeightedRegularizedTripletLoss(squared=True))
    loss = ConsistentViewsLoss(method, consistency, weight=6, first_view_only=first_view_only)
    total, terms = loss(output, identities)
    number = 12 if first_view_only else 36
    seen = Output(output.visible[:number], output.infrared, output.visible_logits[:number], output.infrared_logits)
    expected = dict(method(seen, identities).terms)
    expected["consistency"] = 6 * consistency(output.visible_logits.view(3, 12, 5))
    assert terms == expected
    torch.testing.assert_close(total, sum(expected.values()))


def test_the_order_of_the_pairs_does_not_matter(views):
    output, identities = views
    loss = ConsistentViewsLoss(
        BaselineLoss(triplet=WeightedRegularizedTripletLoss()), JensenShannonLoss(), first_view_only=True
    )
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    three = torch.cat([order, order + 12, order + 24])
    shuffled = Output(*(rows[three if len(rows) == 36 else order] for rows in output))
    torch.testing.assert_close(loss(shuffled, identities[order]).total, loss(output, identities).total)


def test_errors(views):
    output, identities = views
    for loss in (ViewCrossEntropyLoss(), JensenShannonLoss()):
        with pytest.raises(ValueError, match=r"logits must have shape \(v, b, n\) with at least 2 views, got \(1, 7"):
            loss(logits(1))
        with pytest.raises(TypeError, match="logits must be floating point, got torch.int64"):
            loss(logits(2).long())
    with pytest.raises(ValueError, match="with at least 5 views, got"):
        ViewCrossEntropyLoss(target=4)(logits(3))
    loss = ConsistentViewsLoss(BaselineLoss(), JensenShannonLoss())
    with pytest.raises(ValueError, match="output.visible_logits must have the rows of two or more views of the 12 pai"):
        loss(output._replace(visible_logits=output.visible_logits[:12]), identities)
    with pytest.raises(ValueError, match=r"of two or more views of the 12 pairs, got \(25, 5\)"):
        loss(output._replace(visible_logits=output.visible_logits[:25]), identities)
    with pytest.raises(TypeError, match=r"visible_logits, infrared_logits, got 'dict'. types.SimpleNamespace\("):
        loss({}, identities)
    with pytest.raises(TypeError, match="consistency must be a module, got 'type'"):
        ConsistentViewsLoss(BaselineLoss(), JensenShannonLoss)
