"""Export of an embedder to ONNX or torch.export: one file for each modality, and the proof that it does the same.

A file takes uint8 RGB images of the network's size, b 3 h w, and returns embeddings of unit length, b d. The mean and
standard deviation are applied inside, so that nobody applies them twice; images of another type are refused. You resize
the images. ``docs/deploy.md`` shows how to use such a file.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from vireid._checks import (
    check_choice,
    check_embeddings,
    check_flags,
    check_integer,
    check_tensor,
    check_type,
    import_extra,
    require,
)
from vireid._files import CHECKSUM, UNSEALED, check_file, digest_weights, write_file
from vireid.modality import Modality
from vireid.models.embedder import TwoStreamEmbedder
from vireid.models.expansion import normalize_versions

Precision = Literal["float32", "float16", "int8"]

_METADATA = "vireid.json"  # in the metadata of ONNX, or a file in the archive of torch.export
_QUANTIZED = ["Conv", "Gemm", "MatMul"]  # normalisation and pooling stay exact
_TIE = 1e-5  # of cosine similarities that rounding may order either way
_LARGEST_ERROR = 1e-3  # between the unit embeddings of float32 files and of PyTorch


@dataclass(frozen=True)
class ExportReport:
    """Describe an exported file.

    Attributes:
        path: Path of the file.
        modality: Modality of the images that it embeds.
        precision: Type of numbers that it computes in.
        size: (height, width) of the images in pixels.
        embedding_dim: Number of values d of an embedding.
        file_size: Size of the file in bytes.
    """

    path: Path
    modality: str
    precision: str
    size: tuple[int, int]
    embedding_dim: int
    file_size: int

    def __str__(self) -> str:
        height, width = self.size
        images = f"uint8 {self.modality} images b×3×{height}×{width}"
        return f"{self.path} ({self.file_size / 1e6:.1f} MB): {images} → b×{self.embedding_dim}, {self.precision}"


@dataclass(frozen=True)
class ParityReport:
    """Compare the embeddings of an exported file with those of PyTorch.

    Attributes:
        path: Path of the file.
        modality: Modality of the images.
        precision: Type of numbers that the file computes in.
        images: Number of images that were embedded both ways.
        largest_difference: Largest absolute difference of two values.
        smallest_cosine: Smallest cosine similarity of an image's two embeddings.
        rank1_agreement: Share of the images for which both embeddings find the same gallery row first, from 0 to 1.
        ranking_agreement: Share of the images for which both embeddings put all gallery rows in the same order, except
            for rows whose cosine similarities differ by at most 1e-5. Such rows also change places between two runs of
            PyTorch with batches of different sizes.
    """

    path: Path
    modality: str
    precision: str
    images: int
    largest_difference: float
    smallest_cosine: float
    rank1_agreement: float
    ranking_agreement: float

    def __str__(self) -> str:
        text = (
            f"{self.path} ({self.precision}) against PyTorch on {self.images} {self.modality} images: "
            f"largest difference {self.largest_difference:.1e}, smallest cosine {self.smallest_cosine:.6f}, "
            f"same rank-1 {self.rank1_agreement:.2%}, same ranking {self.ranking_agreement:.2%}"
        )
        if self.precision != "float32" and self.ranking_agreement < 1:
            text += (
                f". With {self.precision}, images of nearly equal similarity change places somewhere in most rankings; "
                "rank-1 and the results of a protocol tell whether that matters"
            )
        return text


class ExportedEmbedder:
    """Embed uint8 images of one modality with an exported file; :func:`load_exported` makes one.

    It computes on the CPU and needs no network of vireid. :func:`vireid.evaluation.extract_embeddings` takes it as its
    model.

    Attributes:
        path: Path of the file.
        metadata: Contents of the file's metadata: ``version`` of vireid, ``modality``, ``size``, ``embedding_dim``,
            ``precision``, ``input`` in words, ``mean`` and ``std`` for information, ``network`` and ``calibration`` (or
            None).
        network: Digest of the weights that were exported, ``""`` if the file does not tell.
        modality: Modality of the images.
        size: (height, width) of the images in pixels.
        embedding_dim: Number of values d of an embedding.

    Shape:
        uint8 b 3 h w -> float32 b d.
    """

    def __init__(
        self, path: Path, metadata: Mapping[str, Any], run: Callable[[Tensor], Tensor], fingerprint: str
    ) -> None:
        self.path = path
        self.metadata = dict(metadata)
        self.modality = Modality.of(self.metadata["modality"])
        height, width = self.metadata["size"]
        self.size = (int(height), int(width))
        self.embedding_dim = int(self.metadata["embedding_dim"])
        self.network = str(self.metadata.get("network", ""))
        self._run = run
        self._fingerprint = fingerprint

    def __call__(self, images: Tensor, modality: Modality | str | None = None) -> Tensor:
        """Embed images, as :meth:`embed` does; the modality may be left out."""
        return self.embed(images, self.modality if modality is None else modality)

    def embed(self, images: Tensor, modality: Modality | str) -> Tensor:
        """Embed images of the file's modality.

        Args:
            images: Images of the file's size, uint8, RGB, not normalised.
            modality: Modality of the images.

        Shape:
            b 3 h w -> b d.

        Raises:
            ValueError: If the images have another shape or size, or the file is of the other modality.
            TypeError: If the images are not uint8.
        """
        _check_images("images", images, self.size, batched=True)
        given = Modality.of(modality)
        remedy = "Each modality has a file of its own."
        require(given is self.modality, "modality", f"be {self.modality.value!r}", given.value, remedy)
        return self._run(images.detach().cpu()).to(images.device)

    def fingerprint(self) -> str:
        """Return a string that changes with the contents of the file."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"ExportedEmbedder({str(self.path)!r}, {self.modality.value!r}, size={self.size})"


def export(
    embedder: TwoStreamEmbedder,
    modality: Modality | str,
    path: str | os.PathLike[str],
    *,
    precision: Precision = "float32",
    calibration: Any = None,
    images: Any = None,
) -> ExportReport:
    """Write the network of one modality to a file, ``.onnx`` for ONNX or ``.pt2`` for torch.export.

    The file takes any number of uint8 images, b 3 h w, of ``embedder.preprocessing["size"]``, and normalises them
    itself. It is written whole, with a checksum and metadata. A float32 file is written only if its embeddings are
    those of PyTorch on three test patterns; :func:`check_export` compares them on your images.

    Args:
        embedder: Embedder, such as ``model.embedder``. It is not changed.
        modality: Modality of the images that the file is for.
        path: Path of the file, which ends in ``.onnx`` or ``.pt2``.
        precision: Type of numbers. ``"float16"`` halves the file and computes in it up to the pooling, which stays in
            float32. ``"int8"`` quantises convolutions and matrix products; ONNX only.
        calibration: :class:`vireid.evaluation.Calibration` of this network, or a dictionary, to keep in the file's
            metadata. A ``network``, ``feature``, ``query`` and ``gallery`` in it must be those of the file.
        images: Training images of the modality, a few hundred, from which ``"int8"`` takes the ranges of activations: a
            sequence of uint8 images 3 h w of the network's size, or of tuples that begin with one.

    Raises:
        ValueError: If there is no such modality, format or precision, an image has another shape or size,
            ``calibration`` is of another network, of mirror images or of the other modality, or the network cannot be
            exported.
        TypeError: If an argument has the wrong type, an image is not uint8, or ``calibration`` holds something that
            JSON does not.
        ImportError: If onnx, onnxscript or onnxruntime is missing and ``path`` ends in ``.onnx``.
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> from vireid import create_backbone
        >>> embedder = TwoStreamEmbedder(create_backbone("test_resnet", image_size=(64, 32)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = export(embedder, "infrared", f"{folder}/infrared.pt2")
        ...     exported = load_exported(report.path, trusted=True)
        >>> exported(torch.zeros(5, 3, 64, 32, dtype=torch.uint8)).shape
        torch.Size([5, 96])
    """
    check_type("embedder", embedder, TwoStreamEmbedder, "be a TwoStreamEmbedder, such as model.embedder")
    stream = Modality.of(modality)
    path = _check_path("path", path)
    check_choice("precision", precision, ("float32", "float16", "int8"))
    size = embedder.preprocessing["size"]
    quantized = precision == "int8"
    if quantized:
        require(path.suffix == ".onnx", "precision", "be 'float32' or 'float16' for a .pt2 file", precision)
        _check_sequence("images", images)
        images = list(_batches("images", images, size))
    else:
        require(images is None, "images", "be None unless precision is 'int8'", type(images).__name__)
    network_digest = digest_weights(embedder)
    calibration = _check_calibration(calibration, network_digest, stream)
    if calibration is not None and quantized:
        message = "The calibration is of float32 embeddings; an int8 file turns them, so its threshold is off."
        warnings.warn(f"{message} Calibrate with the embeddings of the files.", stacklevel=2)
    metadata = {
        "version": sys.modules["vireid"].__version__,
        "modality": stream.value,
        "size": list(size),
        "embedding_dim": embedder.embedding_dim,
        "precision": precision,
        "input": "uint8 RGB images b 3 h w of this size; mean and std are applied inside the file",
        "mean": list(embedder.preprocessing["mean"]),
        "std": list(embedder.preprocessing["std"]),
        "network": network_digest,
        "calibration": calibration,
    }
    description = _to_json(metadata)
    network = _Deployed(embedder, stream, torch.float16 if precision == "float16" else torch.float32)
    if path.suffix == ".onnx":
        content = _to_onnx(network, size, description, images)
    else:
        content = _to_pt2(network, size, description)
    if precision == "float32":
        _, run = _read(path.suffix, content)
        _check_faithful(_reference(embedder, stream), run, size)

    def write(file: Path) -> None:
        file.write_bytes(content)

    write_file(path, write)
    return ExportReport(path, stream.value, precision, size, embedder.embedding_dim, len(content))


def load_exported(path: str | os.PathLike[str], *, trusted: bool = False) -> ExportedEmbedder:
    """Load a file that :func:`export` has written, to embed images with it on the CPU.

    An ``.onnx`` file is run by onnxruntime, and nothing else in it is executed. A ``.pt2`` file is read by
    ``torch.export.load``, which unpickles parts of it and evaluates expressions in it, so that a file made for the
    purpose can run any code. It is refused unless you say that you trust it.

    Args:
        path: Path of the file.
        trusted: Whether you trust whoever wrote the file, as a ``.pt2`` file requires.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or was not written by :func:`export`, or a ``.pt2`` file is not trusted.
        TypeError: If an argument has the wrong type.
        ImportError: If onnxruntime is missing and ``path`` ends in ``.onnx``.
    """
    check_flags(trusted=trusted)
    return _load("path", path, trusted)


def check_export(
    exported: ExportedEmbedder | str | os.PathLike[str],
    embedder: TwoStreamEmbedder,
    images: Any,
    *,
    gallery: Tensor | None = None,
    batch_size: int = 64,
) -> ParityReport:
    """Compare an exported file with PyTorch on images: their embeddings, and the rankings that follow from them.

    Each image is a query, once with its embedding from the file and once with PyTorch's. Both search the same gallery
    by cosine similarity.

    Args:
        exported: Path of an ``.onnx`` file, or what :func:`load_exported` returned.
        embedder: Embedder that the file was exported from. Its mode is not changed.
        images: Images of the file's modality and size: a sequence of uint8 images 3 h w, or of tuples that begin with
            one, such as :class:`vireid.data.PersonImages` with a transform that only resizes.
        gallery: Embeddings to search, g d, such as PyTorch's of the other modality. By default those of ``images``,
            among which no image finds itself.
        batch_size: Number of images embedded at a time.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If an image has another shape or size, there are too few, the file is none that :func:`export` has
            written, has embeddings of another length than the embedder, or returns embeddings that are not finite.
        TypeError: If an argument has the wrong type, or an image is not uint8.
        ImportError: If onnxruntime is missing and the file is ``.onnx``.
    """
    if not isinstance(exported, ExportedEmbedder):
        exported = _load("exported", exported, trusted=False)
    check_type("embedder", embedder, TwoStreamEmbedder, "be a TwoStreamEmbedder, such as model.embedder")
    fits = (embedder.embedding_dim, embedder.preprocessing["size"]) == (exported.embedding_dim, exported.size)
    rule = f"be the exported one, of size {exported.size} and {exported.embedding_dim} values"
    require(fits, "embedder", rule, (embedder.preprocessing["size"], embedder.embedding_dim))
    batch_size = check_integer("batch_size", batch_size, least=1)
    _check_sequence("images", images, least=1 if gallery is not None else 2)
    found, expected = [], []
    reference = _reference(embedder, exported.modality)
    for batch in _batches("images", images, exported.size, batch_size):
        found.append(exported(batch))
        expected.append(reference(batch))
    ours, theirs = torch.cat(found).double(), torch.cat(expected).double()
    finite = bool(ours.isfinite().all())
    require(finite, "exported", "return finite embeddings", f"infinity or NaN from {exported.path}")
    rank1, ranking = _agreement(ours, theirs, gallery)
    return ParityReport(
        path=exported.path,
        modality=exported.modality.value,
        precision=exported.metadata["precision"],
        images=len(ours),
        largest_difference=(ours - theirs).abs().max().item(),
        smallest_cosine=nn.functional.cosine_similarity(ours, theirs).min().item(),
        rank1_agreement=rank1,
        ranking_agreement=ranking,
    )


class _Deployed(nn.Module):
    """Embed uint8 images of one modality: what is written to the file, as a copy of the embedder on the CPU."""

    factor: Tensor
    offset: Tensor

    def __init__(self, embedder: TwoStreamEmbedder, modality: Modality, dtype: torch.dtype) -> None:
        super().__init__()
        parts = copy.deepcopy(embedder).cpu().float().requires_grad_(False)
        backbone = parts.backbone
        own = backbone.visible_stages if modality is Modality.VISIBLE else backbone.infrared_stages
        self.stages = nn.Sequential(own, backbone.shared_stages).to(dtype)
        self.copies = getattr(parts.pool, "copies", 1)
        self.pool, self.neck = parts.pool, parts.neck_of(modality)  # in float32: the powers of GeM exceed float16
        self.dtype = dtype
        mean, std = (
            torch.tensor(embedder.preprocessing[x], dtype=torch.float64).view(3, 1, 1) for x in ("mean", "std")
        )
        self.register_buffer("factor", (1 / (255 * std)).float())
        self.register_buffer("offset", (-mean / std).float())
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        normalised = images.float() * self.factor + self.offset
        pooled = self.pool(self.stages(normalised.to(self.dtype)).float())
        return normalize_versions(self.neck(pooled), self.copies)


def _example(size: tuple[int, int], number: int) -> Tensor:
    """Images of no meaning, without a random number."""
    return (torch.arange(number * 3 * size[0] * size[1]) % 251).view(number, 3, *size).to(torch.uint8)


def _to_onnx(network: nn.Module, size: tuple[int, int], metadata: str, ranges: list[Tensor] | None) -> bytes:
    import_extra("onnxscript", "export")
    onnx = import_extra("onnx", "export")
    import_extra("onnxruntime", "export")
    options: dict[str, Any] = {"input_names": ["images"], "output_names": ["embeddings"]}
    with _told_of_failure():
        program = torch.onnx.export(
            network, (_example(size, 2),), dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False, **options
        )
        model = program.model_proto  # type: ignore[union-attr]
    for node in (node for graph in (model.graph, *model.functions) for node in graph.node):
        del node.metadata_props[:]  # the paths of source files on this machine
    if ranges is not None:
        model = _quantize(model, ranges)
    onnx.helper.set_model_props(model, {_METADATA: metadata, CHECKSUM: UNSEALED})
    content: bytes = model.SerializeToString()
    return content


def _quantize(model: Any, ranges: list[Tensor]) -> Any:
    """Quantise weights per channel and activations with the ranges that images give them."""
    quantization = import_extra("onnxruntime.quantization", "export")
    onnx = import_extra("onnx", "export")

    batches = iter(ranges)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, Any] | None:
            batch = next(batches, None)
            return None if batch is None else {"images": batch.numpy()}

    with TemporaryDirectory() as folder:
        source, prepared, result = (f"{folder}/{name}.onnx" for name in ("source", "prepared", "result"))
        onnx.save(model, source)
        quantization.shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            result,
            Reader(),
            per_channel=True,
            op_types_to_quantize=_QUANTIZED,
            activation_type=quantization.QuantType.QUInt8,  # on x86 several times as fast as signed ones
        )
        return onnx.load(result)


def _to_pt2(network: nn.Module, size: tuple[int, int], metadata: str) -> bytes:
    buffer = io.BytesIO()
    with _told_of_failure():
        shapes = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(network, (_example(size, 2),), dynamic_shapes=shapes)
        for module in program.graph_module.modules():
            for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                node.meta.pop("stack_trace", None)  # the paths of source files on this machine
        torch.export.save(program, buffer, extra_files={_METADATA: metadata})
    comment = f"{CHECKSUM} {UNSEALED}".encode()  # a zip archive ends with the length of its comment and the comment
    return buffer.getvalue()[:-2] + len(comment).to_bytes(2, "little") + comment


def _load(argument: str, path: str | os.PathLike[str], trusted: bool) -> ExportedEmbedder:
    path = _check_path(argument, path)
    require(path.is_file(), argument, "be a file", str(path), error=FileNotFoundError)
    if path.suffix == ".pt2" and not trusted:
        remedy = "Reading a .pt2 file can execute code in it. If it is your own: load_exported(path, trusted=True)."
        require(False, argument, "be trusted, or end in .onnx", str(path), remedy)
    try:
        require(check_file(path), "it", "have the checksum of export", "none")
        content = path.read_bytes()
        metadata, run = _read(path.suffix, content)
        return ExportedEmbedder(path, metadata, run, hashlib.sha256(content).hexdigest())
    except ImportError:
        raise
    except Exception as error:  # the libraries raise many types
        raise ValueError(f"{argument} must be a whole file of export, got {str(path)!r}: {error}") from error


def _read(suffix: str, content: bytes) -> tuple[dict[str, Any], Callable[[Tensor], Tensor]]:
    """The metadata of a file's contents, and the function from uint8 images to embeddings."""
    return _read_onnx(content) if suffix == ".onnx" else _read_pt2(content)


def _read_onnx(content: bytes) -> tuple[dict[str, Any], Callable[[Tensor], Tensor]]:
    runtime = import_extra("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map[_METADATA])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["embeddings"], {"images": images.numpy()})[0])

    return metadata, run


def _read_pt2(content: bytes) -> tuple[dict[str, Any], Callable[[Tensor], Tensor]]:
    files = {_METADATA: ""}
    module = torch.export.load(io.BytesIO(content), extra_files=files).module()

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            return module(images)  # type: ignore[no-any-return]

    return json.loads(files[_METADATA]), run


@contextlib.contextmanager
def _told_of_failure() -> Iterator[None]:
    """Say that a network cannot be exported; the exporters raise many types."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"embedder must be a network that torch can export, got an error: {error}") from error


def _reference(embedder: TwoStreamEmbedder, modality: Modality) -> Callable[[Tensor], Tensor]:
    """PyTorch's embeddings of uint8 images, written independently of what is exported."""
    network = copy.deepcopy(embedder).cpu().float().eval()
    mean, std = (torch.tensor(network.preprocessing[name]).view(3, 1, 1) for name in ("mean", "std"))

    def embed(images: Tensor) -> Tensor:
        with torch.no_grad():
            return network.embed((images / 255 - mean) / std, modality)

    return embed


def _check_faithful(embed: Callable[[Tensor], Tensor], run: Callable[[Tensor], Tensor], size: tuple[int, int]) -> None:
    """Require the embeddings of PyTorch, for another number of images than the network was traced with."""
    images = _example(size, 3)
    largest = (run(images) - embed(images)).abs().max().item()
    rule = "be a network whose exported embeddings are those of PyTorch"
    require(largest <= _LARGEST_ERROR, "embedder", rule, f"a difference of {largest:.1e}")


def _agreement(ours: Tensor, theirs: Tensor, gallery: Tensor | None) -> tuple[float, float]:
    """The shares of queries with the same first row, and with the same order of all rows but for ties."""
    rows = theirs
    if gallery is not None:
        check_embeddings("gallery", gallery, theirs)
        rows = normalize(gallery.detach().double())
    firsts, orders = [], []
    for start in range(0, len(ours), 256):
        expected, found = (queries[start : start + 256] @ rows.T for queries in (theirs, ours))
        if gallery is None:
            for similarity in (expected, found):
                similarity.diagonal(start).fill_(-2)  # an image does not find itself
        ranked, order = expected.sort(dim=1, descending=True, stable=True)
        other = found.argsort(dim=1, descending=True, stable=True)
        firsts.append(order[:, 0] == other[:, 0])
        orders.append(((expected.gather(1, other) - ranked).abs() <= _TIE).all(dim=1))
    first, whole = (torch.cat(shares).double().mean().item() for shares in (firsts, orders))
    return first, whole


def _check_path(argument: str, path: str | os.PathLike[str]) -> Path:
    check_type(argument, path, (str, os.PathLike), "be a path that ends in .onnx or .pt2")
    path = Path(os.fsdecode(path))
    require(path.suffix in {".onnx", ".pt2"}, argument, "end in .onnx or .pt2", str(path))
    return path


def _check_calibration(calibration: Any, network: str, modality: Modality) -> dict[str, Any] | None:
    """Require a calibration of this network and of embeddings as the file computes them, and return its fields."""
    if is_dataclass(calibration) and not isinstance(calibration, type):
        calibration = asdict(calibration)
    check_type("calibration", calibration, (Mapping, type(None)), "be a Calibration or a dictionary")
    if calibration is None:
        return None
    found, feature = str(calibration.get("network") or network), str(calibration.get("feature"))
    remedy = "Calibrate it again, with the network that is exported."
    require(found == network, "calibration", f"be of the network with the weights {network!r}", found, remedy)
    plain, rule = (
        not re.search(", (flip|feature (?!bn)) ?", feature),
        "be of embeddings without options, as the file makes them",
    )
    require(plain, "calibration", rule, feature, "Calibrate it again, without them.")
    modalities = [calibration[side] for side in ("query", "gallery") if side in calibration] or [modality.value]
    require(modality.value in modalities, "calibration", f"be for {modality.value} images", modalities)
    return dict(calibration)


def _to_json(metadata: Mapping[str, Any]) -> str:
    try:
        return json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"calibration must hold what JSON can, got {metadata['calibration']!r:.200}: {error}.") from error


def _check_sequence(argument: str, images: Any, *, least: int = 1) -> None:
    sized = hasattr(images, "__len__") and hasattr(images, "__getitem__") and not isinstance(images, (str, Mapping))
    sized = sized and getattr(images, "ndim", 1) > 0  # of a tensor
    require(sized, argument, "be a sequence of uint8 images", type(images).__name__, error=TypeError)
    require(len(images) >= least, argument, f"hold at least {least} image{'s' * (least > 1)}", len(images))


def _batches(argument: str, images: Any, size: tuple[int, int], batch_size: int = 16) -> Iterator[Tensor]:
    """Batches of the images of a sequence, b 3 h w."""
    batch = []
    for i in range(len(images)):
        item = images[i]
        image = item[0] if isinstance(item, (tuple, list)) and item else item
        _check_images(f"{argument}[{i}]", image, size)
        batch.append(image)
        if len(batch) == batch_size or i + 1 == len(images):
            yield torch.stack(batch)
            batch = []


def _check_images(argument: str, images: Any, size: tuple[int, int], *, batched: bool = False) -> None:
    """Require uint8 images of a size; other types have most likely been normalised already."""
    check_tensor(argument, images)
    shape = tuple(images.shape)
    letters = "(b, 3, height, width)" if batched else "(3, height, width)"
    require(len(shape) == 3 + batched and shape[-3] == 3, argument, f"have shape {letters}", shape)
    remedy = "The file normalises them itself: give it pixels from 0 to 255, not normalised."
    require(images.dtype == torch.uint8, argument, "be uint8", images.dtype, remedy, error=TypeError)
    remedy = f"torchvision.transforms.v2.Resize({size}) makes images of this size."
    require(shape[-2:] == size, argument, f"be of size (height, width) = {size}", shape[-2:], remedy)
    require(not batched or shape[0] > 0, argument, "hold at least 1 image", shape)
