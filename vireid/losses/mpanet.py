"""The losses of MPANet: compact identities, parts that stay apart, and classifiers that learn from each other."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vireid._checks import check_choice, check_embeddings, check_identities, check_number, check_tensor, require
from vireid.distances import pairwise_distances
from vireid.losses.centers import identity_centers, widen
from vireid.losses.identity import IdentityLoss
from vireid.losses.outputs import LossOutput, check_parts, read_fields


class CenterClusterLoss(nn.Module):
    """Pull every embedding to its identity's centre, and push the centres of different identities apart.

    A centre is the mean of an identity's embeddings of both modalities. The pull is the mean distance of the embeddings
    to their centres, not squared; the push is the mean over the pairs of centres of what their distance lacks to the
    margin. Neither mines hard cases. An identity with one embedding is its own centre, at distance zero; with a single
    identity the push is zero. Identities may come in any order and any number of images.

    Args:
        margin: Distance beyond which centres are not pushed, at least 0; 0.7 in MPANet and SAAI.
        dead_zone: Distance to the centre below which embeddings are not pulled, at least 0; 0 in MPANet, 0.01 in SAAI.

    Shape:
        embeddings b d, identities b -> scalar.

    Raises:
        ValueError: If an argument is out of its range or the shapes do not match.
        TypeError: If the embeddings are not floating point or the identities not integers.

    Example:
        >>> loss = CenterClusterLoss(margin=5.0)
        >>> embeddings = torch.tensor([[0.0], [2.0], [4.0]])
        >>> loss(embeddings, torch.tensor([0, 0, 1]))  # pull (1 + 1 + 0) / 3, push 5 − 3
        tensor(2.6667)

    References:
        Wu et al., Discover Cross-Modality Nuances for Visible-Infrared Person Re-Identification, CVPR 2021.
    """

    def __init__(self, margin: float = 0.7, *, dead_zone: float = 0.0) -> None:
        super().__init__()
        self.margin = check_number("margin", margin, least=0)
        self.dead_zone = check_number("dead_zone", dead_zone, least=0)

    def forward(self, embeddings: Tensor, identities: Tensor) -> Tensor:
        """Mean of [‖F_i − m_y‖ − zone]₊ + mean over p, q ≠ p of [margin − ‖m_p − m_q‖]₊."""
        check_embeddings("embeddings", embeddings)
        check_identities("identities", identities, embeddings)
        embeddings = widen(embeddings)
        centers, counts = identity_centers(embeddings, identities)
        pull = torch.relu(torch.linalg.vector_norm(embeddings - centers, dim=1) - self.dead_zone).mean()

        # Each row stands for its identity with the weight 1/count, so that neither order nor number of rows matters.
        other = identities[:, None] != identities[None]
        weights = (1 / counts)[:, None] * (1 / counts) * other  # b b
        hinge = torch.relu(self.margin - pairwise_distances(centers, centers))
        return pull + (weights * hinge).sum() / weights.sum().clamp_min(1)

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"margin={self.margin}, dead_zone={self.dead_zone}"


class MaskSeparationLoss(nn.Module):
    """Keep the masks of parts apart: the products of every two masks, averaged over the pairs and the images.

    MPANet adds up the positions of the map, so that the loss grows with the image: its 24×8 map and masks near ½ start
    at 48. ``positions="mean"`` does not depend on the size; the weight 0.5 of the sum there is 96 of the mean.

    Args:
        positions: Whether to take the ``"sum"`` over the positions, as MPANet does, or the ``"mean"``.

    Shape:
        masks b p h w -> scalar; zero for a single mask.

    Raises:
        ValueError: If ``positions`` is something else, or the masks have another shape.
        TypeError: If the masks are not floating point.

    Example:
        >>> masks = torch.full((1, 2, 24, 8), 0.5)
        >>> MaskSeparationLoss()(masks), MaskSeparationLoss(positions="mean")(masks)
        (tensor(48.), tensor(0.2500))

    References:
        Wu et al., Discover Cross-Modality Nuances for Visible-Infrared Person Re-Identification, CVPR 2021.
    """

    def __init__(self, *, positions: Literal["sum", "mean"] = "sum") -> None:
        super().__init__()
        check_choice("positions", positions, ("sum", "mean"))
        self.positions = positions

    def forward(self, masks: Tensor) -> Tensor:
        """Σ over positions of m_i m_j, the mean over the pairs i < j and the images."""
        masks = check_masks(masks)
        parts = masks.shape[1]
        products = (masks.sum(1).square() - masks.square().sum(1)) / 2  # b h w: Σ over pairs of m_i m_j
        summed = products.sum((1, 2)) if self.positions == "sum" else products.mean((1, 2))
        return summed.mean() / max(1, parts * (parts - 1) // 2)

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"positions={self.positions!r}"


class MutualLearningLoss(nn.Module):
    """Bring the classes that a classifier predicts towards those that another one predicts for the same images.

    In MPANet the classifier of an image's own modality learns from the moving average of the other modality's. The
    targets have no gradient.

    Args:
        divergence: ``"kl"`` for KL(P‖Q) of the prediction P to the target Q, as MPANet's code has it, or
            ``"cross_entropy"`` of P under the target Q, as SAAI's.

    Shape:
        logits b n, target_logits b n -> scalar, the mean over the images.

    Raises:
        ValueError: If ``divergence`` is something else or the shapes do not match.
        TypeError: If the logits are not floating point.

    Example:
        >>> logits, targets = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.0986]])  # P = (½, ½), Q = (¼, ¾)
        >>> MutualLearningLoss()(logits, targets), MutualLearningLoss(divergence="cross_entropy")(logits, targets)
        (tensor(0.1438), tensor(0.6931))

    References:
        Wu et al., Discover Cross-Modality Nuances for Visible-Infrared Person Re-Identification, CVPR 2021; Fang et
        al., Visible-Infrared Person Re-Identification via Semantic Alignment and Affinity Inference, ICCV 2023.
    """

    def __init__(self, *, divergence: Literal["kl", "cross_entropy"] = "kl") -> None:
        super().__init__()
        check_choice("divergence", divergence, ("kl", "cross_entropy"))
        self.divergence = divergence

    def forward(self, logits: Tensor, target_logits: Tensor) -> Tensor:
        """Σ_c P log(P / Q), or −Σ_c Q log P, the mean over the images."""
        check_embeddings("logits", logits)
        check_embeddings("target_logits", target_logits, like=logits)
        same = logits.shape == target_logits.shape
        require(same, "target_logits", f"have shape {tuple(logits.shape)} like logits", tuple(target_logits.shape))
        log_p, log_q = F.log_softmax(widen(logits), dim=1), F.log_softmax(widen(target_logits.detach()), dim=1)
        if self.divergence == "kl":
            return (log_p.exp() * (log_p - log_q)).sum(1).mean()
        return -(log_q.exp() * log_p).sum(1).mean()

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"divergence={self.divergence!r}"


class MPANetLoss(nn.Module):
    """Compute L = L_id + L_sid + L_cc + 0.5 L_sep + 2.5 L_kl of MPANet from the output of a network.

    L_id is the cross entropy of the joint classifier, the mean over all images; L_sid that of each modality's own
    classifier, summed over the modalities; L_cc a :class:`CenterClusterLoss`, L_sep a :class:`MaskSeparationLoss`, and
    L_kl a :class:`MutualLearningLoss` over all images. There is no triplet loss. SAAI is the same sum with other parts.
    A term of weight zero is left out and costs nothing.

    The output is any object with the fields of :class:`~vireid.models.MPANetOutput`: ``visible``, ``infrared`` (b d),
    ``visible_logits``, ``infrared_logits``, ``visible_own_logits``, ``infrared_own_logits``, ``visible_mean_logits``,
    ``infrared_mean_logits`` (b n) and ``masks`` (b p h w). Each infrared image may have several visible ones, all first
    views before all second ones.

    Args:
        modality_identity_weight: Weight of L_sid, at least 0. MPANet's code adds 0.5 of it twice.
        center_cluster_weight: Weight of L_cc, at least 0.
        separation_weight: Weight of L_sep, at least 0; SAAI's diversity has 0.25.
        mutual_weight: Weight of L_kl, at least 0; 1 in SAAI.
        center_cluster: Replacement for the default L_cc, called with embeddings and identities.
        separation: Replacement for the default L_sep, called with masks.
        mutual: Replacement for the default L_kl, called with logits and target logits.

    Shape:
        output of b pairs, identities b -> :class:`LossOutput` with the terms ``identity``, ``modality_identity``,
        ``center_cluster``, ``separation`` and ``mutual``.

    Raises:
        ValueError: If a weight is out of its range, the shapes do not match, or (on a CPU) a label has no logit.
        TypeError: If the output lacks a field that a term needs.

    Example:
        >>> from types import SimpleNamespace
        >>> fields = ["visible_logits", "infrared_logits", "visible_own_logits", "infrared_own_logits"]
        >>> logits = dict.fromkeys([*fields, "visible_mean_logits", "infrared_mean_logits"], torch.zeros(4, 2))
        >>> embeddings = torch.rand(4, 8)
        >>> output = SimpleNamespace(visible=embeddings, infrared=embeddings, masks=torch.rand(8, 6, 6, 3), **logits)
        >>> list(MPANetLoss()(output, torch.tensor([0, 0, 1, 1])).terms)
        ['identity', 'modality_identity', 'center_cluster', 'separation', 'mutual']

    References:
        Wu et al., Discover Cross-Modality Nuances for Visible-Infrared Person Re-Identification, CVPR 2021.
    """

    def __init__(
        self,
        *,
        modality_identity_weight: float = 1.0,
        center_cluster_weight: float = 1.0,
        separation_weight: float = 0.5,
        mutual_weight: float = 2.5,
        center_cluster: nn.Module | None = None,
        separation: nn.Module | None = None,
        mutual: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_parts(center_cluster=center_cluster, separation=separation, mutual=mutual)
        self.modality_identity_weight = check_number("modality_identity_weight", modality_identity_weight, least=0)
        self.center_cluster_weight = check_number("center_cluster_weight", center_cluster_weight, least=0)
        self.separation_weight = check_number("separation_weight", separation_weight, least=0)
        self.mutual_weight = check_number("mutual_weight", mutual_weight, least=0)
        self.identity = IdentityLoss()
        self.center_cluster = center_cluster or CenterClusterLoss()
        self.separation = separation or MaskSeparationLoss()
        self.mutual = mutual or MutualLearningLoss()

    def forward(self, output: Any, identities: Tensor) -> LossOutput:
        """Compute every term and their sum."""
        v, r, v_logits, r_logits = read_fields(output, "visible", "infrared", "visible_logits", "infrared_logits")
        check_identities("identities", identities, r)
        whole = f"have the rows of one or more views of the {len(r)} pairs"
        require(len(v) % len(r) == 0, "output.visible", whole, tuple(v.shape))
        v_identities = identities.repeat(len(v) // len(r))
        both = torch.cat([v_identities, identities])
        own = read_fields(output, "visible_own_logits", "infrared_own_logits")

        terms = {"identity": self.identity(torch.cat([v_logits, r_logits]), both)}
        if self.modality_identity_weight:
            of_modalities = self.identity(own[0], v_identities) + self.identity(own[1], identities)
            terms["modality_identity"] = self.modality_identity_weight * of_modalities
        if self.center_cluster_weight:
            terms["center_cluster"] = self.center_cluster_weight * self.center_cluster(torch.cat([v, r]), both)
        if self.separation_weight:
            terms["separation"] = self.separation_weight * self.separation(*read_fields(output, "masks"))
        if self.mutual_weight:
            targets = read_fields(output, "visible_mean_logits", "infrared_mean_logits")
            terms["mutual"] = self.mutual_weight * self.mutual(torch.cat(own), torch.cat(targets))
        return LossOutput.from_terms(terms)

    def extra_repr(self) -> str:
        """Name the weights."""
        return (
            f"modality_identity_weight={self.modality_identity_weight}, "
            f"center_cluster_weight={self.center_cluster_weight}, separation_weight={self.separation_weight}, "
            f"mutual_weight={self.mutual_weight}"
        )


def check_masks(masks: Tensor) -> Tensor:
    """Require masks b p h w and return them in float32 or wider."""
    check_tensor("masks", masks)
    shape = tuple(masks.shape)
    require(len(shape) == 4 and min(shape) > 0, "masks", "have shape (b, p, h, w)", shape)
    require(masks.is_floating_point(), "masks", "be floating point", masks.dtype, error=TypeError)
    return widen(masks)
