"""What tells whether an auxiliary modality is alive: a collapsed one costs accuracy without raising any error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vireid._checks import check_embeddings, check_identities, check_type
from vireid.distances import pairwise_distances
from vireid.losses.alignment import IdentityAlignmentLoss
from vireid.losses.centers import identity_centers
from vireid.losses.identity import IdentityConsistencyLoss
from vireid.losses.outputs import read_fields


@torch.no_grad()
def describe_auxiliary(
    output: object, identities: Tensor, *, identity_alignment: IdentityAlignmentLoss | None = None
) -> dict[str, Tensor]:
    """Describe the auxiliary modality of a training batch; nothing waits for a GPU, and no gradient is computed.

    A generator that collapses makes all Z^a alike: L_idc then stays at chance, the spread of Z^a shrinks and the hinges
    of L_ia stay active, which pulls Z^v and Z^r to one point. Random initial weights in front of pretrained shared
    stages do that (A38 in the paper notes).

    Args:
        output: Output of a network with an auxiliary modality, such as :class:`~vireid.models.MUNOutput`, with the
            fields ``visible``, ``infrared`` and ``auxiliary`` (b d), ``auxiliary_visible_logits`` and
            ``auxiliary_infrared_logits`` (b n), and the three maps (b c h w) if it has them.
        identities: Identities of the pairs.
        identity_alignment: L_ia with your margin; by default that of MUN.

    Returns:
        Scalars by name: ``consistency`` is L_idc over its value 2 ln n of a guess; ``spread_…`` is the mean distance
        between identity centres of each modality; ``active_hinges`` is the share of identities with an active hinge of
        L_ia; ``map_mean_…`` and ``map_std_…`` describe F^v, F^r and F^a.

    Raises:
        ValueError: If the shapes do not match.
        TypeError: If the output lacks a field, or an argument has the wrong type.

    Example:
        >>> from vireid import MUN
        >>> network = MUN(num_identities=10, backbone="test_resnet", image_size=(96, 48))
        >>> output = network(*torch.rand(2, 4, 3, 96, 48))
        >>> found = describe_auxiliary(output, torch.tensor([0, 0, 3, 3]))
        >>> [*found][:4], bool(found["consistency"] > 0)
        (['consistency', 'spread_visible', 'spread_infrared', 'spread_auxiliary'], True)

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """
    alignment = IdentityAlignmentLoss() if identity_alignment is None else identity_alignment
    check_type("identity_alignment", alignment, IdentityAlignmentLoss, "be an IdentityAlignmentLoss")
    names = ("visible", "infrared", "auxiliary")
    embeddings = dict(zip(names, read_fields(output, *names), strict=True))
    logits = read_fields(output, "auxiliary_visible_logits", "auxiliary_infrared_logits")
    check_embeddings("auxiliary", embeddings["auxiliary"])
    check_identities("identities", identities, embeddings["auxiliary"])
    pairs = {name: rows[: len(identities)] for name, rows in embeddings.items()}  # of several views the first
    visible, infrared, auxiliary = pairs.values()
    guess = 2 * math.log(max(2, logits[0].shape[1]))
    found = {"consistency": IdentityConsistencyLoss()(*logits, identities) / guess}
    found |= {f"spread_{name}": _spread(rows, identities) for name, rows in pairs.items()}
    found["active_hinges"] = alignment.active_share(visible, infrared, auxiliary, identities)
    for name in names:
        feature_map = getattr(output, f"{name}_map", None)
        if isinstance(feature_map, Tensor):
            found |= {f"map_mean_{name}": feature_map.float().mean(), f"map_std_{name}": feature_map.float().std()}
    return found


def _spread(rows: Tensor, identities: Tensor) -> Tensor:
    """Compute the mean distance between the centres of two identities."""
    centers, counts = identity_centers(rows, identities)
    weight = (identities[:, None] != identities) / (counts[:, None] * counts)
    return (weight * pairwise_distances(centers, centers)).sum() / weight.sum()
