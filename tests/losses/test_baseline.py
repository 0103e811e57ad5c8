from types import SimpleNamespace

import pytest
import torch

from tests import references
from vireid.losses import (
    BaselineLoss,
    HeteroCenterTripletLoss,
    IdentityConsistencyLoss,
    IdentityMMDLoss,
    WeightedRegularizedTripletLoss,
)


def output_of(visible, infrared, auxiliary):
    return SimpleNamespace(
        visible=visible,
        infrared=infrared,
        visible_logits=2 * visible,
        infrared_logits=3 * infrared,
        auxiliary_visible_logits=auxiliary,
        auxiliary_infrared_logits=4 * auxiliary,
    )


@pytest.mark.parametrize("views", [1, 2])
def test_every_term_equals_its_equation_after_its_weight(batch, views):
    visible, infrared, auxiliary, identities = batch
    visible = torch.cat([visible, visible - 0.5])[: views * len(visible)]  # all first views, then all second ones
    loss = BaselineLoss(
        triplet=WeightedRegularizedTripletLoss(),
        center_triplet=HeteroCenterTripletLoss(2.0),
        mmd=IdentityMMDLoss(),
        mmd_weight=0.5,
        identity_consistency=IdentityConsistencyLoss(),
        identity_consistency_weight=0.125,
    )
    total, terms = loss(output_of(visible, infrared, auxiliary), identities)

    v_identities = torch.cat([identities] * views)
    rows, labels = torch.cat([visible, infrared]), torch.cat([v_identities, identities])
    agreement = [references.identity_loss(logits, identities) for logits in (auxiliary, 4 * auxiliary)]
    expected = {
        "identity": references.identity_loss(torch.cat([2 * visible, 3 * infrared]), labels),
        "triplet": references.weighted_regularized_triplet(rows, labels),
        "mmd": 0.5 * references.identity_mmd(visible, infrared, v_identities, identities),
        "identity_consistency": 0.125 * sum(agreement),
    }
    if views == 1:
        expected["center_triplet"] = references.hetero_center_triplet(visible, infrared, identities, 2.0)
    else:
        middle = (visible[:12] + visible[12:]) / 2
        expected["center_triplet"] = references.hetero_center_triplet(middle, infrared, identities, 2.0)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-6)
    assert total.item() == pytest.approx(sum(expected.values()), rel=1e-6)


def test_only_the_given_terms_are_computed(batch):
    visible, infrared, _, identities = batch
    output = SimpleNamespace(visible=None, infrared=None, visible_logits=visible, infrared_logits=infrared)
    with pytest.raises(TypeError, match="output must have the tensors visible, infrared, got 'SimpleNamespace'"):
        BaselineLoss()(output, identities)
    output.visible, output.infrared = visible, infrared
    total, terms = BaselineLoss()(output, identities)
    assert list(terms) == ["identity"]
    assert total == terms["identity"]
    assert BaselineLoss(label_smoothing=0.5)(output, identities).total != total


def test_errors(batch):
    visible, infrared, auxiliary, identities = batch
    with pytest.raises(
        ValueError, match=r"output.visible must have the rows of one or more views of the 12 pairs, got"
    ):
        BaselineLoss()(output_of(visible[:11], infrared, auxiliary), identities)
    with pytest.raises(ValueError, match=r"identities must have shape \(12,\), one for each embedding, got \(11,\)"):
        BaselineLoss()(output_of(visible, infrared, auxiliary), identities[:11])
    with pytest.raises(TypeError, match="triplet must be a module or None, got 'type'"):
        BaselineLoss(triplet=WeightedRegularizedTripletLoss)
