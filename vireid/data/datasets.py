"""Readers of the public data sets: from folder trees to records, and from records to images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
    seen has no folder there. Other folders, hidden files and files that are not named as images are passed over.

    Args:
        root: folder of the data set.

    Attributes:
        train: images of the training identities, both modalities.
        query: infrared images of the test identities, cameras 3 and 6.
        gallery: visible images of the test identities, cameras 1, 2, 4 and 5, from which the protocol draws.

    Raises:
        FileNotFoundError: the folder, a list of identities, or all images of a listed identity are missing.
        ValueError: a list of identities is empty or malformed, or an identity is to be trained and tested on.
        ImportError: the lists are .mat files and scipy is not installed; the extra ``mat`` brings it.

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
            ValueError: it is damaged or does not count the images that are there.
            ImportError: scipy is not installed; the extra ``mat`` brings it.
        """
        path = self.root / "exp" / "rand_perm_cam.mat"
        self._require_found(path.is_file(), "hold exp/rand_perm_cam.mat", "no such file")
        cells = _load_mat(path).get("rand_perm_cam", np.empty(0))
        require(cells.dtype == object and cells.shape == (6, 1), path.name, "hold cells for 6 cameras", "none")
        counts: dict[tuple[int, int], int] = {}
        for record in self.gallery:
            key = record.camera, record.identity
            counts[key] = counts.get(key, 0) + 1
        permutations = {}
        for (camera, identity), count in counts.items():
            of_camera = cells[camera - 1, 0]
            order = np.asarray(of_camera[identity - 1, 0] if identity <= len(of_camera) else (), dtype=np.int64) - 1
            images = f"images of camera {camera}, identity {identity}"
            require(order.shape == (10, count), path.name, f"hold 10 orders of the {count} {images}", order.shape)
            wrong = order[(np.sort(order) != np.arange(count)).any(1)] + 1
            require(not len(wrong), path.name, f"count the {images} from 1, each once", wrong[:1].flatten().tolist())
            permutations[camera, identity] = order
        return permutations

    def _read_identities(self, split: str) -> set[int]:
        text, matrix = (self.root / "exp" / f"{split}_id.{ending}" for ending in ("txt", "mat"))
        self._require_found(text.is_file() or matrix.is_file(), f"hold exp/{split}_id.txt", "no such file")
        argument, remedy = f"exp/{split}_id", "It is one line of identities, separated by commas."
        if text.is_file():
            line = text.read_text(encoding="utf-8-sig", errors="replace").strip()
            lines = len(line.splitlines())  # the field's readers take the first and drop the others silently
            require(lines <= 1, argument, "be one line", f"{lines} lines", remedy)
            words = [word.strip() for word in line.split(",")]
        else:
            values = [ids for name, ids in _load_mat(matrix).items() if not name.startswith("__")]
            words = [str(i).removesuffix(".0") for ids in values for i in ids.flatten()]  # MATLAB's numbers are doubles
        wrong = [word for word in words if not word.isdecimal() or int(word) < 1]
        require(not wrong and len(words) > 0, argument, "list identities by number, from 1", wrong[:5], remedy)
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
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises on damage
        raise ValueError(f"path must be a readable image, got {str(path)!r}. {error}") from error


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


def _load_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file."""
    loadmat = import_extra("scipy.io", "mat").loadmat
    try:
        variables: dict[str, Any] = loadmat(path)
    except Exception as error:  # what scipy raises depends on the damage
        raise ValueError(f"path must be a readable .mat file, got {str(path)!r}. {error}") from error
    return variables


def _images(folder: Path) -> list[Path]:
    """The image files of a folder in the order of their names; none if there is no such folder."""
    if not folder.is_dir():
        return []
    endings = {".jpg", ".jpeg", ".png", ".bmp"}
    names = [entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith(".")]
    return [folder / name for name in sorted(names) if Path(name).suffix.lower() in endings]
