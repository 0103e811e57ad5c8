"""Style-gated instance normalisation, the modality alleviation module of MPANet."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vireid._checks import check_integer, check_like_weights, check_tensor, require


class ModalityAlleviation(nn.Module):
    """Normalise the channels of each image's map as far as a gate says that they carry the style of a modality.

    A gate g in (0, 1) for each channel mixes the map and its instance normalisation, g·X + (1 − g)·IN(X). It comes from
    the channels' means by two point-wise layers without bias. The normalisation has neither weights nor running
    statistics. ``create_backbone(style_gates=2)`` adds one behind each of the last two stages, as in MPANet.

    Args:
        channels: Number of channels c of the map.
        reduction: Factor by which the inner layer of the gate is narrower; 16 in MPANet.

    Shape:
        b c h w -> b c h w, with at least two positions.

    Raises:
        ValueError: If an argument is out of range, or the map has another shape or device.
        TypeError: If an argument is not an integer, or the map has another type than the weights.

    Example:
        >>> feature_map = torch.rand(2, 8, 4, 2)
        >>> gate = ModalityAlleviation(8)
        >>> torch.nn.init.zeros_(gate.gate[2].weight).shape  # g = 1/2
        torch.Size([8, 1, 1, 1])
        >>> gate(feature_map).mean((2, 3)).allclose(feature_map.mean((2, 3)) / 2, atol=1e-6)
        True

    References:
        Wu et al., Discover Cross-Modality Nuances for Visible-Infrared Person Re-Identification, CVPR 2021.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.channels = check_integer("channels", channels, least=1)
        inner = max(1, self.channels // check_integer("reduction", reduction, least=1))
        self.gate = nn.Sequential(
            nn.Conv2d(self.channels, inner, 1, bias=False), nn.ReLU(), nn.Conv2d(inner, self.channels, 1, bias=False)
        )

    def forward(self, feature_map: Tensor) -> Tensor:
        """Compute g·X + (1 − g)·IN(X), g = sigmoid(W₂ relu(W₁ mean(X)))."""
        check_tensor("feature_map", feature_map)
        shape = tuple(feature_map.shape)
        fits = len(shape) == 4 and shape[1] == self.channels and shape[2] * shape[3] > 1
        require(fits, "feature_map", f"have shape (b, {self.channels}, h, w) with two positions or more", shape)
        check_like_weights("feature_map", feature_map, self.gate[0].weight)  # type: ignore[arg-type]
        gate = torch.sigmoid(self.gate(feature_map.mean((2, 3), keepdim=True)))  # b c 1 1
        return gate * feature_map + (1 - gate) * F.instance_norm(feature_map)
