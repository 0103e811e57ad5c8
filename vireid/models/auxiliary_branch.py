"""MUN's auxiliary modality as one part, which any network of two maps can take."""

from __future__ import annotations

import inspect
from typing import cast, get_args

from torch import Tensor, nn

from vireid._checks import check_choice, check_tensor, check_type, require
from vireid.models.auxiliary import AuxiliaryGenerator, Fixed, FixedGenerator, Start
from vireid.models.batchnorm import AuxiliaryBatchNorm
from vireid.models.embedder import TwoStreamEmbedder


class AuxiliaryBranch(nn.Module):
    """Generate the auxiliary modality of a batch and embed it behind the cut of an embedder.

    The branch owns the generator and the auxiliary batch-norm statistics of the shared stages and the neck. All other
    weights are those of the embedder, which is passed again in each call, so that they have one owner.
    :class:`TwoStreamBaseline` and the networks of further methods build a branch from their argument ``generator``;
    :class:`MUN` has the same parts under the names that its checkpoints know.

    Args:
        embedder: Embedder whose shared stages, pooling and neck embed the auxiliary map.
        generator: Module from F^v and F^r, b c h w each, to F^a of the same shape; or the ``start`` of an
            :class:`AuxiliaryGenerator` with the paper's settings, ``"inputs"`` for pretrained shared stages; or the map
            of a :class:`FixedGenerator`, a control.

    Shape:
        visible_map b c h w, infrared_map b c h w -> auxiliary map b c h w, pooled embeddings b d, the same behind the
        neck b d. With v views, v · b visible maps, the map is made from the first b.

    Raises:
        ValueError: If the maps do not pair.
        TypeError: If an argument has the wrong type.

    Example:
        >>> import torch
        >>> from vireid.models import create_backbone
        >>> embedder = TwoStreamEmbedder(create_backbone("test_resnet", image_size=(96, 48)))
        >>> branch = AuxiliaryBranch(embedder)
        >>> auxiliary_map, pooled, normalised = branch(embedder, *torch.rand(2, 4, 32, 24, 12))
        >>> auxiliary_map.shape, pooled.shape
        (torch.Size([4, 32, 24, 12]), torch.Size([4, 96]))

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(self, embedder: TwoStreamEmbedder, generator: nn.Module | Start | Fixed = "random") -> None:
        super().__init__()
        check_type("embedder", embedder, TwoStreamEmbedder, "be a TwoStreamEmbedder")
        self.generator = create_generator(generator, embedder.backbone.cut_channels)
        self.batchnorm = nn.ModuleList(
            AuxiliaryBatchNorm(part) for part in (embedder.backbone.shared_stages, embedder.neck)
        )

    def forward(
        self, embedder: TwoStreamEmbedder, visible_map: Tensor, infrared_map: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute F^a, Z^a and Z^a behind the neck from F^v and F^r."""
        check_type("embedder", embedder, TwoStreamEmbedder, "be a TwoStreamEmbedder")
        channels = embedder.backbone.cut_channels
        for argument, feature_map in (("visible_map", visible_map), ("infrared_map", infrared_map)):
            check_tensor(argument, feature_map)
            shape = tuple(feature_map.shape)
            require(len(shape) == 4 and shape[1] == channels, argument, f"have shape (b, {channels}, h, w)", shape)
        check_views("infrared_map", infrared_map, "visible_map", visible_map)
        stages_batchnorm, neck_batchnorm = self.batchnorm
        auxiliary_map = self.generator(visible_map[: len(infrared_map)], infrared_map)
        pooled = embedder.pool(stages_batchnorm(embedder.backbone.shared_stages, auxiliary_map))
        return auxiliary_map, pooled, neck_batchnorm(embedder.neck, pooled)


def compute_first_maps(
    embedder: TwoStreamEmbedder, branch: AuxiliaryBranch | None, visible: Tensor, infrared: Tensor
) -> tuple[Tensor, Tensor]:
    """Check the images of a training batch, which must pair if there is a branch, and compute F^v and F^r."""
    embedder.check_images("visible", visible)
    embedder.check_images("infrared", infrared)
    if branch is not None:
        check_views("infrared", infrared, "visible", visible)
    return embedder.backbone.first_maps(visible, infrared)


def check_views(argument: str, infrared: Tensor, other: str, visible: Tensor) -> None:
    """Require as many infrared as visible images or maps, or as many as one of several views of the visible ones."""
    rows, shape = len(infrared), tuple(visible.shape)
    fits = rows > 0 and shape[0] % rows == 0 and infrared.shape[1:] == shape[1:]
    require(fits, argument, f"have the shape of {other}, {shape}, or of one of its views", tuple(infrared.shape))


def create_generator(generator: nn.Module | Start | Fixed, channels: int) -> nn.Module:
    """Return a generator, made from the name of its start or of its map if it is none yet."""
    names = (*get_args(Start), *get_args(Fixed))
    rule = f"be a module of two feature maps, or one of {', '.join(map(repr, names))}"
    if isinstance(generator, str):
        check_choice("generator", generator, names, rule)
        if generator in ("random", "inputs"):
            return AuxiliaryGenerator(channels, start=generator)
        return FixedGenerator(cast("Fixed", generator))
    check_type("generator", generator, nn.Module, rule)
    parameters = inspect.signature(generator.forward)
    try:
        parameters.bind(None, None)
    except TypeError:
        found = f"{type(generator).__name__}, whose forward takes {parameters}"
        require(False, "generator", rule, found, error=TypeError)
    return generator
