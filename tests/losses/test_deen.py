from types import SimpleNamespace

import pytest
import torch

from tests import references
from tests.references import distance
from vireid.losses import CenterGuidedPairMiningLoss, DEENLoss, OrthogonalExpansionLoss


def pair_mining(v, r, v_expanded, r_expanded, v_labels, r_labels, margin=0.2):
    """CPM, identity by identity, with the centres 1 to 4 of the paper."""

    def centers(rows, labels):
        return {int(y): rows[labels == y].mean(0) for y in labels.unique()}

    def nearest(of, p):
        return min((distance(of[p], of[q]) for q in of if q != p), default=float("inf"))

    c1, c2 = centers(v, v_labels), centers(r, r_labels)
    c3, c4 = centers(v_expanded, v_labels), centers(r_expanded, r_labels)
    sides = []
    for source, expanded, other in ((c1, c3, c2), (c2, c4, c1)):
        terms = []
        for p in c1.keys() & c2.keys():
            gap = margin + distance(other[p], expanded[p])
            term = max(0.0, gap - distance(source[p], expanded[p]))
            term += max(0.0, gap - nearest(expanded, p)) / 2 + max(0.0, gap - nearest(source, p)) / 2
            terms.append(term)
        sides.append(sum(terms) / len(terms) if terms else 0.0)
    return sum(sides) / 2


@pytest.fixture
def expanded():
    return torch.randn(2, 2, 12, 5, generator=torch.Generator().manual_seed(7), dtype=torch.float64).unbind()


def test_pair_mining_equals_the_loop(batch, expanded):
    v, r, _, y = batch
    for scale, margin in ((1, 0.2), (0.2, 0.2), (1, 3.0)):
        rows = [scale * x for x in (v, r, expanded[0][0], expanded[1][0])]
        value = CenterGuidedPairMiningLoss(margin)(*rows, y)
        assert value > 0
        assert value.item() == pytest.approx(pair_mining(*rows, y, y, margin), rel=1e-10)


def test_unequal_numbers_of_images_equal_the_loop(batch, expanded):
    v, r, _, y = batch
    rows, labels = (v[:9], r[2:], expanded[0][1, :9], expanded[1][1, 2:]), (y[:9], y[2:])  # identity 3 is infrared only
    value = CenterGuidedPairMiningLoss()(*rows, labels[0], infrared_identities=labels[1])
    assert value.item() == pytest.approx(pair_mining(*rows, *labels), rel=1e-10)


def test_order_of_rows_and_modalities_does_not_matter(batch, expanded):
    v, r, _, y = batch
    v_more, r_more = expanded[0][0], expanded[1][0]
    one, other = (torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    loss = CenterGuidedPairMiningLoss()
    expected = loss(v, r, v_more, r_more, y)
    mixed = loss(v[one], r[other], v_more[one], r_more[other], y[one], infrared_identities=y[other])
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(loss(r, v, r_more, v_more, y), expected)


def test_the_distance_to_the_source_has_no_gradient():
    v, r = torch.tensor([[0.0]], requires_grad=True), torch.tensor([[4.0]])
    v_more = torch.tensor([[1.0]], requires_grad=True)
    value = CenterGuidedPairMiningLoss(0.0)(v, r, v_more, r, torch.tensor([0]))
    assert value.item() == pytest.approx((2 + 4) / 2)  # d(2, 3) − d(1, 3) = 2 and d(1, 4) − d(2, 4) = 4
    gradients = torch.autograd.grad(value, (v, v_more))
    assert [gradient.item() for gradient in gradients] == pytest.approx([-0.5, -0.5])  # only towards the infrared 4


def test_pair_mining_without_a_pair_is_a_differentiable_zero():
    x, y = torch.rand(3, 4, requires_grad=True), torch.tensor([0, 1, 2])
    value = CenterGuidedPairMiningLoss()(x, x, x, x, y, infrared_identities=y + 5)
    (gradient,) = torch.autograd.grad(value, x)
    assert value == 0
    assert gradient.isfinite().all()
    single = CenterGuidedPairMiningLoss()(x, x, x, x, torch.zeros(3).long())  # no other identity
    assert single.isfinite()
    assert torch.autograd.grad(single, x)[0].isfinite().all()


def test_orthogonality_equals_the_loop(expanded):
    rows = torch.cat([expanded[0], expanded[1][:1]])  # 3 branches
    pairs = ((0, 1), (0, 2), (1, 2))
    total = sum(float(rows[i, j] @ rows[k, j]) for i, k in pairs for j in range(12))
    assert OrthogonalExpansionLoss()(rows).item() == pytest.approx(total / 12 / 4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(OrthogonalExpansionLoss()(rows[[2, 0, 1]][:, order]), OrthogonalExpansionLoss()(rows))
    assert OrthogonalExpansionLoss()(rows[:1]) == 0
    # DEEN's sum over all samples of both branches' inner products, divided by 3 · 2PK.
    both = torch.cat(expanded, dim=1)
    published = (both[0] * both[1]).sum() / (3 * both.shape[1])
    torch.testing.assert_close(OrthogonalExpansionLoss()(both), published)


def test_gradcheck(batch, expanded):
    v, r, _, y = batch
    v_more, r_more = (x[0].clone() for x in expanded)
    loss = CenterGuidedPairMiningLoss(0.2)
    far = 100 * torch.eye(5, dtype=torch.float64)[y]  # the sources: so far from all that their hinges are closed
    v.requires_grad_()
    r_more.requires_grad_()
    assert loss(v, r + far, v_more + far, r_more, y) > 0
    assert torch.autograd.gradcheck(lambda v, x: loss(v, r + far, v_more + far, x, y), (v, r_more))
    assert torch.autograd.gradcheck(OrthogonalExpansionLoss(), expanded[0].clone().requires_grad_())


def output_of(v, r, expanded):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 12, 5, generator=generator, dtype=torch.float64)
    fields = {"visible": v, "infrared": r, "visible_expanded": expanded[0], "infrared_expanded": expanded[1]}
    fields |= {"visible_logits": logits[0, 0], "visible_expanded_logits": logits[0, 1:]}
    return SimpleNamespace(**fields, infrared_logits=logits[1, 0], infrared_expanded_logits=logits[1, 1:])


def test_the_whole_loss(batch, expanded):
    v, r, _, y = batch
    output = output_of(v, r, expanded)
    total, terms = DEENLoss(margin=0.4, pair_mining_weight=0.5, orthogonality_weight=2)(output, y)
    rows, labels = torch.cat([v, r, *expanded[0], *expanded[1]]), y.repeat(6)
    logits = [output.visible_logits, output.infrared_logits]
    logits = torch.cat([*logits, *output.visible_expanded_logits, *output.infrared_expanded_logits])
    mined = [pair_mining(v, r, v_more, r_more, y, y) for v_more, r_more in zip(*expanded)]
    expected = {
        "identity": references.identity_loss(logits, labels),
        "triplet": references.batch_hard_triplet(rows, labels, 0.4),
        "pair_mining": 0.5 * sum(mined),
        "orthogonality": 2 * float(sum((m[0] * m[1]).sum() for m in expanded) / 72),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)
    assert total.item() == pytest.approx(sum(expected.values()))


def test_views_are_further_visible_images(batch, expanded):
    v, r, a, y = batch
    output = output_of(v, r, expanded)
    output.visible, output.visible_logits = torch.cat([v, a]), output.visible_logits.repeat(2, 1)
    output.visible_expanded = torch.cat([expanded[0], expanded[0].flip(0)], 1)
    output.visible_expanded_logits = output.visible_expanded_logits.repeat(1, 2, 1)
    _, terms = DEENLoss()(output, y)
    mined = [
        pair_mining(output.visible, r, v_more, r_more, y.repeat(2), y)
        for v_more, r_more in zip(output.visible_expanded, expanded[1])
    ]
    assert terms["pair_mining"].item() == pytest.approx(0.8 * sum(mined))
    output.infrared_expanded = expanded[1][:, :5]
    with pytest.raises(ValueError, match=r"output.infrared_expanded must have shape \(2, 12, 5\), got \(2, 5, 5\)"):
        DEENLoss()(output, y)
