"""The losses of DEEN: expanded embeddings that narrow the modality gap and differ from each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vireid._checks import (
    check_embeddings,
    check_identities,
    check_modalities,
    check_number,
    check_tensor,
    require,
)
from vireid.distances import pairwise_distances
from vireid.losses.centers import identity_centers, sum_same, widen
from vireid.losses.identity import IdentityLoss
from vireid.losses.outputs import LossOutput, read_fields
from vireid.losses.triplet import BatchHardTripletLoss


class CenterGuidedPairMiningLoss(nn.Module):
    """Bring the expanded centre of a person nearer to the other modality than to its own source (CPM of DEEN).

    With the centres of an identity's visible (1), infrared (2), expanded visible (3) and expanded infrared (4)
    embeddings, the distance d(2, 3) should be smaller than d(1, 3), which has no gradient, and than the distances of
    centre 3 and of centre 1 to those of their kind of other identities, with half the weight. Likewise d(1, 4) with
    d(2, 4) and the centres 4 and 2. An identity that lacks a modality does not count; without any other identity its
    terms are left out. Without any identity the loss is a differentiable zero.

    Call it once for each branch of the expansion and add up.

    Args:
        margin: Distance by which one should be smaller, at least 0; DEEN's is 0.2.

    Shape:
        visible b d, infrared b d, visible_expanded b d, infrared_expanded b d, identities b -> scalar, the mean over
        the identities and the two expansions. With ``infrared_identities`` each modality has its own number and order
        of rows.

    Raises:
        ValueError: If ``margin`` is negative or the shapes do not match.
        TypeError: If the embeddings are not floating point or the identities not integers.

    Example:
        >>> visible, infrared = torch.tensor([[0.0], [9.0]]), torch.tensor([[4.0], [13.0]])
        >>> loss = CenterGuidedPairMiningLoss(margin=0.0)
        >>> loss(visible, infrared, visible + 1, infrared - 2, torch.tensor([0, 1]))  # ([3 − 1]₊ + [2 − 2]₊) / 2
        tensor(1.)

    References:
        Zhang et al., Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared
        Person Re-identification, CVPR 2023.
    """

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = check_number("margin", margin, least=0)

    def forward(
        self,
        visible: Tensor,
        infrared: Tensor,
        visible_expanded: Tensor,
        infrared_expanded: Tensor,
        identities: Tensor,
        *,
        infrared_identities: Tensor | None = None,
    ) -> Tensor:
        """½ (mean over the identities of the terms of the visible expansion + that of the infrared one)."""
        identities, infrared_identities = check_modalities((visible, infrared), (identities, infrared_identities))
        check_embeddings("visible_expanded", visible_expanded, like=visible)
        check_embeddings("infrared_expanded", infrared_expanded, like=visible)
        for argument, rows, like in (
            ("visible_expanded", visible_expanded, visible),
            ("infrared_expanded", infrared_expanded, infrared),
        ):
            require(len(rows) == len(like), argument, f"have {len(like)} rows", len(rows))
        v, r, v_more, r_more = (widen(x) for x in (visible, infrared, visible_expanded, infrared_expanded))  # once
        of_visible = self._expansion(v, v_more, r, identities, infrared_identities)
        of_infrared = self._expansion(r, r_more, v, infrared_identities, identities)
        return (of_visible + of_infrared) / 2

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"margin={self.margin}"

    def _expansion(self, source: Tensor, expanded: Tensor, other: Tensor, own: Tensor, across: Tensor) -> Tensor:
        """Compute the mean of the terms of one modality's expansion; ``across`` are the identities of ``other``."""
        # Each row stands for its identity's centres with the weight 1/count, so that neither order nor number matters.
        source_centers, counts = identity_centers(source, own)
        expanded_centers, _ = identity_centers(expanded, own)
        shared = own[:, None] == across[None]
        others = shared.sum(1)
        other_centers = sum_same(other, shared) / others.clamp_min(1)[:, None]
        gap = _distances(other_centers, expanded_centers)
        farther = [
            (1.0, _distances(source_centers, expanded_centers).detach()),
            (0.5, _nearest_other(expanded_centers, own)),
            (0.5, _nearest_other(source_centers, own)),
        ]
        terms = sum(weight * torch.relu(self.margin + gap - distance) for weight, distance in farther)
        weights = (1 / counts).masked_fill(others == 0, 0)
        return (weights * terms).sum() / weights.sum().clamp_min(1)


class OrthogonalExpansionLoss(nn.Module):
    """Push the embeddings of different branches of an expansion towards right angles (the orthogonality of DEEN).

    The loss is the mean of the raw inner products of an image's embeddings in each pair of branches, divided by the
    number of versions of an image, as DEEN averages over all of them. It has no lower bound: behind a ReLU and average
    pooling, as in DEEN, inner products are not negative. With a single branch it is zero.

    Shape:
        Expanded embeddings m b d of m branches -> scalar.

    Raises:
        ValueError: If the embeddings have another shape.
        TypeError: If the embeddings are not floating point.

    Example:
        >>> OrthogonalExpansionLoss()(torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]]))  # 3 / (1 + 2)
        tensor(1.)

    References:
        Zhang et al., Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared
        Person Re-identification, CVPR 2023.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, expanded: Tensor) -> Tensor:
        """Σ over pairs of branches of mean ⟨f_i, f_j⟩, divided by 1 + m."""
        _check_expanded("expanded", expanded)
        rows = widen(expanded)
        products = rows[1:] * rows.cumsum(0)[:-1]  # f_j Σ_{i<j} f_i
        return products.sum((0, 2)).mean() / (1 + len(expanded))


class DEENLoss(nn.Module):
    """Add up the losses of DEEN, from the output of a network with an expansion.

    The identity loss and the triplets are those of all images and their versions together. The output is any object
    with the fields ``visible``, ``infrared`` (b d), ``visible_logits``, ``infrared_logits`` (b n) and, of the m
    branches of the expansion, ``visible_expanded``, ``infrared_expanded`` (m b d), ``visible_expanded_logits`` and
    ``infrared_expanded_logits`` (m b n). Each infrared image may have several visible ones, in the order of
    ``torch.cat(views.unbind(1))`` as for :class:`BaselineLoss`.

    Args:
        margin: Margin of the batch-hard triplets, at least 0.
        pair_mining_weight: Weight of the :class:`CenterGuidedPairMiningLoss`, summed over the branches; at least 0.
        orthogonality_weight: Weight of the :class:`OrthogonalExpansionLoss`, of both modalities; at least 0.

    Shape:
        output of b pairs, identities b -> :class:`LossOutput` with the terms ``identity``, ``triplet``, ``pair_mining``
        and ``orthogonality``. With v views the visible fields have v · b rows.

    Raises:
        ValueError: If an argument is out of its range, the shapes do not match, or (on a CPU) a label has no logit.
        TypeError: If the output lacks a field, or an argument has the wrong type.

    Example:
        >>> from types import SimpleNamespace
        >>> rows, versions, logits = torch.rand(4, 8), torch.rand(2, 4, 8), torch.zeros(2, 4, 5)
        >>> output = SimpleNamespace(
        ...     visible=rows, infrared=rows, visible_logits=logits[0], infrared_logits=logits[0],
        ...     visible_expanded=versions, infrared_expanded=versions, visible_expanded_logits=logits,
        ...     infrared_expanded_logits=logits)
        >>> list(DEENLoss()(output, torch.tensor([0, 0, 1, 1])).terms)
        ['identity', 'triplet', 'pair_mining', 'orthogonality']

    References:
        Zhang et al., Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared
        Person Re-identification, CVPR 2023.
    """

    def __init__(
        self, *, margin: float = 0.3, pair_mining_weight: float = 0.8, orthogonality_weight: float = 0.01
    ) -> None:
        super().__init__()
        self.identity = IdentityLoss()
        self.triplet = BatchHardTripletLoss(margin)
        self.pair_mining = CenterGuidedPairMiningLoss()
        self.orthogonality = OrthogonalExpansionLoss()
        self.pair_mining_weight = check_number("pair_mining_weight", pair_mining_weight, least=0)
        self.orthogonality_weight = check_number("orthogonality_weight", orthogonality_weight, least=0)

    def forward(self, output: Any, identities: Tensor) -> LossOutput:
        """Compute every term and their sum."""
        v, r, v_logits, r_logits = read_fields(output, "visible", "infrared", "visible_logits", "infrared_logits")
        v_more, r_more = read_fields(output, "visible_expanded", "infrared_expanded")
        v_more_logits, r_more_logits = read_fields(output, "visible_expanded_logits", "infrared_expanded_logits")
        check_embeddings("output.visible", v)
        check_embeddings("output.infrared", r, like=v)
        check_identities("identities", identities, r)
        whole = f"have the rows of one or more views of the {len(r)} pairs"
        require(len(v) % len(r) == 0, "output.visible", whole, tuple(v.shape))
        v_identities = identities.repeat(len(v) // len(r))
        for field, expanded, like in (
            ("visible_expanded", v_more, v),
            ("infrared_expanded", r_more, r),
            ("visible_expanded_logits", v_more_logits, v_logits),
            ("infrared_expanded_logits", r_more_logits, r_logits),
        ):
            _check_expanded(f"output.{field}", expanded)
            shape = (len(v_more), *like.shape)
            require(expanded.shape == shape, f"output.{field}", f"have shape {shape}", tuple(expanded.shape))

        v, r, v_more, r_more = (widen(x) for x in (v, r, v_more, r_more))  # once, as several terms use them
        labels = torch.cat([x.repeat(1 + len(v_more)) for x in (v_identities, identities)])
        rows = torch.cat([v, *v_more, r, *r_more])
        logits = torch.cat([v_logits, *v_more_logits, r_logits, *r_more_logits])
        mined = [
            self.pair_mining(v, r, *pair, v_identities, infrared_identities=identities)
            for pair in zip(v_more, r_more, strict=True)
        ]
        both = torch.cat([v_more, r_more], dim=1)
        return LossOutput.from_terms(
            {
                "identity": self.identity(logits, labels),
                "triplet": self.triplet(rows, labels),
                "pair_mining": self.pair_mining_weight * torch.stack(mined).sum(),
                "orthogonality": self.orthogonality_weight * self.orthogonality(both),
            }
        )

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"pair_mining_weight={self.pair_mining_weight}, orthogonality_weight={self.orthogonality_weight}"


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Compute the distance of every row of ``x`` to the same row of ``y``, with a gradient of zero at zero."""
    return (x - y).square().sum(1).clamp_min(1e-12).sqrt()


def _nearest_other(centers: Tensor, identities: Tensor) -> Tensor:
    """Compute the distance of every centre to the nearest one of another identity; infinity without any."""
    same = identities[:, None] == identities[None]
    return pairwise_distances(centers, centers).masked_fill(same, torch.inf).amin(1)


def _check_expanded(argument: str, expanded: Tensor) -> None:
    check_tensor(argument, expanded)
    shape = tuple(expanded.shape)
    require(len(shape) == 3 and min(shape) > 0, argument, "have shape (m, b, d)", shape)
    floating = expanded.is_floating_point()
    require(floating, argument, "be floating point", expanded.dtype, error=TypeError)
