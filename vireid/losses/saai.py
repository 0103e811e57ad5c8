"""The diversity of SAAI's parts. Its other losses are those of MPANet with other settings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vireid.losses.mpanet import check_masks


class AttentionDiversityLoss(nn.Module):
    """Reward parts whose attention differs: minus the root mean square difference of every two masks.

    The mean is over the positions under the root, then over the pairs and the images, so the value is from −1 to 0 and
    does not depend on the size of the image.

    Shape:
        masks b p h w -> scalar; zero for a single mask.

    Raises:
        ValueError: If the masks have another shape.
        TypeError: If the masks are not floating point.

    Example:
        >>> masks = torch.tensor([[[[0.0, 0.0]], [[0.6, 0.8]]]])
        >>> AttentionDiversityLoss()(masks)  # −√((0.6² + 0.8²) / 2)
        tensor(-0.7071)

    References:
        Fang et al., Visible-Infrared Person Re-Identification via Semantic Alignment and Affinity Inference, ICCV 2023.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, masks: Tensor) -> Tensor:
        """−√(mean over positions of (a_i − a_j)²), the mean over the pairs i < j and the images."""
        rows = check_masks(masks).flatten(2)  # b p (h w)
        parts, positions = rows.shape[1:]
        i, j = torch.triu_indices(parts, parts, 1, device=rows.device)
        distances = torch.linalg.vector_norm(rows[:, i] - rows[:, j], dim=2)  # b pairs; its gradient is zero at zero
        mean: Tensor = distances.sum() / (len(rows) * max(1, len(i)) * positions**0.5)
        return -mean
