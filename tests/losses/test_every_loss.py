"""What every loss keeps to: precision, devices and a representation that names its settings."""

import inspect
from typing import NamedTuple

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException

from tests.fake_cuda import run_on_fake_cuda
from vireid import losses

D, P, K = 768, 4, 8
IDENTITIES = torch.arange(P).repeat(K)
SIZES = {"batch_size": P * K, "iterations": 3}


def together(v, r, a, y):
    return torch.cat([v, r]), torch.cat([y, y])


class Output(NamedTuple):
    visible: torch.Tensor
    infrared: torch.Tensor
    auxiliary: torch.Tensor
    visible_logits: torch.Tensor
    infrared_logits: torch.Tensor
    auxiliary_visible_logits: torch.Tensor
    auxiliary_infrared_logits: torch.Tensor
    auxiliary_logits: torch.Tensor


class ExpandedOutput(NamedTuple):
    visible: torch.Tensor
    infrared: torch.Tensor
    visible_logits: torch.Tensor
    infrared_logits: torch.Tensor
    visible_expanded: torch.Tensor
    infrared_expanded: torch.Tensor
    visible_expanded_logits: torch.Tensor
    infrared_expanded_logits: torch.Tensor


def output_of_a_network(v, r, a, y):
    return Output(v, r, a, v, r, a, a, a), y


def output_of_views(v, r, a, y):
    two = torch.cat([v, a])
    return Output(two, r, a, two, r, a, a, a), y


def output_of_an_expansion(v, r, a, y):
    more = torch.stack([a, v]), torch.stack([v, a])
    return ExpandedOutput(v, r, v, r, *more, *more), y


def expanded(v, r, a, y):
    return v, r, a, a, y


def views(v, r, a, y):
    return (torch.stack([v, r, a]),)


def triple(v, r, a, y):
    return v, r, a, y


def pair(v, r, a, y):
    return v, r, y


def masks(v, r, a, y):
    return (torch.cat([v, r]).abs().view(2 * P * K, 6, 16, 8),)


class OutputOfMPANet(NamedTuple):
    visible: torch.Tensor
    infrared: torch.Tensor
    visible_logits: torch.Tensor
    infrared_logits: torch.Tensor
    visible_own_logits: torch.Tensor
    infrared_own_logits: torch.Tensor
    visible_mean_logits: torch.Tensor
    infrared_mean_logits: torch.Tensor
    masks: torch.Tensor


def output_of_mpanet(v, r, a, y):
    return OutputOfMPANet(v, r, v, r, v, r, r, v, *masks(v, r, a, y)), y


LOSSES = {
    "AttentionDiversityLoss": (losses.AttentionDiversityLoss, masks),
    "AuxiliaryModalityLoss": (
        lambda: losses.AuxiliaryModalityLoss(
            losses.BaselineLoss(),
            identity_alignment_weight=0.5,
            modality_alignment=losses.ModalityAlignmentLoss(D, **SIZES, projection="none", unbiased=True),
        ),
        output_of_a_network,
    ),
    "BaselineLoss": (
        lambda: losses.BaselineLoss(
            label_smoothing=0.1,
            triplet=losses.WeightedRegularizedTripletLoss(),
            center_triplet=losses.HeteroCenterTripletLoss(),
            mmd=losses.IdentityMMDLoss(),
            identity_consistency=losses.IdentityConsistencyLoss(),
        ),
        output_of_a_network,
    ),
    "BatchHardTripletLoss": (losses.BatchHardTripletLoss, together),
    "ConsistentViewsLoss": (
        lambda: losses.ConsistentViewsLoss(
            losses.BaselineLoss(), losses.JensenShannonLoss(), weight=6, first_view_only=True
        ),
        output_of_views,
    ),
    "CenterGuidedPairMiningLoss": (lambda: losses.CenterGuidedPairMiningLoss(margin=99.0), expanded),
    "DEENLoss": (losses.DEENLoss, output_of_an_expansion),
    "DirectAlignmentLoss": (lambda: losses.DirectAlignmentLoss(losses.BaselineLoss()), output_of_a_network),
    "DiscriminativeCenterLoss": (losses.DiscriminativeCenterLoss, together),
    "CenterClusterLoss": (lambda: losses.CenterClusterLoss(99.0, dead_zone=1e-3), together),
    "HeteroCenterTripletLoss": (lambda: losses.HeteroCenterTripletLoss(margin=99.0), pair),
    "IdentityAlignmentLoss": (lambda: losses.IdentityAlignmentLoss(margin=99.0), triple),
    "IdentityAlignmentLoss, normalised": (lambda: losses.IdentityAlignmentLoss(normalize=True), triple),
    "IdentityConsistencyLoss": (losses.IdentityConsistencyLoss, pair),
    "IdentityLoss": (lambda: losses.IdentityLoss(label_smoothing=0.1), lambda v, r, a, y: (v, y)),
    "IdentityMMDLoss": (losses.IdentityMMDLoss, pair),
    "IdentityMMDLoss, gated": (lambda: losses.IdentityMMDLoss(unbiased=True, margin=1e-4), pair),
    "JensenShannonLoss": (losses.JensenShannonLoss, views),
    "MPANetLoss": (losses.MPANetLoss, output_of_mpanet),
    "MUNLoss": (lambda: losses.MUNLoss(D, **SIZES, auxiliary_identity_weight=1), output_of_a_network),
    "MaskSeparationLoss": (losses.MaskSeparationLoss, masks),
    "MutualLearningLoss": (losses.MutualLearningLoss, lambda v, r, a, y: (v, r)),
    "MutualLearningLoss, soft labels": (
        lambda: losses.MutualLearningLoss(divergence="cross_entropy"),
        lambda v, r, a, y: (v, r),
    ),
    "ModalityAlignmentLoss": (lambda: losses.ModalityAlignmentLoss(D, **SIZES), triple),
    "ModalityAlignmentLoss, by identity": (
        lambda: losses.ModalityAlignmentLoss(D, iterations=3, num_identities=P),
        triple,
    ),
    "ModalitySharedEnhancementLoss": (losses.ModalitySharedEnhancementLoss, pair),
    "OrthogonalExpansionLoss": (losses.OrthogonalExpansionLoss, lambda v, r, a, y: (torch.stack([v, a]).abs(),)),
    "PMTLoss": (losses.PMTLoss, output_of_a_network),
    "ViewCrossEntropyLoss": (losses.ViewCrossEntropyLoss, views),
    "WeightedRegularizedTripletLoss": (losses.WeightedRegularizedTripletLoss, together),
    "WeightedRegularizedTripletLoss, legacy": (lambda: losses.WeightedRegularizedTripletLoss(legacy=True), together),
    "WeightedRegularizedTripletLoss, squared": (lambda: losses.WeightedRegularizedTripletLoss(squared=True), together),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def run(name, rows, autocast=None):
    """Two steps of a loss on visible, infrared and auxiliary rows: the second value and the gradients."""
    make, arguments = LOSSES[name]
    torch.manual_seed(0)
    loss, rows = make(), [modality.clone().requires_grad_() for modality in rows]
    for _ in range(2):
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            value = loss(*arguments(*rows, IDENTITIES))
    value = getattr(value, "total", value)
    (1024 * value).backward()  # as a gradient scaler does, for the gradients of half-precision rows
    return value, [modality.grad for modality in rows if modality.grad is not None]


def test_every_loss_is_here():
    assert {name.partition(",")[0] for name in LOSSES} == {name for name in losses.__all__ if name.endswith("Loss")}


@every_loss
@pytest.mark.parametrize("norm", [1, 100])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("inputs", ["autocast", "half", "half under autocast", "mixed", "mixed under autocast"])
def test_half_precision_gives_the_value_of_single_precision(name, norm, half, inputs):
    rows = torch.randn(3, P * K, D, generator=torch.Generator().manual_seed(1))
    rows = (norm * torch.nn.functional.normalize(rows, dim=2)).to(half).float().unbind()
    expected, expected_gradients = run(name, rows)
    assert expected > 0 or (expected < 0 and "Diversity" in name)
    if "half" in inputs:
        rows = [modality.to(half) for modality in rows]
    elif "mixed" in inputs:
        rows = [rows[0].to(half), rows[1], rows[2].to(half)]
    value, gradients = run(name, rows, half if "autocast" in inputs else None)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    for gradient, other in zip(gradients, expected_gradients):
        torch.testing.assert_close(gradient.float(), other, rtol=0.02, atol=1e-3 * other.abs().max().item())


@every_loss
@pytest.mark.parametrize("training", [True, False])
def test_no_synchronisation_and_no_tensor_left_on_the_cpu(name, training):
    make, arguments = LOSSES[name]
    run_on_fake_cuda(make().train(training), *arguments(*torch.rand(3, P * K, D), IDENTITIES))


def test_fake_devices_find_a_synchronisation():
    class Synchronising(losses.IdentityLoss):
        def forward(self, logits, identities):
            return super().forward(logits, identities) * logits.max().item()

    with pytest.raises(DataDependentOutputException):
        run_on_fake_cuda(Synchronising(), torch.rand(4, 8), torch.arange(4))


@every_loss
def test_the_representation_names_every_setting(name):
    loss = LOSSES[name][0]()
    modules = {child for child, _ in loss.named_children()}
    for argument in inspect.signature(type(loss)).parameters:
        if argument not in modules:
            assert f"{argument}=" in repr(loss)
