"""Readers of the public data sets: from folder trees to records, and from records to images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from vireid._checks import import_extra, require
from vireid.modality import Modality

Transform = Callable[[Tensor], Tensor]


class Record(NamedTuple):
    """One image of a data set: where it is, whom it shows, and which camera of which modality took it."""

    path: Path
    identity: int
    camera: int
    modality: Modality


class SYSUMM01:
    """SYSU-MM01: the folder tree read to records; no image is opened.

    The records are ordered by camera, identity and file name, whatever the file system. Training takes the lists
    ``train_id`` and ``val_id`` together, 395 identities, as all published work does. A person whom a camera has not
    seen has no folder there.

    Args:
        root: folder of the data set.

    Attributes:
        train: images of the training identities, both modalities.
        query: infrared images of the test identities, cameras 3 and 6.
        gallery: visible images of the test identities, cameras 1, 2, 4 and 5, from which the protocol draws.

    Raises:
        FileNotFoundError: the folder, a list of identities, or all images of a listed identity are missing.
        ValueError: a list of identities is empty or malformed, or an identity is to be trained and tested on.

    Example:
        >>> import tempfile
        >>> from vireid.data import generate_synthetic
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = generate_synthetic(
        ...         f"{folder}/people", train_identities=4, test_identities=2, images_per_camera=1, size=(48, 24)
        ...     )
        ...     dataset = SYSUMM01(root)
        >>> len(dataset.train), len(dataset.query), len(dataset.gallery)
        (24, 4, 8)

    References:
        Wu et al., RGB-Infrared Cross-Modality Person Re-Identification, ICCV 2017.
    """

    visible_cameras = (1, 2, 4, 5)
    infrared_cameras = (3, 6)
    tree = """
  cam1 … cam6/<identity, 4 digits>/<frame>.jpg
  exp/train_id.txt  exp/val_id.txt  exp/test_id.txt (or .mat)"""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._require_found(self.root.is_dir(), "be the folder of SYSU-MM01", str(self.root))
        train, val, test = (self._read_identities(split) for split in ("train", "val", "test"))
        both = sorted((train | val) & test)
        require(not both, "test_id", "name no identity of train_id or val_id", both[:5])

        self.train = self._records(train | val, self.visible_cameras + self.infrared_cameras)
        self.query = self._records(test, self.infrared_cameras)
        self.gallery = self._records(test, self.visible_cameras)
        for split, listed, records in (
            ("train_id and val_id", train | val, self.train),
            ("test_id", test, self.query + self.gallery),
        ):
            missing = sorted(listed - {record.identity for record in records})
            self._require_found(not missing, f"hold images of every identity in {split}", f"none of {missing[:5]}")
            for modality in (Modality.VISIBLE, Modality.INFRARED):
                found = any(record.modality is modality for record in records)
                self._require_found(found, f"hold {modality.value} images of the identities in {split}", "none")

    def gallery_permutations(self) -> dict[tuple[int, int], np.ndarray]:
        """The official order in which the images of a camera and identity enter the galleries, by trial.

        Returns:
            For every (camera, identity) of the gallery an array of shape (10, images): row t orders the images, counted
            from 0 in the order of the records, for trial t.

        Raises:
            FileNotFoundError: exp/rand_perm_cam.mat is missing.
            ValueError: it does not count the images that are there.
            ImportError: scipy is not installed; the extra ``mat`` brings it.
        """
        path = self.root / "exp" / "rand_perm_cam.mat"
        self._require_found(path.is_file(), "hold exp/rand_perm_cam.mat", "no such file")
        cells = import_extra("scipy.io", "mat").loadmat(path)["rand_perm_cam"]
        counts: dict[tuple[int, int], int] = {}
        for record in self.gallery:
            key = record.camera, record.identity
            counts[key] = counts.get(key, 0) + 1
        permutations = {}
        for (camera, identity), count in counts.items():
            of_camera = cells[camera - 1, 0]
            order = np.asarray(of_camera[identity - 1, 0] if identity <= len(of_camera) else (), dtype=np.int64) - 1
            rule = f"order the {count} images of camera {camera}, identity {identity}"
            require(order.ndim == 2 and order.shape[1] == count, "rand_perm_cam.mat", rule, order.shape)
            permutations[camera, identity] = order
        return permutations

    def _read_identities(self, split: str) -> set[int]:
        text, matrix = (self.root / "exp" / f"{split}_id.{ending}" for ending in ("txt", "mat"))
        self._require_found(text.is_file() or matrix.is_file(), f"hold exp/{split}_id.txt", "no such file")
        if text.is_file():
            first = (text.read_text().strip().splitlines() or [""])[0]
            words = [word.strip() for word in first.split(",")]
        else:
            values = import_extra("scipy.io", "mat").loadmat(matrix)
            words = [str(i) for name, ids in values.items() if not name.startswith("__") for i in ids.flatten()]
        remedy = "Its first line lists identities, separated by commas."
        wrong = [word for word in words if not word.isdecimal()]
        require(not wrong and len(words) > 0, f"exp/{split}_id", "list identities by number", wrong[:5], remedy)
        return {int(word) for word in words}

    def _records(self, identities: set[int], cameras: Sequence[int]) -> list[Record]:
        return [
            Record(path, identity, camera, self._modality(camera))
            for camera in sorted(cameras)
            for identity in sorted(identities)
            for path in _images(self.root / f"cam{camera}" / f"{identity:04d}")
        ]

    def _modality(self, camera: int) -> Modality:
        return Modality.INFRARED if camera in self.infrared_cameras else Modality.VISIBLE

    def _require_found(self, condition: bool, rule: str, found: str) -> None:
        if not condition:  # the message takes time to build
            remedy = f"Expected in {self.root}:{self.tree}"
            require(False, "root", rule, found, remedy, error=FileNotFoundError)


class PersonImages(Dataset[tuple[Tensor, int, int]]):
    """The images of records with what evaluation needs of them: (image, identity, camera).

    Args:
        records: which images.
        transform: from a uint8 image, 3 h w, to the network's input.

    Raises:
        ValueError: there is no record, or (when it is taken) an image cannot be read.
    """

    def __init__(self, records: Sequence[Record], transform: Transform) -> None:
        require(len(records) > 0, "records", "hold an image", len(records))
        self.records = list(records)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        record = self.records[index]
        return self.transform(read_image(record.path)), record.identity, record.camera


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
        visible, infrared = self.visible[pair[0]], self.infrared[pair[1]]
        rule = "index images of one identity"
        require(visible.identity == infrared.identity, "pair", rule, (visible.identity, infrared.identity))
        return (
            self.visible_transform(read_image(visible.path)),
            self.infrared_transform(read_image(infrared.path)),
            int(self.visible_identities[pair[0]]),
        )


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
            pixels: Tensor = pil_to_tensor(image.convert("RGB"))
            return pixels
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError) as error:
        raise ValueError(f"path must be a readable image, got {str(path)!r}. {error}") from error


def _images(folder: Path) -> list[Path]:
    """The image files of a folder in the order of their names; none if there is no such folder."""
    if not folder.is_dir():
        return []
    endings = {".jpg", ".jpeg", ".png", ".bmp"}
    return sorted(folder / entry.name for entry in os.scandir(folder) if Path(entry.name).suffix.lower() in endings)
