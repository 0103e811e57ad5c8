import math

import pytest
import torch

from tests import references
from vireid.losses import BatchHardTripletLoss, HeteroCenterTripletLoss, WeightedRegularizedTripletLoss


def test_by_hand():
    embeddings = torch.tensor([[0.0], [1.0], [1.5], [4.0]])
    # Anchors: 0: 0.3 + 1 − 1.5 → 0; 1: 0.3 + 1 − 0.5 = 0.8; 1.5: 0.3 + 2.5 − 0.5 = 2.3; 4: 0.3 + 2.5 − 3 → 0.
    loss = BatchHardTripletLoss(margin=0.3)(embeddings, torch.tensor([0, 0, 1, 1]))
    assert loss.item() == pytest.approx((0.8 + 2.3) / 4)


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_equals_the_loop(batch, margin):
    embeddings, _, _, identities = batch
    expected = references.batch_hard_triplet(embeddings, identities, margin)
    assert BatchHardTripletLoss(margin)(embeddings, identities).item() == pytest.approx(expected, rel=1e-10)


def test_order_does_not_matter(batch):
    embeddings, _, _, identities = batch
    order = torch.randperm(len(identities), generator=torch.Generator().manual_seed(1))
    loss = BatchHardTripletLoss()
    torch.testing.assert_close(loss(embeddings[order], identities[order]), loss(embeddings, identities))


@pytest.mark.parametrize("identities", [[0, 0, 0], [0, 1, 2]], ids=["no negative", "no positive"])
def test_without_triplets_it_is_a_differentiable_zero(identities):
    embeddings = torch.rand(3, 4, requires_grad=True)
    loss = BatchHardTripletLoss()(embeddings, torch.tensor(identities))
    loss.backward()
    assert loss == 0
    assert embeddings.grad.abs().max() == 0


def test_anchors_without_a_triplet_do_not_count():
    embeddings = torch.tensor([[0.0], [1.0], [1.5]])
    loss = BatchHardTripletLoss(margin=0.0)(embeddings, torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx((0 + 0.5) / 2)


def test_coincident_embeddings_have_a_finite_gradient():
    embeddings = torch.ones(4, 3, requires_grad=True)
    loss = BatchHardTripletLoss(margin=0.3)(embeddings, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.3)
    assert embeddings.grad.isfinite().all()


def test_gradcheck(batch):
    embeddings, _, _, identities = batch
    loss = BatchHardTripletLoss()
    assert torch.autograd.gradcheck(lambda rows: loss(rows, identities), embeddings.requires_grad_())


def test_errors():
    with pytest.raises(ValueError, match="margin must be a finite number of at least 0, got -1"):
        BatchHardTripletLoss(-1)
    with pytest.raises(ValueError, match=r"must have shape \(b, d\), got \(2, 3, 1, 1\). Pool the feature map first."):
        BatchHardTripletLoss()(torch.rand(2, 3, 1, 1), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"identities must have shape \(2,\), one for each embedding, got \(3,\)"):
        BatchHardTripletLoss()(torch.rand(2, 3), torch.tensor([0, 1, 1]))
    with pytest.raises(TypeError, match="identities must be integers, got torch.float32"):
        BatchHardTripletLoss()(torch.rand(2, 3), torch.rand(2))


# AGW's weighted regularisation triplet


def test_weighted_by_hand():
    # Anchor 0: positives 0 (itself) and 1 with weights 1/(1 + e), e/(1 + e); its one negative at 3.
    embeddings, identities = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1])
    weight = math.e / (1 + math.e)
    anchors = [weight - 3, weight - 2, 0 - (3 + 2 * math.e) / (1 + math.e)]  # of the last, 2 weighs e/(1 + e)
    expected = sum(math.log1p(math.exp(value)) for value in anchors) / 3
    assert WeightedRegularizedTripletLoss()(embeddings, identities).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_weighted_equals_the_loop(batch, scale, legacy):
    embeddings, _, _, identities = batch
    embeddings = scale * embeddings
    expected = references.weighted_regularized_triplet(embeddings, identities, legacy)
    loss = WeightedRegularizedTripletLoss(legacy=legacy)
    assert loss(embeddings, identities).item() == pytest.approx(expected, rel=2e-6)  # a distance is at least 1e-6
    order = torch.randperm(len(identities), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(embeddings[order], identities[order]), loss(embeddings, identities))
    assert torch.autograd.gradcheck(lambda rows: loss(rows, identities), embeddings.requires_grad_())


def test_weighted_pushes_far_negatives_where_agw_s_code_does_not():
    generator = torch.Generator().manual_seed(0)
    centres = 40 * torch.randn(4, 64, generator=generator)
    identities = torch.arange(4).repeat_interleave(3)
    gradients = {}
    for legacy in (False, True):
        embeddings = (centres[identities] + 2.5 * torch.randn(12, 64, generator=generator)).requires_grad_()
        distances = torch.cdist(embeddings, embeddings)
        loss = WeightedRegularizedTripletLoss(legacy=legacy)(embeddings, identities)
        weights = WeightedRegularizedTripletLoss(legacy=legacy)._weights(-distances, identities[:, None] != identities)
        gradients[legacy] = weights.sum(1)
        assert loss.isfinite()
    torch.testing.assert_close(gradients[False], torch.ones(12))
    assert gradients[True].max() < 1e-3  # the nearest negative is lost at such distances


@pytest.mark.parametrize(
    ("positions", "identities", "expected"),
    [
        # The positives and the negatives of every anchor are at 0 and d: x = d (e^d − 1) / (e^d + 1) = 1.
        ([0.0, 0.0, 1.5434046, 1.5434046], [0, 1, 0, 1], 1.3133),
        ([0.0, 1.0], [0, 1], 0.3133),  # the one positive is the anchor itself: x = 0 − 1
        ([0.0, 0.0], [0, 1], math.log(2)),
    ],
)
def test_squared_by_hand(positions, identities, expected):
    loss = WeightedRegularizedTripletLoss(squared=True)
    assert loss(torch.tensor(positions)[:, None], torch.tensor(identities)).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_squared_equals_the_loop(batch, scale, legacy):
    embeddings, _, _, identities = batch
    embeddings = scale * embeddings
    expected = references.weighted_regularized_triplet(embeddings, identities, legacy, squared=True)
    loss = WeightedRegularizedTripletLoss(legacy=legacy, squared=True)
    assert loss(embeddings, identities).item() == pytest.approx(expected, rel=2e-6)  # a distance is at least 1e-6
    order = torch.randperm(len(identities), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(embeddings[order], identities[order]), loss(embeddings, identities))
    assert torch.autograd.gradcheck(lambda rows: loss(rows, identities), embeddings.requires_grad_())


def test_squared_pushes_far_violations_where_caj_s_code_does_not():
    gradients = {}
    for legacy in (False, True):
        embeddings = torch.tensor([[0.0], [0.1], [12.0], [12.1]], requires_grad=True)
        loss = WeightedRegularizedTripletLoss(legacy=legacy, squared=True)(embeddings, torch.tensor([0, 1, 0, 1]))
        loss.backward()
        gradients[legacy] = embeddings.grad.abs().max()
        assert loss.item() == pytest.approx(88 if legacy else 141.6, abs=0.5)
    assert gradients[False] > 1
    assert gradients[True] == 0


@pytest.mark.parametrize("identities", [[0, 0, 0], [5, 5, 5]])
def test_weighted_without_negatives_is_a_differentiable_zero(identities):
    embeddings = torch.rand(3, 4, requires_grad=True)
    loss = WeightedRegularizedTripletLoss()(embeddings, torch.tensor(identities))
    loss.backward()
    assert loss == 0
    assert embeddings.grad.abs().max() == 0


# Modality centres


def test_hetero_centers_by_hand():
    # Centres 1 and 9 of the visible, 2 and 9 of the infrared rows: hinges 8+1−8, 8+1−7, 8+0−7 and 8+0−7.
    visible, infrared = torch.tensor([[[0.0], [2.0], [9.0]], [[1.0], [3.0], [9.0]]])
    loss = HeteroCenterTripletLoss(margin=8.0)(visible, infrared, torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx((1 + 2 + 1 + 1) / 4)


@pytest.mark.parametrize("margin", [0.3, 2.0])
def test_hetero_centers_equal_the_loop(batch, margin):
    visible, infrared, _, identities = batch
    loss = HeteroCenterTripletLoss(margin)
    expected = references.hetero_center_triplet(visible, infrared, identities, margin)
    assert loss(visible, infrared, identities).item() == pytest.approx(expected, rel=1e-9)
    assert loss(infrared, visible, identities).item() == pytest.approx(expected, rel=1e-9)
    order = torch.randperm(len(identities), generator=torch.Generator().manual_seed(1))
    shuffled = loss(visible, infrared[order], identities, infrared_identities=identities[order])
    assert shuffled.item() == pytest.approx(expected, rel=1e-9)
    assert torch.autograd.gradcheck(lambda x, y: loss(x, y, identities), [x.requires_grad_() for x in batch[:2]])


def test_hetero_centers_that_lack_a_partner_do_not_count():
    visible, infrared = torch.tensor([[0.0], [9.0]]), torch.tensor([[1.0], [5.0]])
    loss = HeteroCenterTripletLoss(margin=10.0)
    value = loss(visible, infrared, torch.tensor([0, 1]), infrared_identities=torch.tensor([0, 2]))
    assert value.item() == pytest.approx(((10 + 1 - 5) + (10 + 1 - 4)) / 2)  # of identity 0 alone
    rows = torch.rand(3, 4, requires_grad=True)
    value = loss(rows, rows, torch.tensor([1, 1, 1]))
    value.backward()
    assert value == 0
    assert rows.grad.abs().max() == 0


def test_errors_of_the_others():
    rows, labels = torch.rand(3, 4), torch.tensor([0, 1, 1])
    with pytest.raises(ValueError, match="margin must be a finite number of at least 0, got -1"):
        HeteroCenterTripletLoss(-1)
    with pytest.raises(ValueError, match=r"infrared must have d = 4 like the others, got \(3, 2\)"):
        HeteroCenterTripletLoss()(rows, rows[:, :2], labels)
    with pytest.raises(
        ValueError,
        match=r"infrared_identities must have shape \(2,\), one for each embedding, got \(3,\). Their default",
    ):
        HeteroCenterTripletLoss()(rows, rows[:2], labels)
    with pytest.raises(ValueError, match=r"identities must have shape \(3,\), one for each embedding, got \(2,\)"):
        WeightedRegularizedTripletLoss()(rows, labels[:2])
    with pytest.raises(TypeError, match="embeddings must be floating point, got torch.int64"):
        WeightedRegularizedTripletLoss()(rows.long(), labels)
