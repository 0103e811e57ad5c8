import pytest
import torch

from tests import references
from vireid.losses import BatchHardTripletLoss


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
    with pytest.raises(ValueError, match="margin must be at least 0, got -1"):
        BatchHardTripletLoss(-1)
    with pytest.raises(ValueError, match=r"must have shape \(b, d\), got \(2, 3, 1, 1\). Pool the feature map first."):
        BatchHardTripletLoss()(torch.rand(2, 3, 1, 1), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"identities must have shape \(2,\), one for each embedding, got \(3,\)"):
        BatchHardTripletLoss()(torch.rand(2, 3), torch.tensor([0, 1, 1]))
    with pytest.raises(TypeError, match="identities must be integers, got torch.float32"):
        BatchHardTripletLoss()(torch.rand(2, 3), torch.rand(2))
