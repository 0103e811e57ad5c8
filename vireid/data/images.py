"""Records of a data set's images, and from records to images: reading, checking, and the items of a data loader."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from vireid._checks import require
from vireid.modality import Modality

Transform = Callable[[Tensor], Tensor]


class Record(NamedTuple):
    """One image of a data set: where it is, whom it shows, and which camera of which modality took it."""

    path: Path
    identity: int
    camera: int
    modality: Modality


class PersonImages(Dataset[tuple[Tensor, int, int]]):
    """The images of records with what evaluation needs of them: (image, identity, camera).

    Args:
        records: which images.
        transform: from a uint8 image, 3 h w, to the network's input.
        corruption: what is done to an image before, such as :class:`RandomCorruption`; it is given the image and a text
            that names it, the same in every list of records.

    Raises:
        ValueError: there is no record, or (when it is taken) an image cannot be read.
    """

    def __init__(
        self,
        records: Sequence[Record],
        transform: Transform,
        *,
        corruption: Callable[[Tensor, str], Tensor] | None = None,
    ) -> None:
        require(len(records) > 0, "records", "hold an image", len(records))
        self.records = list(records)
        self.transform = transform
        self.corruption = corruption

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        record = self.records[index]
        image = read_image(record.path)
        if self.corruption is not None:
            image = self.corruption(image, _key(record))
        return self.transform(image), record.identity, record.camera

    def fingerprint(self) -> str:
        """A text that changes with the files (their names, sizes and times), the order, and what is done to them.

        Raises:
            FileNotFoundError: a file is missing.
            TypeError: the transform or the corruption cannot be pickled.
        """
        digest = hashlib.sha256()
        for record in self.records:
            status = record.path.stat()
            digest.update(f"{record.path.name} {_key(record)} {status.st_size} {status.st_mtime_ns}\n".encode())
        try:
            digest.update(_same_in_every_process((self.transform, self.corruption)))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(f"transform must be something that pickle can save, got {self.transform!r}.") from error
        return digest.hexdigest()


class PairedImages(Dataset[tuple[Tensor, Tensor, int]]):
    """Pairs of a visible and an infrared image of one identity, for training: (visible, infrared, label).

    It is indexed by pairs of indices, which :class:`CrossModalityIdentitySampler` draws. Labels number the identities
    from 0 in ascending order.

    Args:
        records: images of both modalities.
        visible_transform: from a uint8 image, 3 h w, to the network's input.
        infrared_transform: likewise, of the infrared images.

    Attributes:
        visible_identities: the label of every visible image, an int64 tensor.
        infrared_identities: likewise, of the infrared images.
        num_identities: number of labels.

    Raises:
        ValueError: a modality has no image, or (when it is taken) a pair shows two identities or an image cannot be
            read.
        TypeError: (when it is taken) the index is no pair.
    """

    def __init__(self, records: Sequence[Record], visible_transform: Transform, infrared_transform: Transform) -> None:
        self.visible = [record for record in records if record.modality is Modality.VISIBLE]
        self.infrared = [record for record in records if record.modality is Modality.INFRARED]
        counts = (len(self.visible), len(self.infrared))
        require(min(counts) > 0, "records", "hold visible and infrared images", counts)
        self.visible_transform = visible_transform
        self.infrared_transform = infrared_transform
        labels = {identity: i for i, identity in enumerate(sorted({record.identity for record in records}))}
        self.visible_identities = torch.tensor([labels[record.identity] for record in self.visible])
        self.infrared_identities = torch.tensor([labels[record.identity] for record in self.infrared])
        self.num_identities = len(labels)

    def __len__(self) -> int:
        """The number of images of the modality that has more."""
        return max(len(self.visible), len(self.infrared))

    def __getitem__(self, pair: tuple[int, int]) -> tuple[Tensor, Tensor, int]:
        rule, remedy = "be (visible index, infrared index)", "Its data loader needs a batch_sampler that draws pairs."
        require(isinstance(pair, (tuple, list)) and len(pair) == 2, "pair", rule, pair, remedy, error=TypeError)
        visible, infrared = self.visible[pair[0]], self.infrared[pair[1]]
        rule = "index images of one identity"
        require(visible.identity == infrared.identity, "pair", rule, (visible.identity, infrared.identity))
        return (
            self.visible_transform(read_image(visible.path)),
            self.infrared_transform(read_image(infrared.path)),
            int(self.visible_identities[pair[0]]),
        )


class _StablePickler(pickle.Pickler):
    """Pickles for comparison only: torch writes a tensor's address, and a module's sets come in any order."""

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
    """What names an image, wherever its data set lies."""
    return f"{record.modality.value}/{record.camera}/{record.identity}/{record.path.name}"


def read_image(path: Path) -> Tensor:
    """Read an image file as RGB.

    Shape:
        -> 3 h w, uint8. A gray image has three equal channels.

    Raises:
        ValueError: the file is no image or a damaged one.
        FileNotFoundError: there is no such file.
    """
    try:
        with Image.open(path) as image:
            bands = (image if image.mode == "RGB" else image.convert("RGB")).split()
            planes = bytearray().join(band.tobytes() for band in bands)  # sooner than pixels, rearranged
            return torch.frombuffer(planes, dtype=torch.uint8).view(3, image.height, image.width)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises on damage
        raise ValueError(f"path must be a readable image, got {str(path)!r}. {error}") from error


def read_rankings(
    queries: Sequence[Record], gallery: Sequence[Record], found: Tensor, correct: Tensor, *, number: int = 8
) -> tuple[list[Tensor], list[list[Tensor]], list[list[bool]]]:
    """Read the images of a few rankings, spread over the queries, as ``plot_rankings`` takes them.

    Args:
        queries: what was searched for.
        gallery: where.
        found: the rows of the gallery that a protocol's ``rank`` has returned; less than 0 is none.
        correct: whether each shows the query's identity.
        number: of queries to show.

    Shape:
        found q k, correct q k.

    Raises:
        ValueError: there is not a row for each query, or an image cannot be read.
    """
    require(len(found) == len(correct) == len(queries), "found", f"have {len(queries)} rows", tuple(found.shape))
    rows = range(0, len(queries), max(1, len(queries) // number))[:number]
    rankings = [[row for row in found[i].tolist() if row >= 0] for i in rows]
    return (
        [read_image(queries[i].path) for i in rows],
        [[read_image(gallery[row].path) for row in ranking] for ranking in rankings],
        [correct[i, : len(ranking)].tolist() for i, ranking in zip(rows, rankings, strict=True)],
    )


def check_images(records: Iterable[Record]) -> None:
    """Read every image once, so that a damaged one is found before the work rather than in the middle of it.

    One core reads some 3,800 images of 288×144 in a second.

    Args:
        records: which images.

    Raises:
        ValueError: images are missing or damaged; the message counts them and names the first.

    Example:
        >>> check_images([])
    """
    damaged = []
    for record in records:
        try:
            read_image(record.path)
        except (ValueError, FileNotFoundError) as error:
            damaged.append(str(error))
    require(not damaged, "records", "hold readable images", f"{len(damaged)} that are not", " ".join(damaged[:1]))
