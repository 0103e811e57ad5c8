from types import SimpleNamespace

import pytest
import torch

from tests import references
from vireid.losses import BatchHardTripletLoss, IdentityAlignmentLoss, ModalityAlignmentLoss, MUNLoss


@pytest.fixture
def output(batch):
    visible, infrared, auxiliary, _ = batch
    return SimpleNamespace(
        visible=visible,
        infrared=infrared,
        auxiliary=auxiliary,
        visible_logits=visible,
        infrared_logits=infrared,
        auxiliary_visible_logits=auxiliary,
        auxiliary_infrared_logits=2 * auxiliary,
        auxiliary_logits=None,
    )


def test_equals_equation_17(batch, output):
    v, r, a, identities = batch
    loss = MUNLoss(5, batch_size=12, iterations=10).double()
    total, terms = loss(output, identities)
    both, labels = torch.cat([v, r]), torch.cat([identities, identities])
    expected = {
        "identity": references.identity_loss(v, identities) + references.identity_loss(r, identities),
        "triplet": references.batch_hard_triplet(both, labels, 0.3),
        "identity_consistency": references.identity_loss(a, identities) + references.identity_loss(2 * a, identities),
        "identity_alignment": references.identity_alignment(
            {"v": v, "r": r, "a": a}, dict.fromkeys("vra", identities), 0.55
        ),
        "modality_alignment": references.modality_alignment([(v, r, a)], identities, [torch.eye(5).double()] * 3, 10)[
            0
        ],
    }
    weights = {"identity": 1, "triplet": 1, "identity_consistency": 0.25}
    weights |= {"identity_alignment": 0.5, "modality_alignment": 0.008}
    expected = {name: weights[name] * value for name, value in expected.items()}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)
    assert total.item() == pytest.approx(sum(expected.values()), rel=1e-10)


@pytest.mark.parametrize("term", ["identity_consistency", "identity_alignment", "modality_alignment"])
def test_a_weight_of_zero_leaves_the_term_out(batch, output, term):
    loss = MUNLoss(5, batch_size=12, iterations=10, **{f"{term}_weight": 0.0}).double()
    total, terms = loss(output, batch[-1])
    assert term not in terms
    assert len(terms) == 4
    usual = MUNLoss(5, batch_size=12, iterations=10).double()(output, batch[-1]).terms
    assert terms == {name: value for name, value in usual.items() if name != term}
    assert total.item() == pytest.approx(sum(value.item() for value in terms.values()))
    assert term != "modality_alignment" or not list(loss.parameters())


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("triplet", BatchHardTripletLoss(9.0)),
        ("identity_alignment", IdentityAlignmentLoss(9.0)),
        ("modality_alignment", ModalityAlignmentLoss(5, batch_size=12, iterations=10, prototypes=False, bridge=False)),
    ],
)
def test_other_settings_arrive(batch, output, part, other):
    losses = [MUNLoss(5, batch_size=12, iterations=10, **options).double() for options in ({}, {part: other})]
    usual, changed = (loss(output, batch[-1]).terms for loss in losses)
    assert [name for name in usual if usual[name] != changed[name]] == [part]


def test_auxiliary_identity_loss_is_a_term_on_request(batch, output):
    loss = MUNLoss(5, batch_size=12, iterations=10, auxiliary_identity_weight=0.5).double()
    with pytest.raises(
        TypeError,
        match="output must have the tensor auxiliary_logits, got 'SimpleNamespace'. MUN has it with",
    ):
        loss(output, batch[-1])
    output.auxiliary_logits = output.auxiliary
    total, terms = loss(output, batch[-1])
    expected = references.identity_loss(output.auxiliary, batch[-1])
    assert terms["auxiliary_identity"].item() == pytest.approx(0.5 * expected, rel=1e-10)
    usual = MUNLoss(5, batch_size=12, iterations=10).double()(output, batch[-1]).total
    assert total.item() == pytest.approx(usual.item() + 0.5 * expected)


def test_errors_name_the_input(batch, output):
    output.visible_logits = output.visible_logits[:3]
    with pytest.raises(ValueError, match=r"identities must have shape \(3,\), one for each embedding, got \(12,\)"):
        MUNLoss(5, batch_size=12, iterations=10)(output, batch[-1])


def test_without_auxiliary_modality_it_is_the_loss_of_b(batch, output):
    plain = SimpleNamespace(**{name: value for name, value in vars(output).items() if "auxiliary" not in name})
    weights = ("identity_consistency_weight", "identity_alignment_weight", "modality_alignment_weight")
    loss = MUNLoss(5, batch_size=12, iterations=10, **dict.fromkeys(weights, 0))
    assert list(loss(plain, batch[-1]).terms) == ["identity", "triplet"]
    with pytest.raises(TypeError, match="tensors auxiliary_visible_logits, auxiliary_infrared_logits, got"):
        MUNLoss(5, batch_size=12, iterations=10)(plain, batch[-1])
