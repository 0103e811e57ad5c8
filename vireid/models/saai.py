"""SAAI's network, as a difference from MPANet's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from vireid._checks import check_integer
from vireid.models.auxiliary import Fixed, Start
from vireid.models.backbone import TwoStreamBackbone
from vireid.models.embedder import TwoStreamEmbedder
from vireid.models.head import DualBNNeck
from vireid.models.mpanet import MPANet, create_stream
from vireid.models.parts import PrototypePartPooling


def create_saai(
    num_identities: int,
    backbone: str | TwoStreamBackbone | Sequence[Any] = "resnet50",
    *,
    pretrained: bool = False,
    image_size: tuple[int, int] | None = None,
    parts: int = 7,
    style_gates: int = 2,
    generator: nn.Module | Start | Fixed | None = None,
) -> MPANet:
    """Create SAAI's network: MPANet's with prototypes in place of masks, a neck for each modality and slower averages.

    Args:
        num_identities: Number of training identities n.
        backbone: Backbone, as in :func:`create_mpanet`.
        pretrained: Whether to load timm's weights of a named backbone from the hub.
        image_size: Size (height, width) of the images in pixels; by default (288, 144), or that of the backbone.
        parts: Number of parts p.
        style_gates: Number of last stages of a named backbone that end in a :class:`ModalityAlleviation`; 2 in SAAI, 0
            for it on RegDB.
        generator: Generator of an auxiliary modality or its start, as in :class:`AuxiliaryBranch`; None for none.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> create_saai(10, "test_resnet", image_size=(96, 48)).embedding_dim  # 7 parts and the mean, of 96 channels
        768

    References:
        Fang et al., Visible-Infrared Person Re-Identification via Semantic Alignment and Affinity Inference, ICCV 2023.
    """
    num_identities = check_integer("num_identities", num_identities, least=1)
    parts = check_integer("parts", parts, least=1)
    stream = create_stream(backbone, pretrained=pretrained, image_size=image_size, style_gates=style_gates).eval()
    image = next(stream.parameters(), torch.empty(0)).new_zeros(1, 3, *stream.preprocessing["size"])
    with torch.no_grad():
        _, channels, *size = stream.backbone.shared_stages(stream.backbone.first_stages(image, "visible")).shape
    pool, neck = PrototypePartPooling(channels, (size[0], size[1]), parts=parts), DualBNNeck((parts + 1) * channels)
    embedder = TwoStreamEmbedder(stream.backbone.train(), pool, neck, preprocessing=stream.preprocessing)
    return MPANet(num_identities, embedder, rate=0.02, generator=generator)
