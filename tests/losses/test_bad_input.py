"""The campaign of bad input for the losses: every argument of every constructor and forward pass."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.bad_input import case, choice, flag, integer, number, parameters, problems, tensor
from vireid import losses

ROWS, IDENTITIES = torch.rand(4, 8), torch.tensor([0, 0, 1, 1])
BAD_ROWS = [
    torch.rand(4),
    torch.rand(4, 8, 1, 1),
    torch.rand(0, 8),
    torch.rand(4, 0),
    torch.ones(4, 8, dtype=torch.int64),
    torch.ones(4, 8, dtype=torch.bool),
    torch.ones(4, 8, dtype=torch.complex64),
]
OTHER_ROWS = [*BAD_ROWS, torch.rand(4, 7), torch.rand(4, 8, device="meta")]
BAD_IDENTITIES = [
    torch.tensor([0, 1]),
    torch.tensor([[0, 0, 1, 1]]),
    torch.tensor(0),
    IDENTITIES.float(),
    IDENTITIES.bool(),
    IDENTITIES.to(torch.complex64),
    IDENTITIES.to("meta"),
]
NO_LABELS = [IDENTITIES - 1, IDENTITIES + 99]  # where they name columns or slots
PART = [3, "triplet", [], nn.Identity, lambda *_: 0]
OUTPUT = SimpleNamespace(
    visible=ROWS,
    infrared=ROWS,
    auxiliary=ROWS,
    visible_logits=ROWS,
    infrared_logits=ROWS,
    auxiliary_visible_logits=ROWS,
    auxiliary_infrared_logits=ROWS,
)


def without(field, output=OUTPUT):
    return SimpleNamespace(**{name: value for name, value in vars(output).items() if name != field})


EXPANDED = SimpleNamespace(
    **vars(OUTPUT),
    visible_expanded=torch.rand(2, 4, 8),
    infrared_expanded=torch.rand(2, 4, 8),
    visible_expanded_logits=torch.rand(2, 4, 8),
    infrared_expanded_logits=torch.rand(2, 4, 8),
)


PAIRS = {"visible": ROWS, "infrared": ROWS, "identities": IDENTITIES}
TRIPLES = {**PAIRS, "auxiliary": ROWS}
SIZES = {"embedding_dim": 8, "batch_size": 4, "iterations": 9}
VIEWS = SimpleNamespace(**{name: ROWS.repeat(2, 1) if "visible" in name else ROWS for name in vars(OUTPUT)})
BAD_VIEWS = [ROWS, ROWS[None], torch.rand(2, 0, 8), torch.rand(2, 4, 0), torch.ones(2, 4, 8, dtype=torch.int64)]
OUTPUTS = [None, 3, "text", object(), {}, (ROWS, ROWS)]
OPTIONAL = [value for value in tensor(*BAD_IDENTITIES) if value is not None]
BY_POSITION = losses.ModalityAlignmentLoss(**SIZES)
BY_IDENTITY = losses.ModalityAlignmentLoss(8, iterations=9, num_identities=2)
MASKS = torch.rand(4, 2, 6, 3)
BAD_MASKS = tensor(ROWS, torch.rand(0, 2, 6, 3), torch.rand(4, 2, 6, 0), torch.ones(4, 2, 6, 3).int(), MASKS + 0j)
HEADS = [f"{modality}_{kind}_logits" for modality in ("visible", "infrared") for kind in ("own", "mean")]
OUTPUT_OF_MPANET = SimpleNamespace(**vars(OUTPUT), masks=MASKS, **dict.fromkeys(HEADS, ROWS))


def without_of_mpanet(field):
    return SimpleNamespace(**{name: value for name, value in vars(OUTPUT_OF_MPANET).items() if name != field})


CASES = {
    "AttentionDiversityLoss": case(losses.AttentionDiversityLoss),
    "AttentionDiversityLoss.forward": case(losses.AttentionDiversityLoss(), {}, masks=BAD_MASKS),
    "AuxiliaryModalityLoss": case(
        losses.AuxiliaryModalityLoss,
        {"loss": losses.BaselineLoss()},
        loss=[None, *PART],
        identity_consistency_weight=number(least=0),
        identity_alignment_weight=number(least=0),
        modality_alignment_weight=number(least=0),
        identity_consistency=PART,
        identity_alignment=PART,
        modality_alignment=PART,
    ),
    "AuxiliaryModalityLoss.forward": case(
        losses.AuxiliaryModalityLoss(losses.BaselineLoss(), identity_alignment_weight=0.5),
        {"output": OUTPUT, "identities": IDENTITIES},
        output=[*OUTPUTS, *map(without, vars(OUTPUT))],
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
    ),
    "DirectAlignmentLoss": case(
        losses.DirectAlignmentLoss,
        {"loss": losses.BaselineLoss()},
        loss=[None, *PART],
        identity_alignment_weight=number(least=0),
        modality_alignment_weight=number(least=0),
        identity_alignment=PART,
        modality_alignment=PART,
    ),
    "DirectAlignmentLoss.forward": case(
        losses.DirectAlignmentLoss(losses.BaselineLoss()),
        {"output": OUTPUT, "identities": IDENTITIES},
        output=[*OUTPUTS, *map(without, ("visible", "infrared", "visible_logits", "infrared_logits"))],
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
    ),
    "BaselineLoss": case(
        losses.BaselineLoss,
        label_smoothing=number(least=0, below=1),
        triplet=PART,
        center_triplet=PART,
        mmd=PART,
        mmd_weight=number(least=0),
        identity_consistency=PART,
        identity_consistency_weight=number(least=0),
    ),
    "BaselineLoss.forward": case(
        losses.BaselineLoss(identity_consistency=losses.IdentityConsistencyLoss()),
        {"output": OUTPUT, "identities": IDENTITIES},
        output=[*OUTPUTS, *map(without, set(vars(OUTPUT)) - {"auxiliary"})],
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
    ),
    "BatchHardTripletLoss": case(losses.BatchHardTripletLoss, margin=number(least=0)),
    "BatchHardTripletLoss.forward": case(
        losses.BatchHardTripletLoss(),
        {"embeddings": ROWS, "identities": IDENTITIES},
        embeddings=tensor(*BAD_ROWS),
        identities=tensor(*BAD_IDENTITIES),
    ),
    "ConsistentViewsLoss": case(
        losses.ConsistentViewsLoss,
        {"loss": losses.BaselineLoss(), "consistency": losses.JensenShannonLoss()},
        loss=[None, *PART],
        consistency=[None, *PART],
        weight=number(least=0),
        first_view_only=flag(),
    ),
    "ConsistentViewsLoss.forward": case(
        losses.ConsistentViewsLoss(losses.BaselineLoss(), losses.JensenShannonLoss()),
        {"output": VIEWS, "identities": IDENTITIES},
        output=[*OUTPUTS, OUTPUT],
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
    ),
    "CenterGuidedPairMiningLoss": case(losses.CenterGuidedPairMiningLoss, margin=number(least=0)),
    "CenterGuidedPairMiningLoss.forward": case(
        losses.CenterGuidedPairMiningLoss(),
        {**PAIRS, "visible_expanded": ROWS, "infrared_expanded": ROWS},
        visible=tensor(*BAD_ROWS),
        infrared=tensor(*OTHER_ROWS),
        visible_expanded=tensor(*OTHER_ROWS, ROWS[:3]),
        infrared_expanded=tensor(*OTHER_ROWS, ROWS[:3]),
        identities=tensor(*BAD_IDENTITIES),
        infrared_identities=OPTIONAL,
    ),
    "DEENLoss": case(
        losses.DEENLoss,
        margin=number(least=0),
        pair_mining_weight=number(least=0),
        orthogonality_weight=number(least=0),
    ),
    "DEENLoss.forward": case(
        losses.DEENLoss(),
        {"output": EXPANDED, "identities": IDENTITIES},
        output=[*OUTPUTS, OUTPUT, *(without(field, EXPANDED) for field in vars(EXPANDED) if "auxiliary" not in field)],
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
    ),
    "DiscriminativeCenterLoss": case(losses.DiscriminativeCenterLoss),
    "DiscriminativeCenterLoss.forward": case(
        losses.DiscriminativeCenterLoss(),
        {"embeddings": ROWS, "identities": IDENTITIES},
        embeddings=tensor(*BAD_ROWS),
        identities=tensor(*BAD_IDENTITIES),
    ),
    "CenterClusterLoss": case(losses.CenterClusterLoss, margin=number(least=0), dead_zone=number(least=0)),
    "CenterClusterLoss.forward": case(
        losses.CenterClusterLoss(),
        {"embeddings": ROWS, "identities": IDENTITIES},
        embeddings=tensor(*BAD_ROWS),
        identities=tensor(*BAD_IDENTITIES),
    ),
    "HeteroCenterTripletLoss": case(losses.HeteroCenterTripletLoss, margin=number(least=0)),
    "HeteroCenterTripletLoss.forward": case(
        losses.HeteroCenterTripletLoss(),
        PAIRS,
        visible=tensor(*BAD_ROWS),
        infrared=tensor(*OTHER_ROWS),
        identities=tensor(*BAD_IDENTITIES),
        infrared_identities=OPTIONAL,
    ),
    "IdentityAlignmentLoss": case(
        losses.IdentityAlignmentLoss,
        margin=number(least=0),
        hinge=flag(),
        reduction=choice("summ", "none"),
        normalize=flag(),
    ),
    "IdentityAlignmentLoss.forward": case(
        losses.IdentityAlignmentLoss(),
        TRIPLES,
        visible=tensor(*BAD_ROWS),
        infrared=tensor(*OTHER_ROWS),
        auxiliary=tensor(*OTHER_ROWS),
        identities=tensor(*BAD_IDENTITIES),
        infrared_identities=OPTIONAL,
        auxiliary_identities=OPTIONAL,
    ),
    "IdentityConsistencyLoss": case(losses.IdentityConsistencyLoss, label_smoothing=number(least=0, below=1)),
    "IdentityConsistencyLoss.forward": case(
        losses.IdentityConsistencyLoss(),
        {"visible_logits": ROWS, "infrared_logits": ROWS, "identities": IDENTITIES},
        visible_logits=tensor(*BAD_ROWS),
        infrared_logits=tensor(*OTHER_ROWS),
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
    ),
    "IdentityLoss": case(losses.IdentityLoss, label_smoothing=number(least=0, below=1)),
    "IdentityLoss.forward": case(
        losses.IdentityLoss(),
        {"logits": ROWS, "identities": IDENTITIES},
        logits=tensor(*BAD_ROWS),
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
    ),
    "IdentityMMDLoss": case(
        losses.IdentityMMDLoss, unbiased=flag(), margin=[value for value in number(least=0) if value is not None]
    ),
    "IdentityMMDLoss.forward": case(
        losses.IdentityMMDLoss(),
        {"x": ROWS, "y": ROWS, "x_identities": IDENTITIES},
        x=tensor(*BAD_ROWS),
        y=tensor(*OTHER_ROWS),
        x_identities=tensor(*BAD_IDENTITIES),
        y_identities=OPTIONAL,
    ),
    "JensenShannonLoss": case(losses.JensenShannonLoss),
    "JensenShannonLoss.forward": case(losses.JensenShannonLoss(), {}, logits=tensor(*BAD_VIEWS)),
    "MPANetLoss": case(
        losses.MPANetLoss,
        modality_identity_weight=number(least=0),
        center_cluster_weight=number(least=0),
        separation_weight=number(least=0),
        mutual_weight=number(least=0),
        center_cluster=PART,
        separation=PART,
        mutual=PART,
    ),
    "MPANetLoss.forward": case(
        losses.MPANetLoss(),
        {"output": OUTPUT_OF_MPANET, "identities": IDENTITIES},
        output=[
            *OUTPUTS,
            *map(without_of_mpanet, ("visible", "infrared", "visible_logits", "infrared_logits", "masks", *HEADS)),
        ],
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
    ),
    "MaskSeparationLoss": case(losses.MaskSeparationLoss, positions=choice("summ", "all")),
    "MaskSeparationLoss.forward": case(losses.MaskSeparationLoss(), {}, masks=BAD_MASKS),
    "MutualLearningLoss": case(losses.MutualLearningLoss, divergence=choice("js", "kl ")),
    "MutualLearningLoss.forward": case(
        losses.MutualLearningLoss(),
        {"logits": ROWS, "target_logits": ROWS},
        logits=tensor(*BAD_ROWS),
        target_logits=tensor(*OTHER_ROWS, torch.rand(3, 8)),
    ),
    "MUNLoss": case(
        losses.MUNLoss,
        SIZES,
        embedding_dim=integer(least=1),
        batch_size=integer(least=1),
        iterations=integer(least=1),
        identity_consistency_weight=number(least=0),
        identity_alignment_weight=number(least=0),
        modality_alignment_weight=number(least=0),
        auxiliary_identity_weight=number(least=0),
        triplet=PART,
        identity_alignment=PART,
        modality_alignment=PART,
    ),
    "MUNLoss.forward": case(
        losses.MUNLoss(**SIZES),
        {"output": OUTPUT, "identities": IDENTITIES},
        output=[*OUTPUTS, *map(without, vars(OUTPUT))],
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
    ),
    "ModalityAlignmentLoss": case(
        losses.ModalityAlignmentLoss,
        SIZES,
        embedding_dim=integer(least=1),
        batch_size=integer(least=1),
        iterations=integer(least=1),
        num_identities=[value for value in integer(least=1) if value is not None],
        prototypes=flag(),
        bridge=flag(),
        projection=choice("eye", "random "),
        schedule=choice("log"),
        unbiased=flag(),
    ),
    "ModalityAlignmentLoss.forward": case(
        BY_POSITION,
        TRIPLES,
        visible=tensor(*BAD_ROWS),
        infrared=tensor(*OTHER_ROWS),
        auxiliary=tensor(*OTHER_ROWS),
        identities=tensor(*BAD_IDENTITIES),
        infrared_identities=OPTIONAL,
        auxiliary_identities=OPTIONAL,
    ),
    "ModalityAlignmentLoss.forward, by identity": case(
        BY_IDENTITY,
        TRIPLES,
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
        infrared_identities=[*OPTIONAL, *NO_LABELS],
        auxiliary_identities=[*OPTIONAL, *NO_LABELS],
    ),
    "ModalitySharedEnhancementLoss": case(losses.ModalitySharedEnhancementLoss),
    "ModalitySharedEnhancementLoss.forward": case(
        losses.ModalitySharedEnhancementLoss(),
        PAIRS,
        visible=tensor(*BAD_ROWS),
        infrared=tensor(*OTHER_ROWS),
        identities=tensor(*BAD_IDENTITIES),
        infrared_identities=OPTIONAL,
    ),
    "OrthogonalExpansionLoss": case(losses.OrthogonalExpansionLoss),
    "OrthogonalExpansionLoss.forward": case(
        losses.OrthogonalExpansionLoss(),
        {},
        expanded=tensor(ROWS, torch.rand(0, 4, 8), torch.rand(2, 0, 8), torch.ones(2, 4, 8, dtype=torch.int64)),
    ),
    "PMTLoss": case(
        losses.PMTLoss,
        margin=number(least=0),
        within_modalities=flag(),
        enhancement_weight=number(least=0),
        center_weight=number(least=0),
    ),
    "PMTLoss.forward": case(
        losses.PMTLoss(),
        {"output": OUTPUT, "identities": IDENTITIES},
        output=[*OUTPUTS, *map(without, ("visible", "infrared", "visible_logits", "infrared_logits"))],
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
    ),
    "ViewCrossEntropyLoss": case(losses.ViewCrossEntropyLoss, target=integer(least=0)),
    "ViewCrossEntropyLoss.forward": case(losses.ViewCrossEntropyLoss(), {}, logits=tensor(*BAD_VIEWS)),
    "WeightedRegularizedTripletLoss": case(losses.WeightedRegularizedTripletLoss, legacy=flag(), squared=flag()),
    "WeightedRegularizedTripletLoss.forward": case(
        losses.WeightedRegularizedTripletLoss(),
        {"embeddings": ROWS, "identities": IDENTITIES},
        embeddings=tensor(*BAD_ROWS),
        identities=tensor(*BAD_IDENTITIES),
    ),
    "describe_auxiliary": case(
        losses.describe_auxiliary,
        {"output": OUTPUT, "identities": IDENTITIES},
        output=[*OUTPUTS, *map(without, ("visible", "infrared", "auxiliary", "auxiliary_visible_logits"))],
        identities=tensor(*BAD_IDENTITIES, *NO_LABELS),
        identity_alignment=[losses.IdentityLoss(), IDENTITIES, "ia", 0.5],
    ),
}


@pytest.mark.parametrize(("name", "argument"), parameters(CASES))
def test_bad_input_is_refused_clearly(name, argument):
    assert problems(CASES[name], argument) == []


@pytest.mark.parametrize("name", [name for name in losses.__all__ if name != "LossOutput"])  # which takes anything
def test_every_argument_is_in_the_campaign(name):
    loss = getattr(losses, name)
    assert set(CASES[name].bad) == set(inspect.signature(loss).parameters)
    if not isinstance(loss, type):  # a function has no forward
        return
    assert set(CASES[f"{name}.forward"].bad) == set(inspect.signature(loss.forward).parameters) - {"self"}
