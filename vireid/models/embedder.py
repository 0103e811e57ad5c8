"""The retrieval network: a two-stream backbone, pooling and a neck; how it is saved, loaded and shared.

A checkpoint is a folder of ``model.safetensors``, ``config.json`` and a model card, ``README.md``. Nothing in it is
executed. timm itself depends on safetensors and huggingface_hub, so neither is another dependency.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from vireid._checks import (
    check_choice,
    check_embeddings,
    check_flags,
    check_image_batch,
    check_integer,
    check_like_weights,
    check_number,
    check_size,
    check_type,
    is_integral,
    require,
)
from vireid._files import load_json, load_tensors, save_json, save_tensors, write_file
from vireid.modality import Modality
from vireid.models.backbone import TwoStreamBackbone, create_backbone
from vireid.models.expansion import ExpandedNeck, ExpandedPooling, normalize_versions
from vireid.models.head import BNNeck, DualBNNeck, GeneralizedMeanPool
from vireid.models.parts import MaskPartPooling, PrototypePartPooling

if TYPE_CHECKING:
    from typing_extensions import Self

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TwoStreamEmbedder(nn.Module):
    """Embed images of one modality for retrieval, with a two-stream backbone, pooling and a neck.

    This is the part of a network that is deployed. :class:`MUN` and :class:`TwoStreamBaseline` train one, their
    ``embedder``. To start from a trained one, pass it to them as ``backbone``.

    Args:
        backbone: Two-stream backbone, from :func:`create_backbone` or with halves of your own.
        pool: Module from the last feature map, b c h w, to embeddings, b d; GeM pooling by default. One whose
            embeddings have another width than the map, such as :class:`MaskPartPooling`, has it as ``out_channels``;
            one that puts ``copies`` versions of an image side by side, :class:`ExpandedPooling`, has their number.
        neck: Module from pooled to normalised embeddings, b d; a :class:`BNNeck` by default (A15 in the paper notes).
            ``nn.Identity()`` is none; a :class:`DualBNNeck` has one for each modality.
        preprocessing: Mapping of the ``size`` (height, width), ``mean`` and ``std`` of the images. By default the image
            size of the backbone, (288, 144) if it has none, with the mean and standard deviation of its pretrained
            weights, or of ImageNet without such weights.

    Shape:
        b 3 H W -> b d.

    Raises:
        ValueError: If ``preprocessing`` is out of range, or an image has another size or device.
        TypeError: If an argument or an image has the wrong type.

    Example:
        >>> embedder = TwoStreamEmbedder(create_backbone("test_resnet", image_size=(96, 48))).eval()
        >>> embedder.embed(torch.rand(2, 3, 96, 48), "infrared").shape
        torch.Size([2, 96])
        >>> embedder.preprocessing["size"]
        (96, 48)
    """

    def __init__(
        self,
        backbone: TwoStreamBackbone,
        pool: nn.Module | None = None,
        neck: nn.Module | None = None,
        *,
        preprocessing: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_type("backbone", backbone, TwoStreamBackbone, "be a TwoStreamBackbone")
        _check_parts(pool, neck)
        self.backbone = backbone
        self.pool = GeneralizedMeanPool() if pool is None else pool
        self.embedding_dim = _find_width(self.pool, backbone)
        self.neck = BNNeck(self.embedding_dim) if neck is None else neck
        size = (backbone.config or {}).get("image_size", (288, 144))
        usual = {"size": size, **(backbone.normalization or {})}
        self.preprocessing = _check_preprocessing(usual if preprocessing is None else preprocessing)

    def forward(self, images: Tensor, modality: Modality | str, *, feature: Literal["bn", "pooled"] = "bn") -> Tensor:
        """Embed images of one modality, as :meth:`embed` does."""
        return self.embed(images, modality, feature=feature)

    def embed(self, images: Tensor, modality: Modality | str, *, feature: Literal["bn", "pooled"] = "bn") -> Tensor:
        """Embed images of one modality, with unit length for retrieval by cosine similarity.

        Args:
            images: Normalised images, of the size in ``preprocessing``.
            modality: Modality of the images, ``"visible"`` or ``"infrared"``.
            feature: Embedding to return: behind the neck (``"bn"``) or before it (``"pooled"``; A16 in the paper
                notes).

        Shape:
            b 3 H W -> b d.

        Raises:
            ValueError: If the images have another shape, size or device, or there is no such modality or feature.
            TypeError: If the images have the wrong type.
        """
        self.check_images("images", images)
        check_choice("feature", feature, ("bn", "pooled"))
        pooled = self.pool(self.backbone.shared_stages(self.backbone.first_stages(images, modality)))
        embeddings = self.neck_of(modality)(pooled) if feature == "bn" else pooled
        return normalize_versions(embeddings, getattr(self.pool, "copies", 1))

    def neck_of(self, modality: Modality | str) -> nn.Module:
        """Return the neck of a modality: its own one of a :class:`DualBNNeck`, or the only one.

        Args:
            modality: Modality of the embeddings.

        Raises:
            ValueError: If there is no such modality.
            TypeError: If the modality is not a string.
        """
        visible = Modality.of(modality) is Modality.VISIBLE
        if isinstance(self.neck, DualBNNeck):
            return self.neck.visible if visible else self.neck.infrared
        return self.neck

    def normalize(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor]:
        """Run pooled embeddings of both modalities through the neck, as one batch unless each has its own.

        Args:
            visible: Pooled embeddings of visible images.
            infrared: Pooled embeddings of infrared images.

        Shape:
            b d, b' d -> b d, b' d.

        Raises:
            ValueError: If the embeddings have another shape or device.
            TypeError: If the embeddings have the wrong type.
        """
        check_embeddings("visible", visible)
        check_embeddings("infrared", infrared, like=visible)
        if isinstance(self.neck, DualBNNeck):
            return self.neck.visible(visible), self.neck.infrared(infrared)
        both = self.neck(torch.cat([visible, infrared]))
        return both[: len(visible)], both[len(visible) :]

    def extra_repr(self) -> str:
        """Return the preprocessing, for ``print``."""
        return f"preprocessing={self.preprocessing}"

    def check_images(self, argument: str, images: Tensor) -> None:
        """Require images of the size in ``preprocessing``, on the device and of the type of the weights.

        Args:
            argument: Name of the argument in the error.
            images: Batch of images.

        Raises:
            ValueError: If the images have another shape, size or device.
            TypeError: If the images have the wrong type.
        """
        check_image_batch(argument, images)
        size, found = self.preprocessing["size"], tuple(images.shape[2:])
        remedy = "create_test_transform(**embedder.preprocessing) makes images of this size."
        require(found == size, argument, f"be of size (height, width) = {size}", found, remedy)
        weight = next(self.parameters(), None)
        if weight is not None:
            check_like_weights(argument, images, weight)

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, data: str = "", licence: str = "", results: str = ""
    ) -> None:
        """Save the weights as safetensors, the configuration with the preprocessing as JSON, and a model card.

        Each file is written whole, with a checksum. Parts of your own (a backbone of your own halves, another pool or
        neck) are marked in the configuration; :meth:`from_pretrained` must be given such parts.

        Args:
            folder: Folder of the checkpoint; it is made if needed.
            data: Data that the network was trained on, for the model card.
            licence: Licence of the weights, for the model card, as an identifier of the Hugging Face hub such as
                ``"mit"`` or in words.
            results: Table of results with their protocol, for the model card, in Markdown.

        Raises:
            OSError: If the folder cannot be written to.
            ValueError: If a weight is not finite.
            TypeError: If an argument has the wrong type.
        """
        check_type("folder", folder, (str, os.PathLike), "be a folder")
        card = {"data": data, "licence": licence, "results": results}
        for argument, text in card.items():
            check_type(argument, text, str, "be a string")
        config = {
            "vireid": sys.modules["vireid"].__version__,
            "backbone": self.backbone.config,
            "pool": _describe(self.pool),
            "neck": _describe(self.neck),
            "preprocessing": self.preprocessing,
        }
        folder, weights = Path(folder), self.state_dict()
        _check_weights(self, weights)  # what could not be loaded is not saved
        save_tensors(folder / WEIGHTS, weights, {})
        save_json(folder / CONFIG, config)

        def write_card(file: Path) -> None:
            file.write_text(_model_card(config, **card), encoding="utf-8")

        write_file(folder / CARD, write_card)

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        backbone: TwoStreamBackbone | Sequence[Any] | None = None,
        pool: nn.Module | None = None,
        neck: nn.Module | None = None,
    ) -> Self:
        """Load an embedder that ``save_pretrained`` has written, in evaluation mode. Nothing in it is executed.

        Args:
            source: Folder of the checkpoint, or ``"hub:name/model"`` for a repository on the Hugging Face hub.
            backbone: Backbone to load the weights into, or a pair (first stages, shared stages) as for :class:`MUN`;
                required if it has halves of your own.
            pool: Pooling to load the weights into; required if it is of your own.
            neck: Neck to load the weights into; required if it is of your own.

        Raises:
            FileNotFoundError: If there is no such folder or repository, or a file is missing in it.
            ValueError: If the checkpoint is damaged, is something else, or does not fit the parts.
            TypeError: If an argument has the wrong type.
        """
        if not isinstance(backbone, (TwoStreamBackbone, type(None))):
            _check_halves(backbone)
        _check_parts(pool, neck)
        folder = _find(source)
        try:
            config, (weights, _) = load_json(folder / CONFIG), load_tensors(folder / WEIGHTS)
            missing = {"backbone", "pool", "neck", "preprocessing"} - config.keys()
            require(not missing, CONFIG, "be written by save_pretrained", f"one without {sorted(missing)}")
            preprocessing = _check_preprocessing(config["preprocessing"])
            if not isinstance(backbone, (TwoStreamBackbone, type(None))):
                backbone = _join(backbone, preprocessing["size"])
            own: dict[str, Any] = {"backbone": backbone, "pool": pool, "neck": neck}
            with torch.device("meta"):  # takes no memory: the weights must fit before anything large is built
                _check_weights(cls(**_build(config, own), preprocessing=preprocessing), weights)
            embedder = cls(**_build(config, own), preprocessing=preprocessing)
        except (ValueError, TypeError) as error:
            raise ValueError(f"source must hold an embedder, got {str(source)!r}: {error}") from error
        embedder.load_state_dict(weights)
        return embedder.eval()

    def push_to_hub(
        self, repository: str, *, private: bool = False, data: str = "", licence: str = "", results: str = ""
    ) -> str:
        """Upload the embedder to the Hugging Face hub, with the login of huggingface_hub, and return its address.

        Args:
            repository: Name of the repository, ``"name/model"``; it is made if needed.
            private: Whether a new repository is private.
            data: Data that the network was trained on, for the model card.
            licence: Licence of the weights, for the model card.
            results: Table of results with their protocol, for the model card, in Markdown.

        Raises:
            ValueError: If ``repository`` is not of the form ``"name/model"``.
            OSError: If the hub cannot be reached or refuses.
        """
        _check_repository("repository", repository)
        check_flags(private=private)
        from huggingface_hub import create_repo, upload_folder  # noqa: PLC0415  (it costs time; only the hub needs it)

        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, data=data, licence=licence, results=results)
            create_repo(repository, private=private, exist_ok=True)
            return str(upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload a vireid embedder"))


class EmbedderNetwork(nn.Module):
    """Retrieve by the ``embedder`` that a network trains; the networks of all methods are of this class."""

    embedder: TwoStreamEmbedder

    def embed(self, images: Tensor, modality: Modality | str, *, feature: Literal["bn", "pooled"] = "bn") -> Tensor:
        """Embed images of one modality, as :meth:`TwoStreamEmbedder.embed` does."""
        return self.embedder.embed(images, modality, feature=feature)

    @property
    def embedding_dim(self) -> int:
        """Return the number of values of an embedding."""
        return self.embedder.embedding_dim

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Return the size, mean and standard deviation of the images."""
        return self.embedder.preprocessing


def create_embedder(
    backbone: str | TwoStreamBackbone | Sequence[Any] | TwoStreamEmbedder,
    *,
    pretrained: bool = False,
    image_size: tuple[int, int] | None = None,
) -> TwoStreamEmbedder:
    """Return the embedder of a backbone: of a timm name, a two-stream backbone, a pair of halves, or an embedder."""
    check_flags(pretrained=pretrained)
    if isinstance(backbone, str):
        size = (288, 144) if image_size is None else image_size
        return TwoStreamEmbedder(create_backbone(backbone, pretrained=pretrained, image_size=size))
    require(not pretrained, "pretrained", "be False unless backbone is a name", pretrained)
    if isinstance(backbone, TwoStreamEmbedder):
        embedder = backbone
    else:
        if not isinstance(backbone, TwoStreamBackbone):
            backbone = _join(backbone, (288, 144) if image_size is None else check_size("image_size", image_size))
        sized = image_size is None or backbone.config is not None
        embedder = TwoStreamEmbedder(backbone, preprocessing=None if sized else {"size": image_size})
    size = embedder.preprocessing["size"]
    fits = image_size is None or check_size("image_size", image_size) == size
    require(fits, "image_size", f"be {size}, the size of the backbone", image_size, "Leave it out.")
    return embedder


def _join(halves: Any, size: tuple[int, int]) -> TwoStreamBackbone:
    """Make a two-stream backbone of first and shared stages; their channels are found with one image."""
    streams = _check_halves(halves)
    weight = next(streams[0].parameters(), torch.empty(0))
    image = torch.zeros(1, 3, *size, device=weight.device, dtype=weight.dtype)
    rule = f"hold first stages that take images 1 3 {size[0]} {size[1]} alone, and shared stages that take their maps"
    try:
        with torch.no_grad():
            cut_maps = [copy.deepcopy(stream).eval()(image) for stream in streams]
            last_map = copy.deepcopy(halves[1]).eval()(cut_maps[0])
    except Exception as error:
        raise ValueError(f"backbone must {rule}, got an error: {error}") from error
    for half, result in (*(("first_stages", cut_map) for cut_map in cut_maps), ("shared_stages", last_map)):
        is_map = isinstance(result, Tensor) and result.ndim == 4
        found = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        require(is_map, f"backbone ({half})", "return a map b c h w", found)
    same = cut_maps[0].shape == cut_maps[-1].shape
    require(same, "backbone", "have first stages that return maps of one shape", [tuple(m.shape) for m in cut_maps])
    channels = {"cut_channels": cut_maps[0].shape[1], "out_channels": last_map.shape[1]}
    return TwoStreamBackbone(halves[0], halves[1], **channels)


def _check_halves(halves: Any) -> Sequence[nn.Module]:
    """Require a pair (first_stages, shared_stages), and return the one or two first stages."""
    rule = "be a timm name, a TwoStreamBackbone, a pair of modules (first_stages, shared_stages) or a TwoStreamEmbedder"
    pair = isinstance(halves, (tuple, list)) and len(halves) == 2 and isinstance(halves[1], nn.Module)
    require(pair, "backbone", rule, type(halves).__name__, error=TypeError)
    streams = halves[0] if isinstance(halves[0], (tuple, list)) else halves[:1]
    modules = 0 < len(streams) < 3 and all(isinstance(stream, nn.Module) for stream in streams)
    require(modules, "backbone", rule, type(halves[0]).__name__, error=TypeError)
    return streams


def _check_parts(pool: nn.Module | None, neck: nn.Module | None) -> None:
    check_type("pool", pool, (nn.Module, type(None)), "be a module")
    check_type("neck", neck, (nn.Module, type(None)), "be a module")


def _check_preprocessing(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    check_type("preprocessing", preprocessing, Mapping, "be a mapping with size, mean and std")
    values = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, **preprocessing}
    require(values.keys() == {"size", "mean", "std"}, "preprocessing", "have size, mean and std", list(preprocessing))
    mean, std = (_check_channels(f"preprocessing[{name!r}]", values[name]) for name in ("mean", "std"))
    require(min(std) > 0, "preprocessing['std']", "be positive", std)
    size = check_size("preprocessing['size']", values["size"])
    require(max(size) <= 4096, "preprocessing['size']", "be at most 4096 pixels high and wide", size)
    return {"size": size, "mean": mean, "std": std}


def _check_channels(argument: str, values: Any) -> tuple[float, ...]:
    three = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == 3
    require(
        three, argument, "be three numbers", values, error=ValueError if isinstance(values, Sequence) else TypeError
    )
    return tuple(check_number(f"{argument}[{i}]", value) for i, value in enumerate(values))


def _describe(part: nn.Module) -> dict[str, Any] | str | None:
    """A pool or neck as the configuration holds it: arguments, a word, or None for one of the user's own."""
    if type(part) is GeneralizedMeanPool:
        learnable = isinstance(part.p, Tensor)  # then p is among the weights
        return {"p": 3.0 if learnable else part.p, "learnable": learnable, "eps": part.eps}
    if type(part) is MaskPartPooling:
        parts, channels = part.convolution.weight.shape[:2]
        return {"type": "mask parts", "channels": channels, "parts": parts}
    if type(part) is PrototypePartPooling:
        parts, channels = part.prototypes.shape
        size = [*part.positions.shape[1:]]
        return {"type": "prototype parts", "channels": channels, "size": size, "parts": parts}
    if type(part) is ExpandedPooling:
        return {"type": "expanded", "channels": part.channels, "copies": part.copies}
    names: dict[type, str] = {BNNeck: "bn", DualBNNeck: "dual bn", ExpandedNeck: "expanded bn", nn.Identity: "none"}
    return {**names, nn.Flatten: "flatten"}.get(type(part))


def _build(config: Mapping[str, Any], own: Mapping[str, nn.Module | None]) -> dict[str, Any]:
    """The parts of an embedder, each the user's own or made from the configuration."""
    parts: dict[str, Any] = dict(own)
    for name, part in own.items():
        remedy = f"It was saved with one of your own: from_pretrained(source, {name}=…)."
        require(part is not None or config[name] is not None, name, "be given", None, remedy)
    if own["backbone"] is None:
        check_type(f"{CONFIG}['backbone']", config["backbone"], dict, "be a dictionary")
        parts["backbone"] = create_backbone(**config["backbone"], pretrained=False, checkpoint=None)
    if own["pool"] is None and config["pool"] == "flatten":
        parts["pool"] = nn.Flatten()
    elif own["pool"] is None:
        check_type(f"{CONFIG}['pool']", config["pool"], dict, "be a dictionary")
        arguments = dict(config["pool"])
        pools: dict[str, Callable[..., nn.Module]] = {
            "gem": GeneralizedMeanPool,
            "mask parts": MaskPartPooling,
            "prototype parts": PrototypePartPooling,
            "expanded": ExpandedPooling,
        }
        kind = arguments.pop("type", "gem")
        check_choice(f"{CONFIG}['pool']['type']", kind, pools)
        parts["pool"] = pools[kind](**arguments)
    if own["neck"] is None:
        check_choice(f"{CONFIG}['neck']", config["neck"], ("bn", "none", "dual bn", "expanded bn"))
        if config["neck"] == "none":
            parts["neck"] = nn.Identity()
        elif config["neck"] == "dual bn":
            parts["neck"] = DualBNNeck(_find_width(parts["pool"], parts["backbone"]))
        elif config["neck"] == "expanded bn":
            parts["neck"] = ExpandedNeck(_find_width(parts["pool"], parts["backbone"]) // parts["pool"].copies)
    return parts


def _find_width(pool: nn.Module, backbone: TwoStreamBackbone) -> int:
    """The number of values of a pooled embedding."""
    width: Any = getattr(pool, "out_channels", backbone.out_channels)
    return check_integer("pool.out_channels", width, least=1)


def _check_weights(embedder: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Require the names, shapes and kinds of an embedder's weights, and finite values."""
    expected = embedder.state_dict()
    fitting = [name for name in weights if name in expected and weights[name].shape == expected[name].shape]
    different = sorted((expected.keys() | weights.keys()) - set(fitting))
    found = f"{len(fitting)} that match; the first that does not: {different[:1]}"
    require(not different, WEIGHTS, f"hold the {len(expected)} weights of this network", found)
    for name, values in weights.items():
        floating = values.is_floating_point() == expected[name].is_floating_point()
        integral = is_integral(values) == is_integral(expected[name])
        require(floating and integral, f"{WEIGHTS}[{name!r}]", f"be like {expected[name].dtype}", values.dtype)
        require(bool(values.isfinite().all()), f"{WEIGHTS}[{name!r}]", "be finite", "infinity or NaN")


def _find(source: str | os.PathLike[str]) -> Path:
    """The folder of a checkpoint; the hub is asked only for a name that begins with ``hub:``."""
    check_type("source", source, (str, os.PathLike), "be a folder or 'hub:name/model'")
    name = str(source)
    if name.startswith("hub:"):
        repository = name.removeprefix("hub:")
        _check_repository("source", repository)
        from huggingface_hub import snapshot_download  # noqa: PLC0415  (it costs time; only the hub needs it)

        try:
            folder = Path(snapshot_download(repository, allow_patterns=[CONFIG, WEIGHTS]))
        except (OSError, ValueError) as error:
            reason = f"be a repository that can be reached on the Hugging Face hub ({error})"
            raise FileNotFoundError(f"source must {reason}, got {name!r}.") from error
    else:
        folder = Path(source)
        remedy = "Write 'hub:name/model' for a repository on the Hugging Face hub."
        require(folder.is_dir(), "source", "be a folder", name, remedy, error=FileNotFoundError)
    for file in (CONFIG, WEIGHTS):
        remedy = f"save_pretrained writes {CONFIG} and {WEIGHTS}."
        require((folder / file).is_file(), "source", f"hold {file}", name, remedy, error=FileNotFoundError)
    return folder


def _check_repository(argument: str, repository: str) -> None:
    check_type(argument, repository, str, "be a string")
    valid = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repository)
    require(valid is not None, argument, "be of the form name/model", repository)


def _model_card(config: Mapping[str, Any], *, data: str, licence: str, results: str) -> str:
    """README.md of a checkpoint, as the Hugging Face hub shows it."""
    name = (config["backbone"] or {}).get("name", "halves of its author's own")
    identifier = licence if re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence) else "other"
    return f"""---
library_name: vireid
pipeline_tag: image-feature-extraction
tags: [person-re-identification, visible-infrared]
license: {identifier}
---

# Visible-infrared person re-identification: a two-stream embedder on {name}

```python
from vireid import TwoStreamEmbedder
from vireid.data import create_test_transform

embedder = TwoStreamEmbedder.from_pretrained("folder")  # or "hub:name/model"
transform = create_test_transform(**embedder.preprocessing)
embeddings = embedder.embed(images, "infrared")  # b 3 H W -> b d, unit length
```

- Data: {data or "not stated"}
- Licence: {licence or "not stated"}
- Preprocessing: {json.dumps(config["preprocessing"])}
- Written by vireid {config["vireid"]}

## Results

{results or "Not stated."}
"""
