"""Two-stream backbones from timm (Sec. 3, Fig. 2): first stages of each modality's own, later stages shared.

The modules that a timm network runs one after the other up to the cut become the first half; the network itself, with
nothing in their places, is the second. That the halves compute what the whole did is verified on one image whenever a
backbone is created. timm is imported only here.
"""

from __future__ import annotations

import copy
import itertools
import pickle
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from timm.models import load_state_dict
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vireid._checks import check_choice, check_integer, check_size, check_type, require
from vireid.modality import Modality
from vireid.models.non_local import NonLocalBlock


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

    config: dict[str, Any] | None  # the arguments of create_backbone, None for halves of one's own

    def __init__(
        self, first_stages: nn.Module, shared_stages: nn.Module, *, cut_channels: int, out_channels: int
    ) -> None:
        super().__init__()
        self.visible_stages = first_stages
        self.infrared_stages = copy.deepcopy(first_stages)
        self.shared_stages = shared_stages
        self.cut_channels = cut_channels
        self.out_channels = out_channels
        self.config = None

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
    non_local: bool | Mapping[int, int] = False,
) -> TwoStreamBackbone:
    """Create a two-stream backbone from a timm network.

    Args:
        name: of a timm network, such as ``"resnet50"``.
        modality_specific_stages: how many stages each modality has of its own, beside the stem. MUN's 1 is stem and
            layer1 of a ResNet (A1); AGW's 0 is the stem alone. The stem ends where the first stage of stride 4 begins.
            Of a plain vision transformer it is the number of blocks; its class and register tokens join at the cut.
        pretrained: load timm's weights from the hub.
        checkpoint: load weights from a local file instead.
        last_stride: 1 keeps the map of the last stage as large as the one before, without dilation, as the field does
            (A14); 2 leaves the network as timm builds it. A plain vision transformer has no such stride.
        image_size: (height, width) of the images, pixels.
        non_local: where :class:`NonLocalBlock` stands: True behind the last two blocks of the second stage and the last
            three of the third, as in AGW; or a mapping from the number of a stage, from 1, to how many of its blocks.

    Raises:
        ValueError: timm knows no such network, it cannot be cut there, its last stride cannot be 1, or it cannot take
            images of this size.
        FileNotFoundError: the weights are not there.

    Example:
        >>> create_backbone("test_resnet", image_size=(96, 48)).cut_channels
        32
    """
    require(isinstance(name, str), "backbone", "be a name", name, error=TypeError)
    check_choice("backbone", name.partition(".")[0], timm.list_models(), "be a timm model")
    require(last_stride in {1, 2}, "last_stride", "be 1 or 2", last_stride)
    image_size = check_size("image_size", image_size)
    behind = _check_non_local(non_local)
    network = _create_network(name, pretrained, checkpoint, last_stride, image_size).eval()
    image = torch.linspace(-2, 2, 3 * image_size[0] * image_size[1]).view(1, 3, *image_size)
    expected = _run(name, network, image)
    split = _split_tokens if isinstance(network, VisionTransformer) else _split_maps
    _insert_non_local(name, network, behind, image, expected)
    first, shared, expected = split(name, network, modality_specific_stages, expected)
    cut_channels = _verify(name, first, shared, image, expected)
    backbone = TwoStreamBackbone(first, shared, cut_channels=cut_channels, out_channels=expected.shape[1])
    backbone.config = {
        "name": name,
        "modality_specific_stages": modality_specific_stages,
        "last_stride": last_stride,
        "image_size": list(image_size),
        "non_local": {str(stage): number for stage, number in behind.items()},
    }
    return backbone.train()


class _Remainder(nn.Module):
    """A timm network in which nothing stands in the places of the first modules and of the head."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, feature_map: Tensor) -> Tensor:
        last_map: Tensor = self.network.forward_features(feature_map)
        return last_map


class _FirstTokens(nn.Module):
    """Patch embedding and first blocks of a vision transformer, without class and register tokens."""

    def __init__(self, stem: Any, blocks: nn.Sequential) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.lacks_tokens = len(blocks) > 0 and stem.num_prefix_tokens > 0
        for name, parameter in stem.named_parameters():
            parameter.requires_grad_(name not in {"cls_token", "reg_token"})

    def forward(self, images: Tensor) -> Tensor:
        size = tuple(self.stem.patch_embed.img_size)
        require(tuple(images.shape[2:]) == size, "images", f"be of image_size {size}", tuple(images.shape[2:]))
        tokens = self.stem.forward_features(images)[:, self.stem.num_prefix_tokens :]
        return _to_map(self.blocks(tokens), *self.stem.patch_embed.grid_size)


class _RemainingTokens(nn.Module):
    """The other blocks of a vision transformer, with its class and register tokens."""

    def __init__(self, prefix: Tensor, blocks: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.prefix = nn.Parameter(prefix) if prefix.shape[1] else None
        self.blocks = blocks
        self.norm = norm

    def forward(self, feature_map: Tensor) -> Tensor:
        tokens = feature_map.flatten(2).transpose(1, 2)  # b c h w -> b (h w) c
        patches = tokens.shape[1]
        if self.prefix is not None:
            tokens = torch.cat([self.prefix.expand(len(tokens), -1, -1), tokens], dim=1)
        return _to_map(self.norm(self.blocks(tokens))[:, -patches:], *feature_map.shape[2:])


class _Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, feature_map: Tensor) -> Tensor:
        return feature_map.permute(self.order)


def _to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)  # b (h w) c -> b c h w


_HEAD = {
    "global_pool",
    "head",
    "head_drop",
    "fc",
    "fc_norm",
    "classifier",
    "attn_pool",
    "pre_logits",
}  # what follows the last map
_CONTAINERS = {"stages", "layers", "blocks", "features"}  # whose children are steps of their own
_SPLITTABLE = "Networks of these families split: resnet, convnext, efficientnet, mobilenetv4, regnet, hrnet, swin, vit."


def _create_network(
    name: str, pretrained: bool, checkpoint: str | Path | None, last_stride: int, image_size: tuple[int, int]
) -> Any:
    weights: dict[str, Any] = {"pretrained": pretrained}
    if checkpoint is not None:
        require(Path(checkpoint).is_file(), "checkpoint", "be a file", str(checkpoint), error=FileNotFoundError)
        weights = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(checkpoint)}}
    strides: list[dict[str, Any]] = [{"output_stride": 16}, {}] if last_stride == 1 else [{}]
    sizes: list[dict[str, Any]] = [{"img_size": image_size}, {}]
    for stride, size in itertools.product(strides, sizes):
        try:
            network = timm.create_model(name, num_classes=0, **weights, **stride, **size)
        except (TypeError, AssertionError, NotImplementedError):  # families differ in the options that they know
            continue
        except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            if not weights["pretrained"]:
                raise
            where = f"the hub has for {name}" if checkpoint is None else f"fit {name}, from {str(checkpoint)!r}"
            remedy = "checkpoint=… takes a local file, and pretrained=False none."
            raise FileNotFoundError(f"weights must be some that {where}, got {error}. {remedy}") from error
        if checkpoint is not None:
            _check_loaded(name, network, checkpoint)
        if stride:
            _remove_dilation(network)
        elif last_stride == 1:
            _remove_last_stride(name, network)
        return network
    raise ValueError(f"backbone must be a network for images of {image_size}, got {name!r}. {_SPLITTABLE}")


def _check_loaded(name: str, network: nn.Module, checkpoint: str | Path) -> None:
    """Require that the weights are those of the file: timm skips what it does not find there.

    timm may rename, reshape and resize weights, so they are told by their sum; one in ten may be of another size.
    """
    sums = {
        round(value.double().sum().item(), 6) for value in load_state_dict(str(checkpoint), weights_only=True).values()
    }
    values = [value for value in network.state_dict().values() if value.is_floating_point()]
    found = sum(round(value.double().sum().item(), 6) in sums for value in values)
    rule = f"hold the weights of {name}"
    require(found >= 0.9 * len(values), "checkpoint", rule, f"{found} of its {len(values)} in {checkpoint!s}")


def _remove_dilation(network: nn.Module) -> None:
    """Keep the larger map that timm's ``output_stride`` gives, without the dilated kernels it gives it with."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and max(module.dilation) > 1:
            module.dilation = (1, 1)
            if not isinstance(module.padding, str):
                module.padding = tuple((size - 1) // 2 for size in module.kernel_size)


def _remove_last_stride(name: str, network: Any) -> None:
    """Let the last stage keep the size of the map, in a network of a family that does not know ``output_stride``."""
    *_, before, last = network.feature_info
    if before["reduction"] == last["reduction"]:
        return
    steps = _steps(network)
    later = itertools.dropwhile(lambda step: step != before["module"], steps)
    stage = [module for step in list(later)[1:] for module in steps[step].modules()]
    if any(isinstance(module, nn.ModuleList) for module in steps.values()):  # parallel branches, as in HRNet
        stage = []
    strided = [m for m in stage if isinstance(m, nn.Conv2d) and max(m.stride) > 1 and min(m.kernel_size) > 2]
    require(len(strided) > 0, "last_stride", f"be 2 for {name}, whose last stage reduces otherwise than by stride", 1)
    for convolution in strided:
        convolution.stride = (1, 1)


def _steps(network: nn.Module) -> dict[str, nn.Module]:
    """The modules of a network in the order in which they run, up to its last map, by their names."""
    steps: dict[str, nn.Module] = {}
    for name, module in network.named_children():
        if name in _HEAD:
            break
        if name in _CONTAINERS:
            steps |= {f"{name}.{child}": step for child, step in module.named_children()}
        else:
            steps[name] = module
    return steps


@torch.no_grad()
def _run(name: str, network: Any, image: Tensor) -> Tensor:
    size = tuple(image.shape[2:])
    try:
        result: Tensor = network.forward_features(image)
    except (RuntimeError, AssertionError, ValueError) as error:
        remedy = "256×128 and 384×192 suit most networks; last_stride=2 may help as well."
        raise ValueError(f"image_size must suit {name} ({error}), got {size}. {remedy}") from error
    return result


def _split_maps(name: str, network: Any, stages: int, expected: Tensor) -> tuple[nn.Module, nn.Module, Tensor]:
    """Cut a network whose stages hand on maps; also return the last map as b c h w."""
    steps = _steps(network)
    ends = _stage_ends(network)
    _check_stages(name, stages, len(ends) - 1)
    boundary = ends[max(stages - 1, 0)]
    require(boundary in steps, "backbone", f"run its stages {', '.join(ends)} one after the other", name, _SPLITTABLE)
    own = list(steps)[: list(steps).index(boundary) + (stages > 0)]
    first: nn.Module = nn.Sequential(OrderedDict((step.replace(".", "_"), steps[step]) for step in own))
    _empty(network, own)
    _empty_head(network)
    shared: nn.Module = _Remainder(network)
    if expected.ndim == 4 and expected.shape[1] != network.num_features:  # b h w c, as in swin
        first = nn.Sequential(first, _Permute(0, 3, 1, 2))
        shared = nn.Sequential(_Permute(0, 2, 3, 1), shared, _Permute(0, 3, 1, 2))
        expected = expected.permute(0, 3, 1, 2)
    return first, shared, expected


def _stage_ends(network: Any) -> list[str]:
    """Names of the modules with which the stages end, the first of stride 4."""
    names = {"stage1": "layer1"}  # HRNet's module has another name than its stage
    return [names.get(info["module"], info["module"]) for info in network.feature_info if info["reduction"] >= 4]


def _check_non_local(non_local: bool | Mapping[int, int]) -> dict[int, int]:
    if isinstance(non_local, bool):
        return {2: 2, 3: 3} if non_local else {}
    check_type("non_local", non_local, Mapping, "be True, False or a mapping from stages to numbers of blocks")
    return {
        check_integer("non_local", int(stage) if isinstance(stage, str) and stage.isdigit() else stage, least=1): (
            check_integer("non_local", number, least=1)
        )
        for stage, number in non_local.items()
    }


def _insert_non_local(name: str, network: Any, behind: dict[int, int], image: Tensor, expected: Tensor) -> None:
    """Put non-local blocks behind the last blocks of stages, as many as there are at most."""
    if not behind:
        return
    ends = _stage_ends(network)
    rule = f"name stages of {name}, from 1 to {len(ends)}"
    require(expected.ndim == 4 and max(behind) <= len(ends), "non_local", rule, behind)
    last = expected.ndim == 4 and expected.shape[1] != network.num_features  # b h w c, as in swin
    blocks: dict[str, int] = {}
    for stage, number in sorted(behind.items()):
        module = network.get_submodule(ends[stage - 1])
        inner = ".blocks" if isinstance(getattr(module, "blocks", None), nn.Module) else ""
        children = [child for child, _ in network.get_submodule(ends[stage - 1] + inner).named_children()]
        blocks |= dict.fromkeys([f"{ends[stage - 1]}{inner}.{child}" for child in children[-number:]], 0)

    def note(block: str) -> Any:
        return lambda _module, _inputs, output: blocks.update({block: output.shape[-1 if last else 1]})

    hooks = [network.get_submodule(block).register_forward_hook(note(block)) for block in blocks]
    _run(name, network, image)
    for hook in hooks:
        hook.remove()
    for block, channels in blocks.items():
        parent, _, leaf = block.rpartition(".")
        added: list[nn.Module] = [NonLocalBlock(channels).eval()]
        if last:
            added = [_Permute(0, 3, 1, 2), *added, _Permute(0, 2, 3, 1)]
        setattr(network.get_submodule(parent), leaf, nn.Sequential(network.get_submodule(block), *added))


def _split_tokens(name: str, network: Any, stages: int, expected: Tensor) -> tuple[nn.Module, nn.Module, Tensor]:
    """Cut a plain vision transformer, whose blocks hand on tokens."""
    blocks, norm, prefix = network.blocks, network.norm, network.num_prefix_tokens
    _check_stages(name, stages, len(blocks) - 1)
    _empty(network, ["blocks", "norm"])
    _empty_head(network)
    grid = network.patch_embed.grid_size
    with torch.no_grad():
        image = torch.zeros(1, 3, *network.patch_embed.img_size)
        start = network.forward_features(image)[:, :prefix].clone()
    shared = _RemainingTokens(start, blocks[stages:], norm)
    first = _FirstTokens(network, blocks[:stages])
    return first, shared, _to_map(expected[:, prefix:], *grid)


def _check_stages(name: str, stages: int, most: int) -> None:
    rule = f"be from 0 to {most}, so that a stage of {name} is left to share"
    require(0 <= stages <= most, "modality_specific_stages", rule, stages)


def _empty(network: nn.Module, modules: Iterable[str]) -> None:
    """Put something that does nothing in the places of modules."""
    for module in modules:
        parent, _, leaf = module.rpartition(".")
        setattr(network.get_submodule(parent), leaf, nn.Sequential())


def _empty_head(network: nn.Module) -> None:
    children = [name for name, _ in network.named_children()]
    _empty(network, itertools.dropwhile(lambda child: child not in _HEAD, children))


@torch.no_grad()
def _verify(name: str, first: nn.Module, shared: nn.Module, image: Tensor, expected: Tensor) -> int:
    """Require that the halves compute what the network did; return the number of channels at the cut."""
    try:
        cut_map = first(image)
        last_map = shared(cut_map)
    except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError) as error:
        reason = f"hand on one map at this cut ({type(error).__name__}: {error})"
        raise ValueError(f"backbone must {reason}, got {name!r}. {_SPLITTABLE}") from error
    maps = cut_map.ndim == expected.ndim == 4
    exact = not (isinstance(first, _FirstTokens) and first.lacks_tokens)
    same = maps and (not exact or torch.allclose(last_map, expected, rtol=1e-3, atol=1e-4))
    require(same, "backbone", "run its stages one after the other on feature maps", name, _SPLITTABLE)
    return int(cut_map.shape[1])
