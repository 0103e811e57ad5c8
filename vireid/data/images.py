"""Records of a data set's images, and from records to images: reading, checking, and the items of a data loader."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import Dataset

from vireid._checks import (
    check_callable,
    check_choice,
    check_integer,
    check_number,
    check_type,
    import_extra,
    require,
)
from vireid.data.pixels import from_pillow
from vireid.modality import Modality

Transform = Callable[[Tensor], Tensor]
Decoder = Literal["pillow", "simplejpeg"]


class _Fields(NamedTuple):
    path: Path
    identity: int
    camera: int
    modality: Modality


class Record(_Fields):
    """Name one image of a data set: its file, the person it shows, and the camera and modality that took it.

    The fields are brought to their types, so that ``Record("0001.jpg", 2, 1, "visible").modality`` is
    ``Modality.VISIBLE``.

    Args:
        path: File of the image.
        identity: Number of the person.
        camera: Number of the camera.
        modality: ``"visible"`` or ``"infrared"``.

    Raises:
        ValueError: If ``modality`` is neither.
        TypeError: If ``path`` is no path, or a number is no integer.

    Example:
        >>> Record("cam1/0002/0001.jpg", 2, 1, "visible").modality
        <Modality.VISIBLE: 'visible'>
    """

    __slots__ = ()

    def __new__(cls, path: str | os.PathLike[str], identity: int, camera: int, modality: Modality | str) -> Record:
        """Bring the fields to their types."""
        _check_path(path)
        fields = check_integer("identity", identity), check_integer("camera", camera), Modality.of(modality)
        return super().__new__(cls, path if isinstance(path, Path) else Path(path), *fields)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Record:  # type: ignore[override]
        return cls(*iterable)  # `_replace` comes through here


class Pair(NamedTuple):
    """Index a visible and an infrared image of one identity in :class:`PairedImages`.

    Args:
        visible: Index of the visible image.
        infrared: Index of the infrared image.
        seed: Seed of the pair's augmentations, which are then the same in any process. Without it they are drawn from
            torch's global generator as it stands.
    """

    visible: int
    infrared: int
    seed: int | None = None


class PersonImages(Dataset[tuple[Tensor, int, int]]):
    """Read the images of records for evaluation: (image, identity, camera).

    Args:
        records: Images to read.
        transform: Function from a uint8 image, 3 h w, to the network's input; without it the image is given as read.
        corruption: Function applied to each image before the transform, such as :class:`RandomCorruption`. It takes the
            image and a string that names it, the same in every list of records.
        value_range: Range of gray images with more than 8 bits, as for :func:`read_image`.
        decoder: Library that decodes JPEG files, as for :func:`read_image`.

    Raises:
        ValueError: If there is no record, or (on access) an image cannot be read.
        TypeError: If an argument has another type.
    """

    def __init__(
        self,
        records: Sequence[Record],
        transform: Transform | None = None,
        *,
        corruption: Callable[[Tensor, str], Tensor] | None = None,
        value_range: tuple[float, float] | None = None,
        decoder: Decoder = "pillow",
    ) -> None:
        self.records = _check_records(records)
        require(len(self.records) > 0, "records", "hold an image", 0)
        for argument, function in {"transform": transform, "corruption": corruption}.items():
            if function is not None:
                check_callable(argument, function, "be None or callable")
        self.transform = transform
        self.corruption = corruption
        self.value_range = _check_range(value_range)
        self.decoder = _check_decoder(decoder)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        record = self.records[index]
        image = read_image(record.path, value_range=self.value_range, decoder=self.decoder)
        if self.corruption is not None:
            image = self.corruption(image, _key(record))
        return image if self.transform is None else self.transform(image), record.identity, record.camera

    def fingerprint(self) -> str:
        """Return a string that changes with the files (names, sizes, times), their order, and how they are processed.

        Raises:
            FileNotFoundError: If a file is missing.
            TypeError: If the transform or the corruption cannot be pickled.
        """
        digest = hashlib.sha256()
        for record in self.records:
            status = record.path.stat()
            line = f"{record.path.name} {_key(record)} {status.st_size} {status.st_mtime_ns}\n"
            digest.update(line.encode(errors="surrogatepass"))  # for names that are not UTF-8
        try:
            digest.update(_same_in_every_process((self.transform, self.corruption, self.value_range, self.decoder)))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(f"transform must be something that pickle can save, got {self.transform!r}.") from error
        return digest.hexdigest()


class PairedImages(Dataset[tuple[Tensor, Tensor, int]]):
    """Read pairs of a visible and an infrared image of one identity for training: (visible, infrared, label).

    It is indexed by pairs of indices, which :class:`CrossModalityIdentitySampler` draws. The sampler's pairs carry a
    seed each, so that the augmentations depend neither on the number of workers nor on the process. This holds for
    draws from torch's global CPU generator; a transform that draws from ``random`` or NumPy is left to its own.
    Labels number the identities from 0 in ascending order.

    Args:
        records: Images of both modalities.
        visible_transform: Function from a uint8 visible image, 3 h w, to the network's input.
        infrared_transform: Function from a uint8 infrared image, 3 h w, to the network's input.
        value_range: Range of gray images with more than 8 bits, as for :func:`read_image`.
        decoder: Library that decodes JPEG files, as for :func:`read_image`.

    Attributes:
        visible_identities: Label of every visible image, an int64 tensor.
        infrared_identities: Label of every infrared image, an int64 tensor.
        num_identities: Number of labels.

    Raises:
        ValueError: If a modality has no image, or (on access) a pair shows two identities or an image cannot be read.
        TypeError: If an argument has another type, or (on access) the index is no pair.
    """

    def __init__(
        self,
        records: Sequence[Record],
        visible_transform: Transform,
        infrared_transform: Transform,
        *,
        value_range: tuple[float, float] | None = None,
        decoder: Decoder = "pillow",
    ) -> None:
        records = _check_records(records)
        self.visible = [record for record in records if record.modality is Modality.VISIBLE]
        self.infrared = [record for record in records if record.modality is Modality.INFRARED]
        counts = (len(self.visible), len(self.infrared))
        require(min(counts) > 0, "records", "hold visible and infrared images", counts)
        check_callable("visible_transform", visible_transform)
        check_callable("infrared_transform", infrared_transform)
        self.visible_transform = visible_transform
        self.infrared_transform = infrared_transform
        self.value_range = _check_range(value_range)
        self.decoder = _check_decoder(decoder)
        labels = {identity: i for i, identity in enumerate(sorted({record.identity for record in records}))}
        self.visible_identities = torch.tensor([labels[record.identity] for record in self.visible])
        self.infrared_identities = torch.tensor([labels[record.identity] for record in self.infrared])
        self.num_identities = len(labels)

    def __len__(self) -> int:
        """Return the number of images of the larger modality."""
        return max(len(self.visible), len(self.infrared))

    def __getitem__(self, pair: Pair | tuple[int, int]) -> tuple[Tensor, Tensor, int]:
        rule, remedy = "be (visible index, infrared index)", "Its data loader needs a batch_sampler that draws pairs."
        is_pair = isinstance(pair, Pair) or (isinstance(pair, (tuple, list)) and len(pair) == 2)
        require(is_pair, "pair", rule, pair, remedy, error=TypeError)
        pair = Pair(*pair)
        visible, infrared = self.visible[pair.visible], self.infrared[pair.infrared]
        rule = "index images of one identity"
        require(visible.identity == infrared.identity, "pair", rule, (visible.identity, infrared.identity))
        options: dict[str, Any] = {"value_range": self.value_range, "decoder": self.decoder}
        images = [read_image(record.path, **options) for record in (visible, infrared)]
        with torch.random.fork_rng(devices=[], enabled=pair.seed is not None):
            if pair.seed is not None:
                torch.default_generator.manual_seed(pair.seed)  # torch.manual_seed would seed CUDA as well
            augmented = self.visible_transform(images[0]), self.infrared_transform(images[1])
        return *augmented, int(self.visible_identities[pair.visible])


class _StablePickler(pickle.Pickler):
    """Pickle for comparison only: torch writes a tensor's address, and a module's sets come in any order."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return str, (f"{obj.dtype} {tuple(obj.shape)} {obj.tolist()}",)
        if isinstance(obj, nn.Module):
            state = {name: sorted(value) if isinstance(value, set) else value for name, value in vars(obj).items()}
            return str, (f"{type(obj).__module__}.{type(obj).__qualname__}",), state
        return NotImplemented


def _same_in_every_process(thing: object) -> bytes:
    buffer = io.BytesIO()
    _StablePickler(buffer, protocol=4).dump(thing)
    return buffer.getvalue()


def _key(record: Record) -> str:
    """Name an image independently of the folder of its data set."""
    return f"{record.modality.value}/{record.camera}/{record.identity}/{record.path.name}"


def read_image(
    path: str | os.PathLike[str],
    *,
    value_range: tuple[float, float] | None = None,
    decoder: Decoder = "pillow",
) -> Tensor:
    """Read an image file as 8-bit RGB, upright: an EXIF orientation is applied.

    A gray image has three equal channels. Gray images with more than 8 bits (16- or 32-bit integers, floats), as
    thermal cameras write them, are scaled linearly to 0 to 255. By default the darkest and the brightest pixel of each
    image become 0 and 255, as in a camera's automatic gain: this keeps the contrast of raw values that use a small part
    of their range, but the same temperature gets another gray in another image. With a fixed ``value_range`` it does
    not; values outside become 0 or 255. Images of 8 bits a channel are never scaled.

    Args:
        path: Image file of any format that Pillow reads.
        value_range: Values that become 0 and 255, such as ``(0, 65535)``, or the 27315 and 32315 of 0 °C and 50 °C in
            hundredths of a kelvin; by default the least and the greatest value of the image.
        decoder: Library that decodes JPEG files: ``"pillow"``, or ``"simplejpeg"``, which is faster and gives the same
            values with the same version of libjpeg-turbo. It leaves other files, and those with EXIF or XMP data, to
            Pillow.

    Shape:
        -> 3 h w, uint8: a view of pixels of four bytes each, the layout in which the transforms are fastest.

    Raises:
        ValueError: If the file is no image, is damaged or holds values that are not finite, or ``decoder`` is unknown.
        FileNotFoundError: If there is no such file.
        TypeError: If ``path`` is no path.
        ImportError: If simplejpeg is not installed.
    """
    _check_path(path)
    limits = _check_range(value_range)
    if _check_decoder(decoder) == "simplejpeg" and (decoded := _decode_jpeg(path)) is not None:
        return decoded
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened) if opened.getexif().get(_ORIENTATION, 1) != 1 else opened
            if image.mode in _DEEP_MODES:
                image = Image.fromarray(_to_bytes(np.asarray(image, np.float64), limits))
            return from_pillow(image)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"path must be an image file, got {str(path)!r}. There is no such file.") from error
    except Exception as error:  # what Pillow raises depends on the format and the damage
        raise ValueError(f"path must be a readable image, got {str(path)!r}. {error}") from error


def check_images(records: Iterable[Record]) -> None:
    """Read every image once, so that a damaged one is found before the work rather than in the middle of it.

    One core reads some 3,000 JPEG files of 288×144 in a second.

    Args:
        records: Images to read.

    Raises:
        ValueError: If images are missing or damaged; the message counts them and names the first.
        TypeError: If ``records`` are no records.

    Example:
        >>> check_images([])
    """
    records, damaged = _check_records(records), []
    for record in records:
        try:
            read_image(record.path)
        except (ValueError, FileNotFoundError) as error:
            damaged.append(str(error))
    if damaged:
        raise ValueError(f"{len(damaged)} of {len(records)} images cannot be read, the first: {damaged[0]}")


def check_modalities(records: Iterable[Record], *, sample: int = 32) -> tuple[str, ...]:
    """Look at some images and return a sentence for each modality whose images look like those of the other.

    Most images of infrared cameras are gray, so infrared images in colour and visible ones without any are likely to
    have been mixed up. Thermal images in false colours and black-and-white photographs are named as well. Images that
    cannot be read are left to :func:`check_images`.

    Args:
        records: Images, of one or both modalities.
        sample: Number of images to read of each modality, spread evenly, at least 1.

    Raises:
        ValueError: If ``sample`` is less than 1.
        TypeError: If ``records`` are no records, or ``sample`` is no integer.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (2, 4), (200, 10, 90)).save(f"{folder}/1.png")
        ...     check_modalities([Record(f"{folder}/1.png", 1, 1, "infrared")])[0].partition(":")[0]
        '1 of 1 infrared images looked at are in colour, the first'
    """
    records, sample, sentences = _check_records(records), check_integer("sample", sample, least=1), []
    for modality, other in ((Modality.VISIBLE, Modality.INFRARED), (Modality.INFRARED, Modality.VISIBLE)):
        of_modality = [record for record in records if record.modality is modality]
        spreads: dict[str, float] = {}
        for record in of_modality[:: -(-len(of_modality) // sample)] if of_modality else ():
            with contextlib.suppress(ValueError, OSError):
                low, high = read_image(record.path).aminmax(dim=0)
                spreads[str(record.path)] = (high - low).float().mean().item()
        gray = modality is Modality.VISIBLE
        strange = [path for path, spread in spreads.items() if (spread < _GRAY if gray else spread > _COLOURED)]
        if strange and len(strange) > (len(spreads) - 1 if gray else len(spreads) // 2):
            found = f"{len(strange)} of {len(spreads)} {modality.value} images looked at are"
            what = "gray" if gray else "in colour"
            sentences.append(f"{found} {what}, the first: {strange[0]}. Are they {other.value} images?")
    return tuple(sentences)


_GRAY, _COLOURED = 0.5, 8.0  # mean difference of the least and the greatest channel of a pixel, of 255
_ORIENTATION = 0x0112  # the EXIF tag
_DEEP_MODES = {"I", "F", "I;16", "I;16L", "I;16B", "I;16N"}  # Pillow's, of gray images with more than 8 bits


def _decode_jpeg(path: str | os.PathLike[str]) -> Tensor | None:
    """Decode a JPEG file to uint8, 3 h w; None stands for what Pillow is to read or refuse."""
    simplejpeg = import_extra("simplejpeg", "jpeg")
    with contextlib.suppress(OSError, ValueError):
        with open(path, "rb", buffering=0) as file:  # one read of the whole
            data = file.read()
        upright = data[:2] == b"\xff\xd8" and not _may_be_turned(data)
        if upright and simplejpeg.decode_jpeg_header(data)[2] in {"YCbCr", "Gray"}:
            return torch.from_numpy(simplejpeg.decode_jpeg(data, "RGBA")).permute(2, 0, 1)[:3]  # faster than RGB
    return None


def _may_be_turned(jpeg: bytes) -> bool:
    """Tell whether a segment before the pixels may hold an orientation, EXIF or XMP data, or cannot be told."""
    start = 2
    while (marker := jpeg[start : start + 2]) not in {b"\xff\xe1", b"\xff\xda"} and marker[:1] == b"\xff":
        start += 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big")
    return marker != b"\xff\xda"  # the first scan


def _to_bytes(values: NDArray[np.float64], limits: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Scale values linearly, so that the limits become 0 and 255."""
    if not np.isfinite(values).all():
        raise ValueError("It holds values that are not finite.")
    low, high = limits or (values.min(), values.max())
    scaled = (values - low) * (255 / (high - low) if high > low else 0.0)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _check_path(path: object) -> None:
    check_type("path", path, (str, os.PathLike), "be a path")


def _check_decoder(decoder: Decoder) -> Decoder:
    check_choice("decoder", decoder, get_args(Decoder))
    return decoder


def _check_range(value_range: tuple[float, float] | None) -> tuple[float, float] | None:
    if value_range is None:
        return None
    rule = "be None or (least, greatest value) in ascending order"
    pair = isinstance(value_range, (tuple, list)) and len(value_range) == 2
    require(pair, "value_range", rule, value_range, error=TypeError)
    low, high = (check_number(f"value_range[{i}]", value) for i, value in enumerate(value_range))
    require(low < high, "value_range", rule, value_range)
    return low, high


def _check_records(records: Iterable[Record]) -> list[Record]:
    check_type("records", records, Iterable, "hold records")
    records = list(records)
    for i, record in enumerate(records):
        check_type(f"records[{i}]", record, Record, "be a Record")
    return records
