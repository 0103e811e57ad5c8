"""Readers of the public data sets: from folder trees and split files to records; no image is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vireid._checks import check_choice, import_extra, is_whole, require
from vireid.data.images import Record
from vireid.modality import Modality


class PersonDataset:
    """What every reader gives: the records of a data set, ordered by camera, identity and file name.

    Attributes:
        root: folder of the data set.
        train: images of the training identities, both modalities.
        test_visible: visible images of the test identities.
        test_infrared: infrared images of the test identities.
        name: of the data set (class).
        tree: the files that it must have, for people (class).
        published: the counts that :func:`check_dataset` compares with (class).
    """

    name: ClassVar[str]
    tree: ClassVar[str]
    published: ClassVar[Mapping[str, int]]
    train: list[Record]
    test_visible: list[Record]
    test_infrared: list[Record]

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._require_found(self.root.is_dir(), f"be the folder of {self.name}", str(self.root))

    def counts(self) -> dict[str, int]:
        """Count the identities and images of each split."""
        splits = {
            "training": (_of(Modality.VISIBLE, self.train), _of(Modality.INFRARED, self.train)),
            "test": (self.test_visible, self.test_infrared),
        }
        counts = {}
        for split, (visible, infrared) in splits.items():
            counts[f"{split} identities"] = len({record.identity for record in visible + infrared})
            counts |= {f"{split} visible images": len(visible), f"{split} infrared images": len(infrared)}
            for camera in sorted({record.camera for record in visible + infrared}):
                taken = sum(record.camera == camera for record in visible + infrared)
                counts[f"{split} images of camera {camera}"] = taken
        return counts

    def _set_splits(self, train: list[Record], test: list[Record]) -> None:
        """Set the records in order, after requiring both modalities of both splits and that they share nobody."""
        train, test = (sorted(records, key=lambda r: (r.camera, r.identity, r.path.name)) for records in (train, test))
        both = sorted({record.identity for record in train} & {record.identity for record in test})
        require(not both, "root", "train and test on different identities", both[:5])
        for split, records in {"training": train, "test": test}.items():
            for modality in (Modality.VISIBLE, Modality.INFRARED):
                found = len(_of(modality, records))
                self._require_found(found > 0, f"hold {modality.value} images of the {split} identities", found)
        self.train = train
        self.test_visible, self.test_infrared = _of(Modality.VISIBLE, test), _of(Modality.INFRARED, test)

    def _read_line(self, path: Path) -> set[int]:
        """The identities of a split file: one line of numbers, separated by commas."""
        argument, remedy = f"{path.parent.name}/{path.stem}", "It is one line of identities, separated by commas."
        self._require_found(path.is_file(), f"hold {path.parent.name}/{path.name}", "no such file")
        line = _read_text(path).strip()
        lines = len(line.splitlines())  # the field's readers take the first and drop the others silently
        require(lines <= 1, argument, "be one line", f"{lines} lines", remedy)
        return _check_numbers(argument, [word.strip() for word in line.split(",")], remedy)

    def _read_list(self, name: str) -> list[tuple[Path, int]]:
        """The images and identities of a split file of lines '…/<identity>/<image> <label>'; every image exists."""
        path = self.root / name
        self._require_found(path.is_file(), f"hold {name}", "no such file")
        lines = [line.strip() for line in _read_text(path).splitlines() if line.strip()]
        require(len(lines) > 0, name, "list an image", "an empty file")
        parsed = [re.fullmatch(r"(?P<path>[^\\]*/(?P<identity>\d+)/[^\\/]+?) +(?P<label>\d+)", line) for line in lines]
        wrong = [f"line {i}: {line}" for i, (line, match) in enumerate(zip(lines, parsed, strict=True), 1) if not match]
        require(not wrong, name, "list '<folder>/<identity>/<image> <label>' on every line", wrong[:3])
        matches = [match for match in parsed if match]
        paths = [match["path"] for match in matches]
        repeated = sorted({path for path in paths if paths.count(path) > 1}) if len(set(paths)) < len(paths) else []
        require(not repeated, name, "list an image once", repeated[:3])
        absent = [path for path in paths if not (self.root / path).is_file()]
        self._require_found(not absent, f"hold the images that {name} lists", f"no {absent[:3]}")
        people = {(int(match["identity"]), int(match["label"])) for match in matches}
        one_to_one = len(people) == len({i for i, _ in people}) == len({label for _, label in people})
        require(one_to_one, name, "give each identity a label of its own", "one with two, or two with one")
        return [(self.root / match["path"], int(match["identity"])) for match in matches]

    def _require_found(self, condition: bool, rule: str, found: object) -> None:
        if not condition:  # the message takes time to build
            remedy = f"Expected in {self.root}:{self.tree}"
            require(False, "root", rule, found, remedy, error=FileNotFoundError)


class SYSUMM01(PersonDataset):
    """SYSU-MM01: six cameras, of which 3 and 6 are infrared.

    Training takes the lists ``train_id`` and ``val_id`` together, 395 identities, as all published work does. A person
    whom a camera has not seen has no folder there. Other folders, hidden files and files that are not named as images
    are passed over. The attributes are those of :class:`PersonDataset`; in the protocol ``test_infrared`` are the
    queries and the galleries are drawn from ``test_visible``.

    Args:
        root: folder of the data set.

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
        >>> len(dataset.train), len(dataset.test_visible), len(dataset.test_infrared)
        (24, 8, 4)

    References:
        Wu et al., RGB-Infrared Cross-Modality Person Re-Identification, ICCV 2017.
    """

    name = "SYSU-MM01"
    visible_cameras = (1, 2, 4, 5)
    infrared_cameras = (3, 6)
    tree = """
  cam1 … cam6/<identity, 4 digits>/<frame>.jpg
  exp/train_id.txt  exp/val_id.txt  exp/test_id.txt (or .mat)"""
    published: ClassVar[Mapping[str, int]] = {
        "training identities": 395,
        "training visible images": 22258,
        "training infrared images": 11909,
        **{
            f"training images of camera {camera}": images
            for camera, images in enumerate((4721, 5753, 7909, 5811, 5973, 4000), 1)
        },
        "test identities": 96,
        "test visible images": 6775,
        "test infrared images": 3803,
        **{
            f"test images of camera {camera}": images
            for camera, images in enumerate((1374, 1565, 1883, 1918, 1918, 1920), 1)
        },
    }

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root)
        train, val, test = (self._read_identities(split) for split in ("train", "val", "test"))
        both = sorted((train | val) & test)
        require(not both, "test_id", "name no identity of train_id or val_id", both[:5])
        records = {}
        for split, listed in {"train_id and val_id": train | val, "test_id": test}.items():
            records[split] = [
                Record(path, identity, camera, self._modality(camera))
                for camera in self.visible_cameras + self.infrared_cameras
                for identity in listed
                for path in _images(self.root / f"cam{camera}" / f"{identity:04d}")
            ]
            missing = sorted(listed - {record.identity for record in records[split]})
            self._require_found(not missing, f"hold images of every identity in {split}", f"none of {missing[:5]}")
        self._set_splits(*records.values())

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
        for record in self.test_visible:
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
        if text.is_file() or not matrix.is_file():
            return self._read_line(text)
        values = [ids for name, ids in _load_mat(matrix).items() if not name.startswith("__")]
        words = [str(i).removesuffix(".0") for ids in values for i in ids.flatten()]  # MATLAB's numbers are doubles
        return _check_numbers(f"exp/{split}_id", words, "It is one array of identities.")

    def _modality(self, camera: int) -> Modality:
        return Modality.INFRARED if camera in self.infrared_cameras else Modality.VISIBLE


class RegDB(PersonDataset):
    """RegDB: one visible and one thermal camera, and ten ways to divide the identities in two halves.

    The identity of an image is the number of its folder, which all trials share; the labels of the split files number
    the identities of one list only. The visible camera is 1, the thermal one 2, as in the field's scripts. The
    attributes are those of :class:`PersonDataset`.

    Args:
        root: folder of the data set.
        trial: which division, 1 to 10. Published numbers are means over ten models, one for each trial.

    Attributes:
        trial: as given.

    Raises:
        FileNotFoundError: the folder, a split file, or an image that it lists is missing.
        ValueError: there is no such trial, a split file is empty or malformed, or an identity is to be trained and
            tested on.

    Example:
        >>> import tempfile
        >>> from vireid.data import generate_synthetic
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = generate_synthetic(
        ...         f"{folder}/people",
        ...         "regdb",
        ...         train_identities=3,
        ...         test_identities=2,
        ...         images_per_camera=1,
        ...         size=(48, 24),
        ...     )
        ...     dataset = RegDB(root, trial=10)
        >>> len(dataset.train), len(dataset.test_visible), len(dataset.test_infrared)
        (6, 2, 2)

    References:
        Nguyen et al., Person Recognition System Based on a Combination of Body Images from Visible Light and Thermal
        Cameras, Sensors 2017; the trials are those of Ye et al., Hierarchical Discriminative Learning for Visible
        Thermal Person Re-Identification, AAAI 2018.
    """

    name = "RegDB"
    tree = """
  Visible/<identity>/<image>.bmp  Thermal/<identity>/<image>.bmp
  idx/{train,test}_{visible,thermal}_{1 … 10}.txt, of lines '<folder>/<identity>/<image> <label>'"""
    published: ClassVar[Mapping[str, int]] = {
        f"{split} {what}": count
        for split in ("training", "test")
        for what, count in {"identities": 206, "visible images": 2060, "infrared images": 2060}.items()
    }

    def __init__(self, root: str | os.PathLike[str], trial: int = 1) -> None:
        whole = is_whole(trial) and 1 <= trial <= 10
        require(whole, "trial", "be a whole number from 1 to 10", trial)
        super().__init__(root)
        self.trial = int(trial)
        train, test = (
            [
                Record(path, identity, camera, modality)
                for camera, (stem, modality) in enumerate(
                    (("visible", Modality.VISIBLE), ("thermal", Modality.INFRARED)), 1
                )
                for path, identity in self._read_list(f"idx/{split}_{stem}_{trial}.txt")
            ]
            for split in ("train", "test")
        )
        self._set_splits(train, test)


class LLCM(PersonDataset):
    """LLCM: nine cameras, each with a visible and (all but camera 3) a near-infrared mode.

    The identity of an image is the number of its folder; of training images the camera is the number behind ``_c`` in
    their names, such as ``nir/0001/0001_c01_s185535_f7010_nir.jpg``. A person whom a camera has not seen has no folder
    there. The attributes are those of :class:`PersonDataset`.

    Args:
        root: folder of the data set.

    Raises:
        FileNotFoundError: the folder, a split file, a training image that it lists, or all images of a listed test
            identity are missing.
        ValueError: a split file is empty or malformed, a training image names no camera, or an identity is to be
            trained and tested on.

    Example:
        >>> import tempfile
        >>> from vireid.data import generate_synthetic
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = generate_synthetic(
        ...         f"{folder}/people",
        ...         "llcm",
        ...         train_identities=2,
        ...         test_identities=1,
        ...         images_per_camera=1,
        ...         size=(48, 24),
        ...     )
        ...     dataset = LLCM(root)
        >>> len(dataset.train), len(dataset.test_visible), len(dataset.test_infrared)
        (34, 9, 8)

    References:
        Zhang and Wang, Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for
        Visible-Infrared Person Re-identification, CVPR 2023.
    """

    name = "LLCM"
    tree = """
  vis/<identity>/<identity>_c<camera>_….jpg  nir/<identity>/<identity>_c<camera>_….jpg, or wherever the lists say
  test_vis/cam1 … cam9/<identity, 4 digits>/<image>.jpg  test_nir/cam1 … cam9/<identity, 4 digits>/<image>.jpg
  idx/train_vis.txt  idx/train_nir.txt, of lines '<folder>/<identity>/<image> <label>'
  idx/test_id.txt"""
    published: ClassVar[Mapping[str, int]] = {
        "training identities": 713,
        "training visible images": 16946,
        "training infrared images": 13975,
        "test identities": 351,
        "test visible images": 8680,
        "test infrared images": 7166,
    }

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root)
        train, test = [], []
        listed = self._read_line(self.root / "idx" / "test_id.txt")
        for stem, modality in (("vis", Modality.VISIBLE), ("nir", Modality.INFRARED)):
            images = self._read_list(f"idx/train_{stem}.txt")
            cameras = [re.search(r"_c(\d+)_", path.name) for path, _ in images]
            nameless = [path.name for (path, _), camera in zip(images, cameras, strict=True) if camera is None]
            rule = "name the camera of every image, as in 0001_c01_s185535_f7010_nir.jpg"
            require(not nameless, f"idx/train_{stem}.txt", rule, nameless[:3])
            train += [
                Record(path, identity, int(camera[1]), modality)
                for (path, identity), camera in zip(images, cameras, strict=True)
                if camera
            ]
            test += [
                Record(path, identity, camera, modality)
                for camera in range(1, 10)
                for identity in listed
                for path in _images(self.root / f"test_{stem}" / f"cam{camera}" / f"{identity:04d}")
            ]
        missing = sorted(listed - {record.identity for record in test})
        self._require_found(not missing, "hold images of every identity in test_id", f"none of {missing[:5]}")
        self._set_splits(train, test)


def create_dataset(name: str, root: str | os.PathLike[str], *, trial: int = 1) -> PersonDataset:
    """Read a data set by its short name.

    Args:
        name: ``"sysu"``, ``"regdb"`` or ``"llcm"``.
        root: folder of the data set.
        trial: of RegDB, 1 to 10.

    Raises:
        ValueError: there is no such data set, or as the reader raises.
        FileNotFoundError: as the reader raises.

    Example:
        >>> create_dataset("regdb", "nowhere")
        Traceback (most recent call last):
        FileNotFoundError: root must be the folder of RegDB, got 'nowhere'. ...
    """
    check_choice("name", name, ("sysu", "regdb", "llcm"))
    if name == "regdb":
        return RegDB(root, trial)
    return SYSUMM01(root) if name == "sysu" else LLCM(root)


@dataclass(frozen=True)
class DatasetReport:
    """The counts of a data set beside the published ones; printed as a table.

    Attributes:
        name: of the data set.
        rows: (what, found, published) of everything that is published.
    """

    name: str
    rows: tuple[tuple[str, int, int], ...]

    @property
    def complete(self) -> bool:
        """Whether all counts are the published ones."""
        return all(found == published for _, found, published in self.rows)

    def __str__(self) -> str:
        verdict = "all counts are the published ones" if self.complete else "counts differ from the published ones"
        lines = [f"{self.name}: {verdict}", f"{'':28}{'found':>8}{'published':>11}"]
        lines += [
            f"{what:28}{found:8}{published:11}{'  ←' * (found != published)}" for what, found, published in self.rows
        ]
        return "\n".join(lines)


def check_dataset(dataset: PersonDataset) -> DatasetReport:
    """Compare the counts of a data set with the published ones, to see whether a download is whole.

    SYSU-MM01's are counted from its official rand_perm_cam.mat and lists; RegDB's hold for every trial; LLCM's image
    counts are those that its users report and add up to its published 46,767. :func:`check_images` reads the images.

    Args:
        dataset: what a reader has read.

    Example:
        >>> import tempfile
        >>> from vireid.data import generate_synthetic
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = generate_synthetic(
        ...         f"{folder}/people",
        ...         "regdb",
        ...         train_identities=3,
        ...         test_identities=2,
        ...         images_per_camera=1,
        ...         size=(48, 24),
        ...     )
        ...     report = check_dataset(RegDB(root))
        >>> report.complete, report.rows[0]
        (False, ('training identities', 3, 206))
    """
    counts = dataset.counts()
    rows = ((what, counts.get(what, 0), published) for what, published in dataset.published.items())
    return DatasetReport(dataset.name, tuple(rows))


def _of(modality: Modality, records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.modality is modality]


def _check_numbers(argument: str, words: Sequence[str], remedy: str) -> set[int]:
    wrong = [word for word in words if not word.isdecimal() or int(word) < 1]
    require(not wrong and len(words) > 0, argument, "list identities by number, from 1", wrong[:5], remedy)
    repeated = sorted({word for word in words if words.count(word) > 1}) if len(set(words)) < len(words) else []
    require(not repeated, argument, "list an identity once", repeated[:5], remedy)
    return {int(word) for word in words}


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _load_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file."""
    loadmat = import_extra("scipy.io", "mat").loadmat
    try:
        variables: dict[str, Any] = loadmat(path)
    except Exception as error:  # what scipy raises depends on the damage
        raise ValueError(f"path must be a readable .mat file, got {str(path)!r}. {error}") from error
    return variables


def _images(folder: Path) -> list[Path]:
    """The image files of a folder; none if there is no such folder."""
    if not folder.is_dir():
        return []
    endings = {".jpg", ".jpeg", ".png", ".bmp"}
    names = [entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith(".")]
    return [folder / name for name in names if Path(name).suffix.lower() in endings]
