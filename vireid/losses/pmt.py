"""The losses of PMT: equal distances within and across modalities, and compact identities far from others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vireid._checks import check_embeddings, check_flags, check_identities, check_modalities, check_number, require
from vireid.distances import pairwise_distances
from vireid.losses.centers import identity_centers, widen
from vireid.losses.identity import IdentityLoss
from vireid.losses.outputs import LossOutput, read_fields
from vireid.losses.triplet import BatchHardTripletLoss


class ModalitySharedEnhancementLoss(nn.Module):
    """Make an image as far from its person's images in the other modality as from those in its own (MSEL of PMT).

    For each image, its mean distance to the other images of its person in its own modality is subtracted from the one
    to the images in the other modality. The loss is the mean of the squares, averaged over the two modalities. An image
    that is its person's only one in its modality, or has none in the other, does not count; without any other the
    modality's mean is a differentiable zero. Both distances have a gradient.

    Shape:
        visible b d, infrared b d, identities b -> scalar. With ``infrared_identities`` each modality has its own number
        and order of rows.

    Raises:
        ValueError: If the shapes do not match.
        TypeError: If the embeddings are not floating point or the identities not integers.

    Example:
        >>> visible, infrared = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [5.0]])
        >>> ModalitySharedEnhancementLoss()(visible, infrared, torch.tensor([0, 0]))  # (3² + 2² + 0.5² + 2.5²) / 4
        tensor(4.8750)

    References:
        Lu et al., Learning Progressive Modality-Shared Transformers for Effective Visible-Infrared Person
        Re-identification, AAAI 2023.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(
        self, visible: Tensor, infrared: Tensor, identities: Tensor, *, infrared_identities: Tensor | None = None
    ) -> Tensor:
        """½ Σ over both modalities of the mean of (mean distance across − mean distance within)²."""
        identities, infrared_identities = check_modalities((visible, infrared), (identities, infrared_identities))
        visible, infrared = widen(visible), widen(infrared)  # before they are used twice: the gradients are small
        of_visible = _squared_gap(visible, identities, infrared, infrared_identities)
        of_infrared = _squared_gap(infrared, infrared_identities, visible, identities)
        return (of_visible + of_infrared) / 2


class DiscriminativeCenterLoss(nn.Module):
    """Divide the distances of images to their person's centre by those of the nearer other images (DCL of PMT).

    The centre of an identity is the mean of its embeddings of both modalities. The numerator is the mean distance of
    its images to it. The denominator is the mean distance of other identities' images to it, of those alone that are
    nearer than their own mean. Each identity counts equally. There is no margin. With a single identity the loss is a
    differentiable zero.

    Where no other image is nearer than the mean, all being equally far, the nearest ones count; PMT's code fails there.

    Shape:
        embeddings b d, identities b -> scalar.

    Raises:
        ValueError: If the shapes do not match.
        TypeError: If the embeddings are not floating point or the identities not integers.

    Example:
        >>> embeddings, identities = torch.tensor([[0.0], [2.0], [11.0], [21.0]]), torch.tensor([0, 0, 1, 2])
        >>> DiscriminativeCenterLoss()(embeddings, identities)  # ((1 + 0 + 0) / 3) / ((10 + 9 + 10) / 3)
        tensor(0.0345)

    References:
        Lu et al., Learning Progressive Modality-Shared Transformers for Effective Visible-Infrared Person
        Re-identification, AAAI 2023.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Mean distance to the own centre over the mean distance of near other images to it."""
        check_embeddings("embeddings", embeddings)
        check_identities("identities", identities, embeddings)
        same = identities[:, None] == identities[None]
        # Each row stands for its centre with the weight 1/count, so that neither order nor number of rows matters.
        centers, counts = identity_centers(embeddings, identities)
        distances = pairwise_distances(centers, embeddings)  # b b
        mean = _mean_of(distances, ~same)[:, None]
        nearest = distances.masked_fill(same, torch.inf).amin(1, keepdim=True)
        near = ~same & ((distances < mean) | (distances <= nearest))
        compactness = (_mean_of(distances, same) / counts).sum()
        separation = (_mean_of(distances, near) / counts).sum()
        return compactness / torch.where(near.any(), separation, torch.inf)


class PMTLoss(nn.Module):
    """Add up the losses of PMT's second phase, or of its first, from the output of a network.

    The identity loss is the sum of the two modalities' means. In the second phase the triplets are those of both
    modalities together. :class:`vireid.Phases` switches between the phases by epoch:
    ``Phases({0: PMTLoss(within_modalities=True, enhancement_weight=0, center_weight=0), 6: PMTLoss()})``. Each infrared
    image may have several visible ones, in the order of ``torch.cat(views.unbind(1))`` as for :class:`BaselineLoss`.

    The output is any object with the fields ``visible``, ``infrared`` (b d), ``visible_logits`` and
    ``infrared_logits`` (b n).

    Args:
        margin: Margin of the batch-hard triplets, at least 0; PMT's is 0.1.
        within_modalities: Whether the triplets are those of each modality by itself, as in the first phase.
        enhancement_weight: Weight of :class:`ModalitySharedEnhancementLoss`, at least 0; 0 leaves it out.
        center_weight: Weight of :class:`DiscriminativeCenterLoss`, at least 0; 0 leaves it out.

    Shape:
        output of b pairs, identities b -> :class:`LossOutput` with the terms ``identity``, ``triplet``,
        ``enhancement`` and ``center``. With v views the visible fields have v · b rows.

    Raises:
        ValueError: If an argument is out of its range, the shapes do not match, or (on a CPU) a label has no logit.
        TypeError: If the output lacks a field, or an argument has the wrong type.

    Example:
        >>> from types import SimpleNamespace
        >>> logits, embeddings = torch.zeros(4, 2), torch.rand(4, 8)
        >>> output = SimpleNamespace(
        ...     visible=embeddings, infrared=embeddings, visible_logits=logits, infrared_logits=logits)
        >>> list(PMTLoss()(output, torch.tensor([0, 0, 1, 1])).terms)
        ['identity', 'triplet', 'enhancement', 'center']

    References:
        Lu et al., Learning Progressive Modality-Shared Transformers for Effective Visible-Infrared Person
        Re-identification, AAAI 2023.
    """

    def __init__(
        self,
        *,
        margin: float = 0.1,
        within_modalities: bool = False,
        enhancement_weight: float = 0.5,
        center_weight: float = 0.5,
    ) -> None:
        super().__init__()
        check_flags(within_modalities=within_modalities)
        self.identity = IdentityLoss()
        self.triplet = BatchHardTripletLoss(margin)
        self.enhancement = ModalitySharedEnhancementLoss()
        self.center = DiscriminativeCenterLoss()
        self.within_modalities = within_modalities
        self.enhancement_weight = check_number("enhancement_weight", enhancement_weight, least=0)
        self.center_weight = check_number("center_weight", center_weight, least=0)

    def forward(self, output: Any, identities: Tensor) -> LossOutput:
        """Compute every term whose weight is not zero, and their sum."""
        v, r, v_logits, r_logits = read_fields(output, "visible", "infrared", "visible_logits", "infrared_logits")
        check_identities("identities", identities, r)
        whole = f"have the rows of one or more views of the {len(r)} pairs"
        require(len(v) % len(r) == 0, "output.visible", whole, tuple(v.shape))
        v_identities = identities.repeat(len(v) // len(r))
        both, labels = torch.cat([v, r]), torch.cat([v_identities, identities])

        terms = {"identity": self.identity(v_logits, v_identities) + self.identity(r_logits, identities)}
        if self.within_modalities:
            terms["triplet"] = self.triplet(v, v_identities) + self.triplet(r, identities)
        else:
            terms["triplet"] = self.triplet(both, labels)
        if self.enhancement_weight:
            enhancement = self.enhancement(v, r, v_identities, infrared_identities=identities)
            terms["enhancement"] = self.enhancement_weight * enhancement
        if self.center_weight:
            terms["center"] = self.center_weight * self.center(both, labels)
        return LossOutput.from_terms(terms)

    def extra_repr(self) -> str:
        """Name the settings."""
        weights = f"enhancement_weight={self.enhancement_weight}, center_weight={self.center_weight}"
        return f"within_modalities={self.within_modalities}, {weights}"


def _squared_gap(own: Tensor, own_identities: Tensor, other: Tensor, other_identities: Tensor) -> Tensor:
    """Compute the mean over the rows of ``own`` of (mean distance across − mean distance within)²."""
    within = own_identities[:, None] == own_identities[None]
    within = within & ~torch.eye(len(own), dtype=torch.bool, device=own.device)
    across = own_identities[:, None] == other_identities[None]
    counts = within.any(1) & across.any(1)
    gap = _mean_of(pairwise_distances(own, other), across) - _mean_of(pairwise_distances(own, own), within)
    return (gap.square() * counts).sum() / counts.sum().clamp_min(1)


def _mean_of(values: Tensor, among: Tensor) -> Tensor:
    """Compute the mean of the marked values of each row; 0 where none is marked."""
    return (values * among).sum(1) / among.sum(1).clamp_min(1)
