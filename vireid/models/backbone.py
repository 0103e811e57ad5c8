"""Two-stream backbones from timm (Sec. 3, Fig. 2): the first stages exist once per modality, later stages are shared.

The modules that a timm network runs one after the other up to the cut become the first half. The second half is the
network itself, with empty modules in their places. Every new backbone is run on one image to verify that the two halves
compute what the whole network did. timm is imported only here.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from timm.layers.patch_embed import PatchEmbed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import load_state_dict
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vireid._checks import check_choice, check_flags, check_image_batch, check_integer, check_size, check_type, require
from vireid.modality import Modality
from vireid.models.aggregation import AggregatedStage
from vireid.models.alleviation import ModalityAlleviation
from vireid.models.expansion import DiverseEmbeddingExpansion
from vireid.models.non_local import NonLocalBlock


class TwoStreamBackbone(nn.Module):
    """Run the first stages of each modality separately and the later stages on both; see :func:`create_backbone`.

    You can use the halves alone, to put a module of your own between them: ``first_stages(images, modality)`` returns
    the map at the cut and ``shared_stages(feature_map)`` the last one. Both streams start with equal weights.

    Args:
        first_stages: Module from images to maps, of which the infrared stream gets a copy, or a pair of modules
            (visible, infrared). Each is called with images alone; one module given twice is a single stream.
        shared_stages: Module from the maps at the cut to the last maps.
        cut_channels: Number of channels c of the maps at the cut.
        out_channels: Number of channels d of the last maps.

    Attributes:
        config: The arguments of :func:`create_backbone` that rebuild the architecture, with the ``last_stride`` in use,
            as a dictionary for JSON. None for halves of your own.
        normalization: Mean and standard deviation of the images that the loaded weights were trained on, as timm states
            them; None without weights.

    Shape:
        b 3 H W, b 3 H W -> b d h w, b d h w; n · b maps each with an expansion to n versions.

    Raises:
        TypeError: if a half is not a module, or a number of channels is not an integer.
        ValueError: if a number of channels is less than 1.

    Example:
        >>> backbone = create_backbone("test_resnet", image_size=(96, 48))
        >>> visible_map, infrared_map = backbone(*torch.rand(2, 4, 3, 96, 48))
        >>> visible_map.shape
        torch.Size([4, 96, 6, 3])
    """

    def __init__(
        self,
        first_stages: nn.Module | tuple[nn.Module, nn.Module],
        shared_stages: nn.Module,
        *,
        cut_channels: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        pair = isinstance(first_stages, (tuple, list))
        streams = [*first_stages] if isinstance(first_stages, (tuple, list)) else [first_stages]
        fits = len(streams) == 1 + pair and all(isinstance(stream, nn.Module) for stream in streams)
        rule = "be a module or a pair (visible, infrared) of modules"
        require(fits, "first_stages", rule, type(first_stages).__name__, error=TypeError)
        check_type("shared_stages", shared_stages, nn.Module, "be a module")
        self.visible_stages = streams[0]
        self.infrared_stages = streams[1] if pair else copy.deepcopy(streams[0])
        self.shared_stages = shared_stages
        self.cut_channels = check_integer("cut_channels", cut_channels, least=1)
        self.out_channels = check_integer("out_channels", out_channels, least=1)
        self.config: dict[str, Any] | None = None
        self.normalization: dict[str, tuple[float, ...]] | None = None

    def first_stages(self, images: Tensor, modality: Modality | str) -> Tensor:
        """Compute the maps at the cut, b c h w, of images b 3 H W of one modality."""
        check_image_batch("images", images)
        stages = self.visible_stages if Modality.of(modality) is Modality.VISIBLE else self.infrared_stages
        feature_map: Tensor = stages(images)
        return feature_map

    def forward(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        """Run each modality through its own stages, then both as one batch through the shared stages."""
        maps = self.first_maps(visible, infrared)
        last_maps = self.shared_stages(torch.cat(maps)).unflatten(0, (-1, len(visible) + len(infrared)))  # n b c h w
        visible_map, infrared_map = (part.flatten(0, 1) for part in last_maps.split([len(visible), len(infrared)], 1))
        return visible_map, infrared_map

    def first_maps(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the maps at the cut of images of both modalities; a single stream takes both as one batch.

        Args:
            visible: Visible images.
            infrared: Infrared images.

        Shape:
            b 3 H W, b' 3 H W -> b c h w, b' c h w.

        Raises:
            ValueError: if the images have another shape.
            TypeError: if the images have the wrong type.
        """
        check_image_batch("visible", visible)
        check_image_batch("infrared", infrared)
        if self.visible_stages is not self.infrared_stages:
            return self.first_stages(visible, Modality.VISIBLE), self.first_stages(infrared, Modality.INFRARED)
        both: Tensor = self.visible_stages(torch.cat([visible, infrared]))  # whose batch statistics are joint
        return both[: len(visible)], both[len(visible) :]

    def extra_repr(self) -> str:
        """Show the arguments of :func:`create_backbone`."""
        return ", ".join(f"{name}={value!r}" for name, value in (self.config or {}).items())


def create_backbone(
    name: str = "resnet50",
    *,
    modality_specific_stages: int | Literal["zero-padding"] = 1,
    pretrained: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    last_stride: Literal[1, 2] | None = None,
    image_size: tuple[int, int] = (288, 144),
    non_local: bool | Mapping[int, int] = False,
    style_gates: int = 0,
    single_stream: bool = False,
    last_module: str | None = None,
    patch_stride: int | None = None,
    class_token: bool = False,
    aggregated_stages: int = 0,
    expansion_branches: int = 0,
    timm_options: Mapping[str, Any] | None = None,
) -> TwoStreamBackbone:
    """Create a two-stream backbone from a timm network.

    The page on backbones lists networks of many families with the sizes of their maps.

    Args:
        name: Name of a timm network, such as ``"resnet50"``.
        modality_specific_stages: Number of stages that each modality has of its own after the stem. MUN's 1 is the stem
            and layer1 of a ResNet (A1 in the paper notes); AGW's 0 is the stem alone. The stem ends where the first
            stage of stride 4 begins. For a plain vision transformer it is the number of blocks; its class and register
            tokens join at the cut. ``"zero-padding"`` leaves each modality its first convolution alone, which sees gray
            images: padding them with a channel of zeros for the other modality comes to the same.
        pretrained: Whether to load timm's weights from the Hugging Face hub. Without a connection, weights in the hub's
            cache are used.
        checkpoint: Path of a local weights file to load instead. Nothing in it is executed.
        last_stride: Stride of the last stage: 1 keeps its map as large as the one before, without dilation, as is usual
            in the field (A14 in the paper notes); 2 leaves the network as timm builds it. By default 1 where the last
            stage has a stride to remove, otherwise 2; ``config["last_stride"]`` says which.
        image_size: (height, width) of the images in pixels, from 16 to 1024.
        non_local: Whether to add :class:`NonLocalBlock` after the last two blocks of the second stage and the last
            three of the third, as AGW does; or a mapping from stages, counted from 1, to numbers of last blocks.
        style_gates: Number of last stages that end in a :class:`ModalityAlleviation`; 2 in MPANet.
        single_stream: Whether both modalities share the first stages as well, as in MPANet. The cut is then only the
            place where a generator takes its maps.
        last_module: Name in the timm network of the last module to keep, such as ``"layer3"``: a shorter trunk is
            several times as fast on small images. By default all stages are kept.
        patch_stride: Stride of the patches of a plain vision transformer; one below the size of a patch makes them
            overlap, as PMT's 12 of 16 pixels. Its position embeddings are resized bilinearly.
        class_token: Whether the last map is the class token of a plain vision transformer alone, b d 1 1, in place of
            its patches. ``nn.Flatten()`` is the pooling for it.
        aggregated_stages: Number of first stages that are made an :class:`AggregatedStage`; 3 in DEEN.
        expansion_branches: Number of branches of a :class:`DiverseEmbeddingExpansion` before the last stage, whose maps
            are then so many times more; 2 in DEEN.
        timm_options: Further arguments of ``timm.create_model``, such as ``{"drop_path_rate": 0.1}``, as JSON holds
            them.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if timm has no such network, it cannot be cut there, it has no stride to remove for
            ``last_stride=1``, it has no such ``last_module``, ``patch_stride`` or ``class_token`` is not for its
            family, it cannot take images of this size or these options, or ``checkpoint`` holds other weights.
        FileNotFoundError: if there is no file ``checkpoint``, or timm's weights cannot be loaded.

    Example:
        >>> create_backbone("test_resnet", image_size=(96, 48)).cut_channels
        32
    """
    require(isinstance(name, str), "backbone", "be a name", name, error=TypeError)
    check_choice("backbone", name.partition(".")[0], timm.list_models(), "be a timm model")
    require("." not in name or timm.is_model_pretrained(name), "backbone", "have a tag that timm knows", name)
    zero_padding = isinstance(modality_specific_stages, str) and modality_specific_stages == "zero-padding"
    stages = 0 if zero_padding else check_integer("modality_specific_stages", modality_specific_stages, least=0)
    check_flags(pretrained=pretrained)
    if last_stride is not None:
        check_integer("last_stride", last_stride, least=1, most=2)
    size = check_size("image_size", image_size, least=(16, 16))
    require(max(size) <= 1024, "image_size", "be at most 1024 pixels high and wide", size)
    behind = _check_non_local(non_local)
    parts = {  # of a method
        "style_gates": style_gates,
        "aggregated_stages": aggregated_stages,
        "expansion_branches": expansion_branches,
    }
    parts = {argument: check_integer(argument, number, least=0) for argument, number in parts.items()}
    check_flags(single_stream=single_stream)
    check_type("last_module", last_module, (str, type(None)), "be a name")
    _check_transformer(name, patch_stride, class_token)
    options = _check_options(name, timm_options)
    state = _find_weights(name, pretrained, checkpoint)
    network = _create_network(name, None if patch_stride else size, last_stride, pretrained, state, options=options)
    if patch_stride:
        _set_patch_stride(network, size, patch_stride)
    image = torch.linspace(-2, 2, 3 * size[0] * size[1]).view(1, 3, *size)
    with torch.no_grad():
        last_map = None if last_stride == 2 else _remove_last_stride(network, image)
        stride = 2 if last_map is None else 1
        last_map = _run(name, network, image) if last_map is None else last_map
        rule = f"be 2 for {name}, whose last stage reduces otherwise than by stride"
        require(last_stride in {None, stride}, "last_stride", rule, last_stride)
        _insert_non_local(name, network, behind, image)
        if last_module is not None:
            last_map = _end_at(name, network, last_module, image)
        if any(parts.values()):
            _insert_style_gates(name, network, parts["style_gates"], last_module, image)
            _insert_aggregation(name, network, parts["aggregated_stages"], image)
            _insert_expansion(name, network, parts["expansion_branches"], stages, image)
            last_map = _run(name, network, image) if last_module is None else _end_at(name, network, last_module, image)
        first, shared, cut_map, last_map = _split(name, network, stages, image, last_map, last_module=last_module)
        if zero_padding:
            first, shared, cut_map = _keep_first_convolution(name, first, shared, image)
        if class_token:
            shared.returns_class_token = True  # type: ignore[assignment]
            last_map = shared(cut_map)
    streams = (first, first) if single_stream else first
    backbone = TwoStreamBackbone(streams, shared, cut_channels=cut_map.shape[1], out_channels=last_map.shape[1])
    backbone.config = {
        "name": name,
        "modality_specific_stages": "zero-padding" if zero_padding else stages,
        "last_stride": stride,
        "image_size": list(size),
        "non_local": {str(stage): number for stage, number in behind.items()},  # the keys of JSON are strings
        **parts,
        "single_stream": single_stream,
        "last_module": last_module,
        "patch_stride": patch_stride and int(patch_stride),
        "class_token": class_token,
        "timm_options": options,
    }
    if pretrained or checkpoint is not None:
        backbone.normalization = {key: tuple(network.pretrained_cfg[key]) for key in ("mean", "std")}
    return backbone.train()


class _Remainder(nn.Module):
    """A timm network with empty modules in the places of the first modules and of the head."""

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
        for module in blocks.modules():
            if hasattr(module, "num_prefix_tokens"):  # which a rotary attention leaves unrotated
                module.num_prefix_tokens = 0  # type: ignore[assignment]

    def forward(self, images: Tensor) -> Tensor:
        size = tuple(self.stem.patch_embed.img_size)
        require(tuple(images.shape[2:]) == size, "images", f"be of image_size {size}", tuple(images.shape[2:]))
        tokens = self.stem.forward_features(images)[:, self.stem.num_prefix_tokens :]
        grid = self.stem.patch_embed.grid_size
        return _to_map(_run_blocks(self.blocks, tokens, getattr(self.stem, "rope", None), grid), *grid)


class _RemainingTokens(nn.Module):
    """The other blocks of a vision transformer, with its class and register tokens."""

    def __init__(self, prefix: Tensor, blocks: nn.Sequential, norm: nn.Module, rope: nn.Module | None) -> None:
        super().__init__()
        self.prefix = nn.Parameter(prefix) if prefix.shape[1] else None
        self.blocks = blocks
        self.norm = norm
        self.rope = rope
        self.returns_class_token = False

    def forward(self, feature_map: Tensor) -> Tensor:
        tokens = rearrange(feature_map, "b c h w -> b (h w) c")
        patches = tokens.shape[1]
        if self.prefix is not None:
            tokens = torch.cat([self.prefix.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        grid = feature_map.shape[2:]
        tokens = self.norm(_run_blocks(self.blocks, tokens, self.rope, grid))
        return tokens[:, 0, :, None, None] if self.returns_class_token else _to_map(tokens[:, -patches:], *grid)


def _run_blocks(blocks: nn.Sequential, tokens: Tensor, rope: Any, grid: Iterable[int]) -> Tensor:
    options = {} if rope is None else {"rope": rope.get_embed(shape=list(grid))}
    for block in blocks:
        tokens = block(tokens, **options)
    return tokens


def _to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    return rearrange(tokens, "b (h w) c -> b c h w", h=height, w=width)


_HEAD = {"global_pool", "head", "head_drop", "fc", "fc_norm", "classifier", "attn_pool", "pre_logits"}
_TO_FIRST, _TO_LAST = "b h w c -> b c h w", "b c h w -> b h w c"  # the place of the channels
_SPLITTABLE = "The page on backbones lists networks that split."
_MISFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def _find_weights(name: str, pretrained: bool, checkpoint: Any) -> dict[str, Tensor] | None:
    """Read weights from a file, without executing anything in it; None leaves them to timm."""
    if checkpoint is not None:
        check_type("checkpoint", checkpoint, (str, os.PathLike), "be a path")
        require(Path(checkpoint).is_file(), "checkpoint", "be a file", str(checkpoint), error=FileNotFoundError)
    elif pretrained:
        checkpoint = _find_in_cache(name)
    if checkpoint is None:
        return None
    path = os.fspath(checkpoint)
    try:
        state: dict[str, Tensor] = load_state_dict(path, weights_only=True)
        finite = all(bool(value.isfinite().all()) for value in state.values())
    except Exception as error:  # of any kind, as the file is anything
        rule = f"hold the weights of {name}, not be damaged or hold more than tensors"
        raise ValueError(f"checkpoint must {rule}, got {path!r}.") from error
    require(finite, "checkpoint", "hold finite weights", path)
    foreign = not any(name.startswith("backbone.shared_stages.") for name in state)
    remedy = "It is of save_pretrained: TwoStreamEmbedder.from_pretrained(folder) loads it."
    require(foreign, "checkpoint", f"hold the weights of {name}, as timm names them", path, remedy)
    return state


def _find_in_cache(name: str) -> str | None:
    """Return the path of cached weights if the hub does not answer; timm itself would retry for a minute."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    source = timm.get_pretrained_cfg(name)
    if source is None or not source.hf_hub_id:
        return None
    file = (source.hf_hub_id, source.hf_hub_filename or "model.safetensors")
    try:
        get_hf_file_metadata(hf_hub_url(*file), timeout=5)
    except HfHubHTTPError:  # an answer; timm tries other files
        return None
    except Exception as error:  # of requests or of httpx, by the version of huggingface_hub
        cached = try_to_load_from_cache(*file)
        if isinstance(cached, str):
            return cached
        raise _no_weights(name, error) from error
    return None


def _no_weights(name: str, error: Exception) -> FileNotFoundError:
    remedy = "checkpoint=… takes a local file."
    return FileNotFoundError(f"pretrained must be False for {name}, whose weights cannot be loaded: {error}. {remedy}")


def _create_network(
    name: str,
    size: tuple[int, int] | None,
    last_stride: int | None = None,
    pretrained: bool = False,
    state: dict[str, Tensor] | None = None,
    *,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Create a timm network for images of a size or of its usual one, with the larger last map where it can."""
    weights: dict[str, Any] = {"pretrained": pretrained}
    if state is not None:
        weights = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}
    strides: list[dict[str, Any]] = [{}] if last_stride == 2 else [{"output_stride": 16}, {}]
    sizes: list[dict[str, Any]] = [{}] if size is None else [{"img_size": size}, {}]
    reason: Exception | None = None
    for stride, sized in itertools.product(strides, sizes):
        try:
            network: Any = timm.create_model(
                name, num_classes=0, **weights, **stride, **sized, **(options or {})
            ).eval()
        except (TypeError, AssertionError, NotImplementedError) as error:  # families differ in the options they know
            reason = error
            continue
        except (OSError, RuntimeError, ValueError) as error:
            if state is not None:
                raise ValueError(f"checkpoint must hold the weights of {name}: {error}") from error
            if pretrained:
                raise _no_weights(name, error) from error
            raise
        if state is not None:
            network.pretrained_cfg.pop("state_dict", None)
            _check_loaded(name, network, state)
        if stride:
            _remove_dilation(network)
        return network
    raise ValueError(f"image_size must suit {name} ({reason}), got {size}.")


def _check_options(name: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Require further arguments of timm that the network takes."""
    if options is None:
        return {}
    check_type("timm_options", options, Mapping, "be a mapping or None")
    taken = {"img_size", "output_stride", "num_classes", "pretrained", "features_only"} & options.keys()
    require(not taken, "timm_options", f"leave {', '.join(sorted(taken))} to create_backbone", dict(options))
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(options)))
        with torch.device("meta"):  # takes no memory and hardly any time
            timm.create_model(name, num_classes=0, **copied)
    except Exception as error:  # of any kind, as the options are anything
        reason = str(error).partition("\n")[0]
        raise ValueError(f"timm_options must suit {name} ({reason}), got {options}.") from error
    return copied


def _check_transformer(name: str, patch_stride: int | None, class_token: bool) -> None:
    """Require what the options for plain vision transformers need of the network."""
    check_flags(class_token=class_token)
    if patch_stride is not None:
        check_integer("patch_stride", patch_stride, least=1)
    if patch_stride is None and not class_token:
        return
    with torch.device("meta"):
        network: Any = timm.create_model(name, num_classes=0)
    plain, kind = isinstance(network, VisionTransformer), f"for {name}, which is no plain vision transformer with"
    patches = plain and network.pos_embed is not None and type(network.patch_embed) is PatchEmbed
    require(patch_stride is None or patches, "patch_stride", f"be None {kind} position embeddings", patch_stride)
    token = plain and network.num_prefix_tokens > 0
    require(not class_token or token, "class_token", f"be False {kind} such a token", class_token)


def _set_patch_stride(network: Any, size: tuple[int, int], stride: int) -> None:
    """Let the patches of a vision transformer overlap, on images of a size."""
    patches, old_grid = network.patch_embed, network.patch_embed.grid_size
    rows, columns = ((length - patch) // stride + 1 for length, patch in zip(size, patches.patch_size, strict=True))
    require(min(rows, columns) > 0, "image_size", f"hold a patch of {patches.patch_size} pixels", size)
    patches.proj.stride, patches.img_size = (stride, stride), size
    patches.grid_size, patches.num_patches = (rows, columns), rows * columns
    prefix = 0 if network.no_embed_class else network.num_prefix_tokens
    resized = resample_abs_pos_embed(
        network.pos_embed.detach(),
        [rows, columns],
        old_grid,
        num_prefix_tokens=prefix,
        interpolation="bilinear",
        antialias=False,
    )
    network.pos_embed = nn.Parameter(resized)


def _check_loaded(name: str, network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Require that the weights are those of the file: timm skips missing ones.

    timm may rename, reshape and resize weights, so they are compared by their sums; one in ten may have another size.
    """

    def sums(values: Iterable[Tensor]) -> list[float]:
        return [round(value.double().sum().item(), 6) for value in values if value.is_floating_point()]

    loaded, known = sums(network.state_dict().values()), set(sums(state.values()))
    found = sum(value in known for value in loaded)
    rule = f"hold the weights of {name}"
    require(found >= 0.9 * len(loaded), "checkpoint", rule, f"{found} of its {len(loaded)} tensors")


def _remove_dilation(network: nn.Module) -> None:
    """Keep the larger map of timm's ``output_stride`` without the dilated kernels that come with it."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and max(module.dilation) > 1:
            module.dilation = (1, 1)
            if not isinstance(module.padding, str):
                module.padding = tuple((size - 1) // 2 for size in module.kernel_size)


def _remove_last_stride(network: Any, image: Tensor) -> Tensor | None:
    """Set the strides of the last stage to 1; return the last map, or None if the network does not run that way."""
    strides: dict[nn.Conv2d, Any] = {}
    try:
        *_, before, last = network.feature_info
        if before["reduction"] != last["reduction"]:
            steps = [*_steps_before(network, before["module"]), before["module"]]
            earlier = {module for step in steps for module in network.get_submodule(step).modules()}
            later = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m not in earlier]
            strides = {m: m.stride for m in later if max(m.stride) > 1 and all(size % 2 for size in m.kernel_size)}
            for convolution in strides:
                convolution.stride = (1, 1)
            if not strides:
                return None
        last_map: Tensor = network.forward_features(image)
    except _MISFIT:
        for convolution, stride in strides.items():
            convolution.stride = stride
        return None
    return last_map


def _run(name: str, network: Any, image: Tensor) -> Tensor:
    try:
        last_map: Tensor = network.forward_features(image)
    except _MISFIT as error:
        size = tuple(image.shape[2:])
        raise ValueError(f"image_size must suit {name} ({error}), got {size}.{_suggest_size(name)}") from error
    return last_map


def _suggest_size(name: str) -> str:
    for size in ((256, 128), (384, 192), (224, 224), (256, 256)):
        with contextlib.suppress(*_MISFIT):
            _create_network(name, size).forward_features(torch.zeros(1, 3, *size))
            return f" image_size={size} suits it."
    return ""


def _steps_before(network: nn.Module, boundary: str) -> list[str]:
    """Return the names of the modules that run before a module, in order."""
    steps, prefix, parent = [], "", network
    for part in boundary.split("."):
        children = [child for child, _ in parent.named_children()]
        steps += [prefix + child for child in children[: children.index(part)]]
        prefix, parent = f"{prefix}{part}.", parent.get_submodule(part)
    return steps


def _steps_before_cut(network: Any, stages: int) -> list[str]:
    end = _stage_ends(network)[max(stages - 1, 0)]
    return _steps_before(network, end) + [end] * (stages > 0)


def _stage_ends(network: Any) -> list[str]:
    """Return the names of the modules at the ends of the stages, from the first of stride 4."""
    names = {"stage1": "layer1"}  # HRNet's module has another name than its stage
    return [
        names.get(info["module"], info["module"])
        for info in getattr(network, "feature_info", [])
        if info["reduction"] >= 4
    ]


def _is_channels_last(feature_map: Tensor, image: Tensor) -> bool:
    """Whether a map is b h w c, not b c h w, by the proportions of the image."""
    if feature_map.ndim != 4:
        return False
    (_, first, second, third), ratio = feature_map.shape, image.shape[2] / image.shape[3]
    return abs(first / second - ratio) < abs(second / third - ratio)


def _check_non_local(non_local: bool | Mapping[int, int]) -> dict[int, int]:
    if isinstance(non_local, bool):
        return {2: 2, 3: 3} if non_local else {}
    check_type("non_local", non_local, Mapping, "be True, False or a mapping from stages to numbers of blocks")
    checked = {}
    for stage, number in non_local.items():
        key = int(stage) if isinstance(stage, str) and stage.isdecimal() else stage  # as JSON gives it
        checked[check_integer("non_local", key, least=1)] = check_integer("non_local", number, least=1)
    return dict(sorted(checked.items()))


def _insert_non_local(name: str, network: Any, behind: dict[int, int], image: Tensor) -> None:
    """Add non-local blocks behind the last blocks of stages, or behind all of them where there are fewer."""
    if not behind:
        return
    ends, blocks = _stage_ends(network), []
    for stage, number in behind.items():
        require(stage <= len(ends), "non_local", f"name stages of {name}, from 1 to {len(ends)}", behind)
        end = ends[stage - 1]
        inner = f"{end}.blocks" if isinstance(getattr(network.get_submodule(end), "blocks", None), nn.Module) else end
        children = [f"{inner}.{child}" for child, _ in network.get_submodule(inner).named_children()]
        blocks += children[-number:] or [end]
    misfit = _insert_behind(name, network, blocks, image, NonLocalBlock)
    require(misfit is None, "non_local", f"be False for {name}, whose blocks do not return maps", behind)


def _insert_style_gates(name: str, network: Any, gates: int, last_module: str | None, image: Tensor) -> None:
    """Add a style gate behind each of the last stages that are kept."""
    if not gates:
        return
    ends = _stage_ends(network)
    if last_module is not None:
        ends = [end for end in ends if end in {*_steps_before(network, last_module), last_module}]
    require(gates <= len(ends), "style_gates", f"be at most {len(ends)}, the stages of {name}", gates)
    misfit = _insert_behind(name, network, ends[-gates:], image, ModalityAlleviation)
    require(misfit is None, "style_gates", f"be 0 for {name}, whose stages do not return maps", gates)


def _insert_aggregation(name: str, network: Any, number: int, image: Tensor) -> None:
    """Aggregate the outputs of the first stages with their inputs."""
    ends = _stage_ends(network)
    rule = f"be at most {len(ends) - 1}, the stages of {name} before the last"
    require(number == 0 or number < len(ends), "aggregated_stages", rule, number)
    maps: dict[nn.Module, tuple[Any, Any]] = {}

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        maps[module] = (inputs[0], output)

    hooks = [network.get_submodule(end).register_forward_hook(keep) for end in ends[:number]]
    _run(name, network, image)
    for hook in hooks:
        hook.remove()
    for end in ends[:number]:
        stage = network.get_submodule(end)
        low_map, feature_map = maps[stage]
        fits = all(isinstance(x, Tensor) and x.ndim == 4 and not _is_channels_last(x, image) for x in maps[stage])
        require(fits, "aggregated_stages", f"be 0 for {name}, whose stages are not of maps b c h w", number)
        stride = -(-low_map.shape[2] // feature_map.shape[2])
        _replace(network, end, AggregatedStage(stage, low_map.shape[1], feature_map.shape[1], stride=stride).eval())


def _insert_expansion(name: str, network: Any, branches: int, own: int, image: Tensor) -> None:
    """Add further versions of each map before the last stage."""
    if not branches:
        return
    ends = _stage_ends(network)
    shared = own < len(ends) - 1  # the cut is before the expansion
    rule = f"be 0 for {name} with {own} modality-specific stages: it is after the cut and before the last stage"
    require(shared, "expansion_branches", rule, branches)
    misfit = _insert_behind(name, network, [ends[-2]], image, partial(DiverseEmbeddingExpansion, branches=branches))
    require(misfit is None, "expansion_branches", f"be 0 for {name}, whose stages do not return maps", branches)


def _insert_behind(
    name: str, network: Any, blocks: Sequence[str], image: Tensor, create: Callable[[int], nn.Module]
) -> str | None:
    """Add a module of maps, made from their channels, behind modules of a network; return one that returns no map."""
    maps: dict[nn.Module, Any] = {}

    def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
        maps[module] = output

    hooks = [network.get_submodule(block).register_forward_hook(keep) for block in blocks]
    _run(name, network, image)
    for hook in hooks:
        hook.remove()
    for block in blocks:
        module = network.get_submodule(block)
        feature_map = maps.get(module)
        if not isinstance(feature_map, Tensor) or feature_map.ndim != 4:
            return block
        last = _is_channels_last(feature_map, image)
        added: list[nn.Module] = [create(feature_map.shape[3 if last else 1]).eval()]
        if last:
            added = [Rearrange(_TO_FIRST), *added, Rearrange(_TO_LAST)]
        _replace(network, block, nn.Sequential(module, *added))
    return None


def _end_at(name: str, network: Any, last_module: str, image: Tensor) -> Tensor:
    """Return the map behind a module of a network."""
    kept: list[Tensor] = []
    known, examples = dict(network.named_modules()), ", ".join(map(repr, _stage_ends(network)))
    require(last_module in known, "last_module", f"be a module of {name}, such as {examples}", last_module)
    hook = network.get_submodule(last_module).register_forward_hook(lambda _module, _inputs, last: kept.append(last))
    _run(name, network, image)
    hook.remove()
    is_map = len(kept) == 1 and isinstance(kept[0], Tensor) and kept[0].ndim == 4
    require(is_map, "last_module", "return one map", last_module)
    return kept[0]


def _split(
    name: str, network: Any, stages: int, image: Tensor, expected: Tensor, *, last_module: str | None = None
) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """Cut a network in two and verify the halves; return them with the maps at the cut and at the end."""
    plain = isinstance(network, (VisionTransformer, Eva))
    most = max(0, len(network.blocks if plain else _stage_ends(network)) - 1)
    rule = f"be from 0 to {most}, so that a stage of {name} is left to share"
    require(stages <= most, "modality_specific_stages", rule, stages)
    if last_module is not None:
        own = _steps_before_cut(network, stages)
        later = _steps_before(network, last_module)[: len(own)] == own
        require(later, "last_module", f"come after the cut behind {own[-1]}", last_module)
    try:
        split = _split_tokens if plain else partial(_split_maps, last_module=last_module)
        first, shared, expected = split(network, stages, image, expected)
        cut_map = first(image)
        last_map = shared(cut_map)
    except _MISFIT as error:
        reason = f"hand on one map at this cut ({type(error).__name__}: {error})"
        raise ValueError(f"backbone must {reason}, got {name!r}. {_SPLITTABLE}") from error
    same = cut_map.ndim == expected.ndim == 4 and last_map.shape == expected.shape
    same = same and next(first.parameters(), None) is not None
    # Class tokens that join later make another network, and meta tensors have no values.
    if same and not (expected.is_meta or (isinstance(first, _FirstTokens) and first.lacks_tokens)):
        same = torch.allclose(last_map, expected, rtol=1e-3, atol=1e-4)
    require(same, "backbone", "run its stages one after the other on feature maps", name, _SPLITTABLE)
    return first, shared, cut_map, last_map


def _split_maps(
    network: Any, stages: int, image: Tensor, expected: Tensor, *, last_module: str | None
) -> tuple[nn.Module, nn.Module, Tensor]:
    """Cut a network whose stages return maps; also return its last map as b c h w."""
    own = _steps_before_cut(network, stages)
    first = _chain(network, own)
    if last_module is None:
        shared: list[nn.Module] = [_Remainder(network)]
        for step in own:
            _replace(network, step, nn.Sequential())
        _empty_head(network)
    else:
        steps = [*_steps_before(network, last_module), last_module]
        shared = [_chain(network, steps[len(own) :])]
    if _is_channels_last(first(image), image):
        first, shared = nn.Sequential(first, Rearrange(_TO_FIRST)), [Rearrange(_TO_LAST), *shared]
    if _is_channels_last(expected, image):
        shared, expected = [*shared, Rearrange(_TO_FIRST)], rearrange(expected, _TO_FIRST)
    return first, shared[0] if len(shared) == 1 else nn.Sequential(*shared), expected


def _chain(network: nn.Module, steps: Iterable[str]) -> nn.Module:
    return nn.Sequential(OrderedDict((step.replace(".", "_"), network.get_submodule(step)) for step in steps))


def _split_tokens(network: Any, stages: int, image: Tensor, expected: Tensor) -> tuple[nn.Module, nn.Module, Tensor]:
    """Cut a plain vision transformer, whose blocks return tokens; also return its last map."""
    blocks, norm, prefix = network.blocks, network.norm, network.num_prefix_tokens
    rope = getattr(network, "rope", None)
    _replace(network, "blocks", nn.Sequential())
    _replace(network, "norm", nn.Sequential())
    _empty_head(network)
    start = network.forward_features(image)[:, :prefix].clone()
    shared = _RemainingTokens(start, blocks[stages:], norm, rope)
    return _FirstTokens(network, blocks[:stages]), shared, _to_map(expected[:, prefix:], *network.patch_embed.grid_size)


class _GrayConvolution(nn.Module):
    """A convolution of three channels on gray images, by the sum of its kernels; gray is of the normalised values."""

    weights: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = copy.deepcopy(convolution)
        self.convolution.weight = nn.Parameter(convolution.weight.sum(1, keepdim=True))
        self.convolution.in_channels = 1
        self.register_buffer("weights", torch.tensor([0.299, 0.587, 0.114])[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        feature_map: Tensor = self.convolution((images * self.weights).sum(1, keepdim=True))
        return feature_map


def _keep_first_convolution(
    name: str, first: nn.Module, shared: nn.Module, image: Tensor
) -> tuple[nn.Module, nn.Module, Tensor]:
    """Share all but the first convolution, and let it see gray images; also return the map behind it."""
    steps = [*first.children()]
    while isinstance(steps[0], nn.Sequential):
        steps[:1] = steps[0].children()
    convolution: Any = steps[0]
    rule = f"be a number for {name}, whose first module is not a convolution"
    require(isinstance(convolution, nn.Conv2d), "modality_specific_stages", rule, "zero-padding")
    own = _GrayConvolution(convolution)
    return own, nn.Sequential(*steps[1:], shared), own(image)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)


def _empty_head(network: nn.Module) -> None:
    for child in itertools.dropwhile(lambda child: child not in _HEAD, [name for name, _ in network.named_children()]):
        _replace(network, child, nn.Sequential())
