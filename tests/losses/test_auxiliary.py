from types import SimpleNamespace

import pytest
import torch

from tests import references
from vireid.losses import (
    AuxiliaryModalityLoss,
    BaselineLoss,
    IdentityAlignmentLoss,
    IdentityConsistencyLoss,
    ModalityAlignmentLoss,
)


def output_of(visible, infrared, auxiliary):
    return SimpleNamespace(
        visible=visible,
        infrared=infrared,
        auxiliary=auxiliary,
        visible_logits=2 * visible,
        infrared_logits=3 * infrared,
        auxiliary_visible_logits=auxiliary,
        auxiliary_infrared_logits=4 * auxiliary,
    )


@pytest.mark.parametrize("views", [1, 2])
def test_the_terms_are_added_to_those_of_the_loss(batch, views):
    visible, infrared, auxiliary, identities = batch
    all_visible = torch.cat([visible, visible - 0.5])[: views * len(visible)]
    output = output_of(all_visible, infrared, auxiliary)
    inner = BaselineLoss(label_smoothing=0.1)
    alignment = ModalityAlignmentLoss(visible.shape[1], batch_size=1, iterations=1, prototypes=False, unbiased=True)
    raw = {"identity_alignment": IdentityAlignmentLoss(), "modality_alignment": alignment}
    weights = {"identity_consistency_weight": 0.125, "identity_alignment_weight": 0.75}
    loss = AuxiliaryModalityLoss(inner, **weights, modality_alignment_weight=0.5, **raw)
    total, terms = loss(output, identities)
    agreement = [references.identity_loss(logits, identities) for logits in (auxiliary, 4 * auxiliary)]
    rows = {"v": visible, "r": infrared, "a": auxiliary}
    gaps = [references.identity_mmd(rows, auxiliary, *[identities] * 2, True) for rows in (visible, infrared)]
    expected = {
        "identity": inner(output, identities).total.item(),
        "identity_consistency": 0.125 * sum(agreement),
        "identity_alignment": 0.75 * references.identity_alignment(rows, dict.fromkeys("vra", identities), 0.55),
        "modality_alignment": 0.5 * sum(gaps),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-6)
    assert total.item() == pytest.approx(sum(expected.values()), rel=1e-6)
    order = torch.randperm(len(identities), generator=torch.Generator().manual_seed(0))
    view_order = torch.cat([order + view * len(order) for view in range(views)])
    shuffled = output_of(all_visible[view_order], infrared[order], auxiliary[order])
    torch.testing.assert_close(loss(shuffled, identities[order]).total, total)


def test_one_classifier_counts_twice(batch):
    visible, infrared, auxiliary, identities = batch
    output = output_of(visible, infrared, auxiliary)
    output.auxiliary_infrared_logits = output.auxiliary_visible_logits
    term = AuxiliaryModalityLoss(BaselineLoss())(output, identities).terms["identity_consistency"]
    assert term.item() == pytest.approx(0.25 * 2 * references.identity_loss(auxiliary, identities), rel=1e-6)


def test_defaults_are_the_forms_that_help(batch):
    visible, infrared, auxiliary, identities = batch
    alignment = ModalityAlignmentLoss(visible.shape[1], batch_size=1, iterations=1, prototypes=False)
    terms = AuxiliaryModalityLoss(BaselineLoss(), modality_alignment=alignment)(output_of(*batch[:3]), identities).terms
    rows = [torch.nn.functional.normalize(row) for row in (visible, infrared, auxiliary)]
    labels = dict.fromkeys("vra", identities)
    expected = 16 * references.identity_alignment(dict(zip("vra", rows, strict=True)), labels, 0.55, reduction="mean")
    assert terms["identity_alignment"].item() == pytest.approx(expected, rel=1e-6)
    assert terms["identity_alignment"] > 0
    assert terms["modality_alignment"] == alignment(visible, infrared, auxiliary, identities)


def test_a_term_of_weight_zero_needs_no_fields(batch):
    visible, infrared, _, identities = batch
    output = SimpleNamespace(visible=visible, infrared=infrared, visible_logits=visible, infrared_logits=infrared)
    plain = BaselineLoss()(output, identities)
    unused = ModalityAlignmentLoss(visible.shape[1], batch_size=1, iterations=1)
    terms = ("identity_consistency", "identity_alignment", "modality_alignment")
    weights = {f"{term}_weight": 0 for term in terms}
    loss = AuxiliaryModalityLoss(BaselineLoss(), **weights, modality_alignment=unused)
    assert not [*loss.parameters()]
    assert torch.equal(loss(output, identities).total, plain.total)
    output.auxiliary = None
    with pytest.raises(TypeError, match="tensors auxiliary_visible_logits, auxiliary_infrared_logits, got"):
        AuxiliaryModalityLoss(BaselineLoss())(output, identities)


class Total(torch.nn.Module):
    def forward(self, output, identities):
        return output.visible.sum()


def test_errors(batch):
    visible, infrared, auxiliary, identities = batch
    loss = AuxiliaryModalityLoss(BaselineLoss(identity_consistency=IdentityConsistencyLoss()))
    with pytest.raises(
        ValueError, match="loss must have no term 'identity_consistency', got .*_weight=0 leaves the second"
    ):
        loss(output_of(visible, infrared, auxiliary), identities)
    with pytest.raises(TypeError, match="loss must be a module, got 'type'"):
        AuxiliaryModalityLoss(BaselineLoss)
    with pytest.raises(TypeError, match=r"loss must return a LossOutput, got 'Tensor'. LossOutput.from_terms"):
        AuxiliaryModalityLoss(Total())(output_of(visible, infrared, auxiliary), identities)
