"""Two-stream backbones from timm (Sec. 3, Fig. 2): first stages of each modality's own, later stages shared.

A timm network is taken apart into the sequence of its modules, cut after the modality-specific stages, and put
together again as two halves. That the halves compute what timm's network computes is verified on one image whenever a
backbone is created. timm is imported only here.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from vireid._checks import check_choice, require
from vireid.modality import Modality


class TwoStreamBackbone(nn.Module):
    """Modality-specific first stages and shared later stages; made by :func:`create_backbone`.

    The halves can be taken alone, to put something of one's own between them: ``first_stages(images, modality)`` gives
    the map at the cut and ``shared_stages(feature_map)`` the last one. Both streams start with equal weights.

    Args:
        first_stages: from images to maps; the visible stream. The infrared stream is a copy.
        shared_stages: from the maps at the cut to the last maps.
        cut_channels: c of the maps at the cut.
        out_channels: d of the last maps.

    Shape:
        b 3 H W, b 3 H W -> b d h w, b d h w.

    Example:
        >>> backbone = create_backbone("test_resnet", image_size=(96, 48))
        >>> visible_map, infrared_map = backbone(*torch.rand(2, 4, 3, 96, 48))
        >>> visible_map.shape
        torch.Size([4, 96, 6, 3])
    """

    def __init__(
        self, first_stages: nn.Module, shared_stages: nn.Module, *, cut_channels: int, out_channels: int
    ) -> None:
        super().__init__()
        self.visible_stages = first_stages
        self.infrared_stages = copy.deepcopy(first_stages)
        self.shared_stages = shared_stages
        self.cut_channels = cut_channels
        self.out_channels = out_channels

    def first_stages(self, images: Tensor, modality: Modality | str) -> Tensor:
        """Images b 3 H W of one modality -> their map at the cut, b c h w."""
        stages = self.visible_stages if Modality.of(modality) is Modality.VISIBLE else self.infrared_stages
        feature_map: Tensor = stages(images)
        return feature_map

    def forward(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        """Both modalities through their own stages, then together through the shared ones."""
        maps = [self.first_stages(visible, Modality.VISIBLE), self.first_stages(infrared, Modality.INFRARED)]
        visible_map, infrared_map = self.shared_stages(torch.cat(maps)).split([len(visible), len(infrared)])
        return visible_map, infrared_map


def create_backbone(
    name: str = "resnet50",
    *,
    modality_specific_stages: int = 1,
    pretrained: bool = False,
    checkpoint: str | Path | None = None,
    last_stride: Literal[1, 2] = 1,
    image_size: tuple[int, int] = (288, 144),
) -> TwoStreamBackbone:
    """Create a two-stream backbone from a timm network.

    Args:
        name: of a timm network, such as ``"resnet50"``.
        modality_specific_stages: how many stages each modality has of its own, beside the stem. MUN's 1 is stem and
            layer1 of a ResNet (A1); AGW's 0 is the stem alone. The stem ends where the first
            stage of stride 4 begins.
        pretrained: load timm's weights from the hub.
        checkpoint: load weights from a local file instead.
        last_stride: 1 keeps the map of the last stage as large as the one before, without dilation, as the field does
            (A14); 2 leaves the network as timm builds it.
        image_size: (height, width) of the images, pixels.

    Raises:
        ValueError: timm knows no such network, it cannot be cut there, its last stride cannot be 1, or it cannot take
            images of this size.
        FileNotFoundError: the weights are not there.

    Example:
        >>> create_backbone("test_resnet", image_size=(96, 48)).cut_channels
        32
    """
    check_choice("backbone", name.partition(".")[0], timm.list_models(), "be a timm model")
    require(last_stride in {1, 2}, "last_stride", "be 1 or 2", last_stride)
    model = _create_model(name, pretrained, checkpoint, last_stride, image_size)
    steps = list(_steps(model))
    cut = _find_cut(name, model, [step for step, _ in steps], modality_specific_stages)
    first, shared = (nn.Sequential(OrderedDict(half)) for half in (steps[:cut], steps[cut:]))
    cut_map, last_map = _verify(name, model, first, shared, image_size)
    cut_channels = cut_map.shape[1]
    if last_map.shape[1] != model.num_features:  # b h w c, as the hierarchical transformers have it
        cut_channels = cut_map.shape[3]
        first = nn.Sequential(first, _ToChannelsFirst())
        shared = nn.Sequential(_ToChannelsLast(), shared, _ToChannelsFirst())
    model.train()
    return TwoStreamBackbone(first, shared, cut_channels=cut_channels, out_channels=model.num_features)


class _ToChannelsFirst(nn.Module):
    def forward(self, feature_map: Tensor) -> Tensor:
        return feature_map.permute(0, 3, 1, 2)  # b h w c -> b c h w


class _ToChannelsLast(nn.Module):
    def forward(self, feature_map: Tensor) -> Tensor:
        return feature_map.permute(0, 2, 3, 1)  # b c h w -> b h w c


_HEAD = {"global_pool", "head", "head_drop", "fc", "fc_norm", "classifier", "attn_pool"}  # what follows the last map
_CONTAINERS = {"stages", "layers", "blocks", "features"}  # whose children are steps of their own
_SPLITTABLE = "Networks that are a sequence of stages can be: resnet, convnext, efficientnet, regnet, swin and others."


def _create_model(
    name: str, pretrained: bool, checkpoint: str | Path | None, last_stride: int, image_size: tuple[int, int]
) -> Any:
    weights: dict[str, Any] = {"pretrained": pretrained}
    if checkpoint is not None:
        require(Path(checkpoint).is_file(), "checkpoint", "be a file", str(checkpoint), error=FileNotFoundError)
        weights = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(checkpoint)}}
    strides: list[dict[str, Any]] = [{"output_stride": 16}] if last_stride == 1 else [{}]
    for options in ({**stride, **size} for size in ({"img_size": image_size}, {}) for stride in strides):
        try:
            model: Any = timm.create_model(name, num_classes=0, **weights, **options)
        except TypeError:  # families differ in the options that they know
            continue
        if last_stride == 1:
            _remove_dilation(model)
        return model
    rule = f"be 2 for {name}, whose last stride timm cannot change"
    raise ValueError(f"last_stride must {rule}, got {last_stride!r}.")


def _remove_dilation(model: nn.Module) -> None:
    """Keep the larger map that timm's ``output_stride`` gives, without the dilated kernels it gives it with."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and max(module.dilation) > 1:
            module.dilation = (1, 1)
            module.padding = tuple((size - 1) // 2 for size in module.kernel_size)


def _steps(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that a network runs one after the other up to its last map, by names without dots."""
    for name, module in model.named_children():
        if name in _HEAD:
            return
        if name in _CONTAINERS:
            yield from ((f"{name}_{child}", step) for child, step in module.named_children())
        elif not isinstance(module, nn.Identity):
            yield name, module


def _find_cut(name: str, model: Any, steps: list[str], stages: int) -> int:
    """Index of the first shared step."""
    ends = [info["module"].replace(".", "_") for info in model.feature_info if info["reduction"] >= 4]
    require(set(ends[:-1]) <= set(steps), "backbone", f"be a sequence of stages {ends}", name, _SPLITTABLE)
    rule = f"be from 0 to {len(ends) - 1}, so that a stage of {name} is left to share"
    require(0 <= stages < len(ends), "modality_specific_stages", rule, stages)
    return steps.index(ends[stages - 1]) + 1 if stages else steps.index(ends[0])


@torch.no_grad()
def _verify(
    name: str, model: Any, first: nn.Module, shared: nn.Module, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Require that the halves, in evaluation mode, compute what ``model`` does; return the maps that they give."""
    height, width = image_size
    image = torch.linspace(-2, 2, 3 * height * width).view(1, 3, height, width)
    model.eval()
    try:
        expected = model.forward_features(image)
    except (RuntimeError, AssertionError, ValueError) as error:
        remedy = "256×128 and 384×192 suit most networks."
        raise ValueError(f"image_size must suit {name} ({error}), got {image_size}. {remedy}") from error
    try:
        cut_map = first(image)
        last_map = shared(cut_map)
        same = expected.ndim == 4 and torch.allclose(last_map, expected, rtol=1e-3, atol=1e-5)
    except (RuntimeError, TypeError, ValueError):
        same = False
    require(same, "backbone", "run its stages one after the other on feature maps", name, _SPLITTABLE)
    return cut_map, last_map
