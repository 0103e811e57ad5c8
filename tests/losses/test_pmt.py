from types import SimpleNamespace

import pytest
import torch

from tests import references
from tests.references import distance
from vireid import Phases
from vireid.losses import DiscriminativeCenterLoss, ModalitySharedEnhancementLoss, PMTLoss


def enhancement(visible, infrared, visible_identities, infrared_identities):
    """MSEL, image by image."""
    modalities = ((visible, visible_identities), (infrared, infrared_identities))
    total = 0.0
    for (own, own_labels), (other, other_labels) in (modalities, modalities[::-1]):
        squares = []
        for i, anchor in enumerate(own):
            within = [distance(anchor, own[j]) for j in range(len(own)) if j != i and own_labels[j] == own_labels[i]]
            across = [distance(anchor, row) for row, y in zip(other, other_labels) if y == own_labels[i]]
            if within and across:
                squares.append((sum(across) / len(across) - sum(within) / len(within)) ** 2)
        total += sum(squares) / len(squares) / 2 if squares else 0
    return total


def center_ratio(embeddings, identities):
    """DCL, identity by identity."""
    compact, separate = [], []
    for identity in identities.unique():
        center = embeddings[identities == identity].mean(0)
        own = [distance(center, row) for row, y in zip(embeddings, identities) if y == identity]
        others = [distance(center, row) for row, y in zip(embeddings, identities) if y != identity]
        near = [d for d in others if d < sum(others) / len(others)]
        compact.append(sum(own) / len(own))
        separate.append(sum(near) / len(near))
    return sum(compact) / sum(separate)


def test_equal_the_loops(batch):
    v, r, _, y = batch
    expected = enhancement(v, r, y, y)
    assert ModalitySharedEnhancementLoss()(v, r, y).item() == pytest.approx(expected, rel=1e-10)
    both, labels = torch.cat([v, r]), torch.cat([y, y])
    assert DiscriminativeCenterLoss()(both, labels).item() == pytest.approx(center_ratio(both, labels), rel=1e-10)


def test_unequal_numbers_of_images_equal_the_loops(batch):
    v, r, _, y = batch
    v, v_labels, r, r_labels = v[:9], y[:9], r[2:], y[2:]  # identity 3 is infrared only, 4 has one visible image less
    expected = enhancement(v, r, v_labels, r_labels)
    actual = ModalitySharedEnhancementLoss()(v, r, v_labels, infrared_identities=r_labels)
    assert actual.item() == pytest.approx(expected, rel=1e-10)
    both, labels = torch.cat([v, r]), torch.cat([v_labels, r_labels])
    assert DiscriminativeCenterLoss()(both, labels).item() == pytest.approx(center_ratio(both, labels), rel=1e-10)


def test_order_of_rows_and_modalities_does_not_matter(batch):
    v, r, _, y = batch
    one, other = (torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    loss, center = ModalitySharedEnhancementLoss(), DiscriminativeCenterLoss()
    expected = loss(v, r, y)
    torch.testing.assert_close(loss(v[one], r[other], y[one], infrared_identities=y[other]), expected)
    torch.testing.assert_close(loss(r, v, y), expected)
    torch.testing.assert_close(center(v[one], y[one]), center(v, y))
    torch.testing.assert_close(center(10 * v, y), center(v, y))  # a ratio


def test_equally_far_others_count():
    """Those of the code that keeps only distances below their mean: it has none here."""
    corners = torch.tensor([[0.0, 0], [1, 0], [0.5, 3], [0.5, -3]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1])
    value = DiscriminativeCenterLoss()(corners, labels)  # centres coincide: 0.5 and 3 from it, 3 and 0.5 to the others
    assert value.item() == pytest.approx((0.5 + 3) / (3 + 0.5))
    one_other = DiscriminativeCenterLoss()(torch.tensor([[0.0], [2.0], [9.0]]), torch.tensor([0, 0, 1]))
    assert one_other.item() == pytest.approx((1 + 0) / (8 + 7), abs=1e-5)  # of the centre 9, 2 is nearer than the mean


def test_degenerate_batches_are_differentiable_zeros():
    x, y = torch.rand(3, 4).requires_grad_(), torch.rand(3, 4)
    single, apart = torch.tensor([0, 1, 2]), torch.tensor([5, 6, 7])
    enhanced = ModalitySharedEnhancementLoss()
    values = [enhanced(x, y, single), enhanced(x, y, single, infrared_identities=apart)]
    values.append(DiscriminativeCenterLoss()(x, torch.tensor([4, 4, 4])))
    for value in values:
        (gradient,) = torch.autograd.grad(value, x)
        assert value == 0
        assert gradient.isfinite().all()
    duplicate = x[[0, 0, 1]]  # distances of zero
    (gradient,) = torch.autograd.grad(enhanced(duplicate, duplicate, torch.tensor([0, 0, 0])), x)
    assert gradient.isfinite().all()


def test_gradcheck(batch):
    v, r, _, y = batch
    v.requires_grad_()
    r.requires_grad_()
    assert torch.autograd.gradcheck(lambda *rows: ModalitySharedEnhancementLoss()(*rows, y), (v, r))
    assert torch.autograd.gradcheck(lambda rows: DiscriminativeCenterLoss()(rows, y), v)


@pytest.fixture
def output(batch):
    v, r, _, _ = batch
    logits = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return SimpleNamespace(visible=v, infrared=r, visible_logits=logits[0], infrared_logits=logits[1])


def test_both_phases(batch, output):
    v, r, _, y = batch
    both, labels = torch.cat([v, r]), torch.cat([y, y])
    identity = sum(references.identity_loss(z, y) for z in (output.visible_logits, output.infrared_logits))
    first = PMTLoss(within_modalities=True, enhancement_weight=0, center_weight=0)
    second = PMTLoss(margin=0.2, enhancement_weight=0.25)
    apart = sum(references.batch_hard_triplet(x, y, 0.1) for x in (v, r))
    phases = Phases({0: first, 6: second})
    total, terms = phases(output, y)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"identity": identity, "triplet": apart}
    )
    assert total.item() == pytest.approx(identity + apart)
    phases.set_epoch(6)
    total, terms = phases(output, y)
    expected = {"identity": identity, "triplet": references.batch_hard_triplet(both, labels, 0.2)}
    expected |= {"enhancement": 0.25 * enhancement(v, r, y, y), "center": 0.5 * center_ratio(both, labels)}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)
    assert total.item() == pytest.approx(sum(expected.values()))


def test_views_are_further_visible_images(batch, output):
    v, r, a, y = batch
    views = SimpleNamespace(**vars(output))
    views.visible, views.visible_logits = torch.cat([v, a]), output.visible_logits.repeat(2, 1)
    _, terms = PMTLoss()(views, y)
    expected = 0.5 * enhancement(views.visible, r, y.repeat(2), y)
    assert terms["enhancement"].item() == pytest.approx(expected)
    views.visible = v[:7]
    with pytest.raises(ValueError, match="output.visible must have the rows of one or more views of the 12 pairs"):
        PMTLoss()(views, y)
