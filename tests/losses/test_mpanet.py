import math
from types import SimpleNamespace

import pytest
import torch

from tests import references
from vireid.losses import (
    AttentionDiversityLoss,
    CenterClusterLoss,
    MaskSeparationLoss,
    MPANetLoss,
    MutualLearningLoss,
)


def center_cluster(embeddings, identities, margin, dead_zone=0.0):
    labels = identities.unique().tolist()
    centers = {y: embeddings[identities == y].mean(0) for y in labels}
    pull = [max(0.0, references.distance(row, centers[int(y)]) - dead_zone) for row, y in zip(embeddings, identities)]
    push = []
    for p in labels:
        others = [max(0.0, margin - references.distance(centers[p], centers[q])) for q in labels if q != p]
        push.append(sum(others) / len(others) if others else 0.0)
    return sum(pull) / len(pull) + sum(push) / len(push)


def separation(masks, positions):
    terms = []
    for image in masks:
        pairs = []
        for i in range(len(image)):
            for j in range(i + 1, len(image)):
                products = [float(a * b) for a, b in zip(image[i].flatten(), image[j].flatten())]
                pairs.append(sum(products) / (len(products) if positions == "mean" else 1))
        terms.append(sum(pairs) / len(pairs))
    return sum(terms) / len(terms)


def diversity(masks):
    terms = []
    for image in masks:
        pairs = []
        for i in range(len(image)):
            for j in range(i + 1, len(image)):
                squares = [float(a - b) ** 2 for a, b in zip(image[i].flatten(), image[j].flatten())]
                pairs.append(-math.sqrt(sum(squares) / len(squares)))
        terms.append(sum(pairs) / len(pairs))
    return sum(terms) / len(terms)


def softmax(row):
    powers = [math.exp(z - max(row)) for z in row]
    return [power / sum(powers) for power in powers]


def mutual(logits, targets, divergence):
    terms = []
    for row, target in zip(logits.tolist(), targets.tolist()):
        p, q = softmax(row), softmax(target)
        if divergence == "kl":
            terms.append(sum(a * math.log(a / b) for a, b in zip(p, q)))
        else:
            terms.append(-sum(b * math.log(a) for a, b in zip(p, q)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize(
    ("embeddings", "identities", "margin", "expected"),
    [
        ([[0.0], [2.0], [4.0]], [0, 0, 1], 5.0, 2 / 3 + 2),  # centres 1 and 4
        ([[0.0, 0.0], [0.0, 2.0], [3.0, 1.0], [3.0, 5.0]], [5, 5, 2, 2], 4.0, 1.5 + 4 - math.sqrt(13)),
        ([[0.0], [3.0], [4.0]], [0, 1, 2], 3.5, (0.5 / 2 + (0.5 + 2.5) / 2 + 2.5 / 2) / 3),  # three pairs, ranked
        ([[0.0], [9.0]], [0, 1], 5.0, 0.0),  # alone and far apart
        ([[1.0], [3.0]], [7, 7], 5.0, 1.0),  # nothing to push
    ],
)
def test_center_cluster_by_hand(embeddings, identities, margin, expected):
    loss = CenterClusterLoss(margin)(torch.tensor(embeddings), torch.tensor(identities))
    assert loss.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dead_zone", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("margin", [0.7, 3.0])
def test_center_cluster_equals_the_loop(batch, margin, dead_zone):
    visible, infrared, _, identities = batch
    rows, labels = torch.cat([visible, infrared[:9]]), torch.cat([identities, identities[:9]])  # unequal numbers
    loss = CenterClusterLoss(margin, dead_zone=dead_zone)
    assert loss(rows, labels).item() == pytest.approx(center_cluster(rows, labels, margin, dead_zone), rel=1e-6)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(rows[order], labels[order]), loss(rows, labels))


def test_center_cluster_gradient(batch):
    rows, labels = batch[0].clone().requires_grad_(), batch[3]
    assert torch.autograd.gradcheck(lambda x: CenterClusterLoss(3.0, dead_zone=0.5)(x, labels), rows)
    alone = torch.eye(3, requires_grad=True)
    CenterClusterLoss()(alone, torch.arange(3)).backward()
    assert alone.grad.abs().max() == 0  # centres at distance √2, rows at their centres


@pytest.mark.parametrize("positions", ["sum", "mean"])
def test_separation_equals_the_loop(positions):
    masks = torch.rand(3, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    loss = MaskSeparationLoss(positions=positions)
    assert loss(masks).item() == pytest.approx(separation(masks.detach(), positions), rel=1e-9)
    torch.testing.assert_close(loss(masks[[2, 0, 1]]), loss(masks))
    torch.testing.assert_close(loss(masks[:, [3, 1, 0, 2]]), loss(masks))
    assert torch.autograd.gradcheck(loss, masks)
    larger = masks.repeat(1, 1, 2, 2)
    torch.testing.assert_close(loss(larger), loss(masks) * (4 if positions == "sum" else 1))
    assert loss(masks[:, :1]).item() == pytest.approx(0, abs=1e-12)


def test_diversity_equals_the_loop():
    masks = torch.rand(3, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    loss = AttentionDiversityLoss()
    assert loss(masks).item() == pytest.approx(diversity(masks.detach()), rel=1e-9)
    torch.testing.assert_close(loss(masks[[2, 0, 1]][:, [3, 1, 0, 2]]), loss(masks))
    assert torch.autograd.gradcheck(loss, masks)
    equal = torch.ones(2, 3, 2, 2, requires_grad=True)
    loss(equal).backward()
    assert loss(equal) == 0
    assert equal.grad.isfinite().all()
    assert loss(masks[:, :1]) == 0


@pytest.mark.parametrize("divergence", ["kl", "cross_entropy"])
def test_mutual_learning_equals_the_loop(batch, divergence):
    logits, targets = batch[0].clone().requires_grad_(), batch[1].clone().requires_grad_()
    loss = MutualLearningLoss(divergence=divergence)
    value = loss(logits, targets)
    assert value.item() == pytest.approx(mutual(batch[0], batch[1], divergence), rel=1e-9)
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(logits[order], targets[order]), value)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets.detach()), logits)
    value.backward()
    assert logits.grad.abs().max() > 0
    assert targets.grad is None
    far = torch.tensor([[0.0, 500.0]]), torch.tensor([[500.0, 0.0]])
    assert loss(*far).isfinite()


def output_of(v, r, a):
    return SimpleNamespace(
        visible=v,
        infrared=r,
        visible_logits=2 * v,
        infrared_logits=3 * r,
        visible_own_logits=v - 1,
        infrared_own_logits=r**2,
        visible_mean_logits=v * 0.5,
        infrared_mean_logits=a,
        masks=torch.sigmoid(torch.cat([v, r])[:, :4].view(-1, 2, 2, 1)),
    )


@pytest.mark.parametrize("views", [1, 2])
def test_every_term_equals_its_equation_after_its_weight(batch, views):
    visible, infrared, auxiliary, identities = batch
    visible = torch.cat([visible, visible - 0.5])[: views * len(visible)]
    output = output_of(visible, infrared, auxiliary)
    total, terms = MPANetLoss()(output, identities)
    v_identities = identities.repeat(views)
    both = torch.cat([v_identities, identities])
    own = torch.cat([output.visible_own_logits, output.infrared_own_logits])
    targets = torch.cat([output.visible_mean_logits, output.infrared_mean_logits])
    expected = {
        "identity": references.identity_loss(torch.cat([output.visible_logits, output.infrared_logits]), both),
        "modality_identity": references.identity_loss(output.visible_own_logits, v_identities)
        + references.identity_loss(output.infrared_own_logits, identities),
        "center_cluster": center_cluster(torch.cat([visible, infrared]), both, 0.7),
        "separation": 0.5 * separation(output.masks, "sum"),
        "mutual": 2.5 * mutual(own, targets, "kl"),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-6)
    assert total.item() == pytest.approx(sum(expected.values()), rel=1e-6)


def test_the_parts_of_saai(batch):
    visible, infrared, auxiliary, identities = batch
    output = output_of(visible, infrared, auxiliary)
    loss = MPANetLoss(
        center_cluster=CenterClusterLoss(dead_zone=0.01),
        separation=AttentionDiversityLoss(),
        separation_weight=0.25,
        mutual=MutualLearningLoss(divergence="cross_entropy"),
        mutual_weight=1,
    )
    terms = loss(output, identities).terms
    both = torch.cat([visible, infrared])
    labels = identities.repeat(2)
    assert terms["center_cluster"].item() == pytest.approx(center_cluster(both, labels, 0.7, 0.01), rel=1e-6)
    assert terms["separation"].item() == pytest.approx(0.25 * diversity(output.masks), rel=1e-6)
    own = torch.cat([output.visible_own_logits, output.infrared_own_logits])
    targets = torch.cat([output.visible_mean_logits, output.infrared_mean_logits])
    assert terms["mutual"].item() == pytest.approx(mutual(own, targets, "cross_entropy"), rel=1e-6)


def test_a_term_of_weight_zero_needs_no_fields(batch):
    visible, infrared, auxiliary, identities = batch
    output = output_of(visible, infrared, auxiliary)
    del output.masks, output.visible_mean_logits
    loss = MPANetLoss(separation_weight=0, mutual_weight=0, center_cluster_weight=0, modality_identity_weight=0)
    assert list(loss(output, identities).terms) == ["identity"]
    with pytest.raises(TypeError, match="output must have the tensor masks, got 'SimpleNamespace'"):
        MPANetLoss()(output, identities)


def test_errors(batch):
    with pytest.raises(ValueError, match=r"masks must have shape \(b, p, h, w\), got \(12, 5\)"):
        MaskSeparationLoss()(batch[0])
    with pytest.raises(ValueError, match=r"target_logits must have shape \(12, 5\) like logits, got \(11, 5\)"):
        MutualLearningLoss()(batch[0], batch[1][:11])
    with pytest.raises(ValueError, match="positions must be one of 'sum', 'mean', got 'all'"):
        MaskSeparationLoss(positions="all")
    with pytest.raises(ValueError, match="output.visible must have the rows of one or more views of the 12 pairs"):
        MPANetLoss()(output_of(batch[0][:11], batch[1], batch[2]), batch[3])
