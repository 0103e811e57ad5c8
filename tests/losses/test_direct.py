from types import SimpleNamespace

import pytest
import torch

from tests import references
from vireid.losses import BaselineLoss, DirectAlignmentLoss, IdentityAlignmentLoss, IdentityMMDLoss


def output_of(visible, infrared):
    return SimpleNamespace(visible=visible, infrared=infrared, visible_logits=2 * visible, infrared_logits=3 * infrared)


@pytest.mark.parametrize("views", [1, 2])
def test_the_terms_are_added_to_those_of_the_loss(batch, views):
    visible, infrared, _auxiliary, identities = batch
    output = output_of(torch.cat([visible, visible - 0.5])[: views * len(visible)], infrared)
    inner = BaselineLoss()
    total, terms = DirectAlignmentLoss(inner)(output, identities)
    rows = [torch.nn.functional.normalize(row) for row in (visible, infrared, visible)]
    labels = dict.fromkeys("vra", identities)
    expected = {
        "identity": inner(output, identities).total.item(),
        "identity_alignment": 16
        * references.identity_alignment(dict(zip("vra", rows, strict=True)), labels, 0.55, reduction="mean"),
        "modality_alignment": references.identity_mmd(visible, infrared, identities, identities, True),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)
    assert total.item() == pytest.approx(sum(expected.values()), rel=1e-5)
    assert expected["identity_alignment"] > 0


def test_weights_and_parts_of_ones_own(batch):
    visible, infrared, _auxiliary, identities = batch
    output, inner = output_of(visible, infrared), BaselineLoss()
    weights = {"identity_alignment_weight": 0, "modality_alignment_weight": 0}
    assert DirectAlignmentLoss(inner, **weights)(output, identities).terms.keys() == {"identity"}
    parts = {"identity_alignment": IdentityAlignmentLoss(9.0), "modality_alignment": IdentityMMDLoss()}
    weights = {"identity_alignment_weight": 0.5, "modality_alignment_weight": 0.25}
    terms = DirectAlignmentLoss(inner, **weights, **parts)(output, identities).terms
    assert terms["identity_alignment"] == 0.5 * parts["identity_alignment"](visible, infrared, visible, identities)
    assert terms["modality_alignment"] == 0.25 * parts["modality_alignment"](visible, infrared, identities)
    with pytest.raises(ValueError, match="loss must have no term 'identity_alignment', got .*_weight=0 leaves"):
        DirectAlignmentLoss(DirectAlignmentLoss(inner))(output, identities)
