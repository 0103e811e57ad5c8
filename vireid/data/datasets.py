"""Readers of the public data sets: from folder trees and split files to records, without opening an image."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vireid._checks import check_choice, check_integer, check_type, require
from vireid.data.images import Decoder, PersonImages, Record, Transform
from vireid.data.matlab import read_matlab
from vireid.modality import Modality


class PersonDataset:
    """Hold the records of a data set, ordered by camera, identity and file name: the base of every reader.

    Only the test records of RegDB keep the order of their lists, by which AGW's scripts rank equal distances.

    Args:
        root: Folder of the data set.

    Attributes:
        root: Folder of the data set.
        train: Images of the training identities, both modalities.
        test_visible: Visible images of the test identities.
        test_infrared: Infrared images of the test identities.
        name: Name of the data set (class).
        tree: Required files, for messages (class).
        published: Counts that :func:`check_dataset` compares with (class).
    """

    name: ClassVar[str]
    tree: ClassVar[str]
    published: ClassVar[Mapping[str, int]]
    train: list[Record]
    test_visible: list[Record]
    test_infrared: list[Record]

    def __init__(self, root: str | os.PathLike[str]) -> None:
        check_type("root", root, (str, os.PathLike), "be a path")
        self.root = Path(root)
        self._require_found(self.root.is_dir(), f"be the folder of {self.name}", str(self.root))

    def counts(self) -> dict[str, int]:
        """Return the number of identities and images of each split and camera."""
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
                counts[f"{split} images of camera {self._camera_name(camera)}"] = taken
        return counts

    def remarks(self) -> tuple[str, ...]:
        """Return sentences on what the counts do not show."""
        return ()

    def fingerprint(self) -> str:
        """Return a string of 16 characters that changes with the people or images, to detect other data at resume.

        It follows from each image's split, name below the root, size in bytes, identity, camera and modality, and is
        the same on another machine. The content of the images is not read.

        Raises:
            FileNotFoundError: If an image is missing.
        """
        digest = hashlib.sha256()
        for split in ("train", "test_visible", "test_infrared"):
            for record in getattr(self, split):
                name, size = record.path.relative_to(self.root).as_posix(), record.path.stat().st_size
                line = f"{split} {name} {size} {record.identity} {record.camera} {record.modality.value}\n"
                digest.update(line.encode(errors="surrogatepass"))  # for names that are not UTF-8
        return digest.hexdigest()[:16]

    def test_images(
        self,
        transform: Transform | None = None,
        *,
        value_range: tuple[float, float] | None = None,
        decoder: Decoder = "pillow",
    ) -> dict[Modality, PersonImages]:
        """Return the test images of each modality; ``["visible"]`` works as a key as well.

        Args:
            transform: Function from a uint8 image, 3 h w, to the network's input; without it images are given as read.
            value_range: Range of gray images with more than 8 bits, as for :func:`read_image`.
            decoder: Library that decodes JPEG files, as for :func:`read_image`.

        Raises:
            ValueError: If the range is not in ascending order, or the decoder is unknown.
            TypeError: If an argument has another type.
        """
        tests = {Modality.VISIBLE: self.test_visible, Modality.INFRARED: self.test_infrared}
        options: dict[str, Any] = {"value_range": value_range, "decoder": decoder}
        return {modality: PersonImages(records, transform, **options) for modality, records in tests.items()}

    def _camera_name(self, camera: int) -> str:
        return str(camera)

    def _set_splits(self, train: list[Record], test: list[Record]) -> None:
        """Set the records as they are ordered, after requiring both modalities of both splits that share nobody."""
        visible, infrared = (
            {record.path for record in _of(modality, train + test)}
            for modality in (Modality.VISIBLE, Modality.INFRARED)
        )
        copied = sorted(str(path.relative_to(self.root)) for path in visible & infrared)
        require(not copied, "root", "have other images in the visible than in the infrared lists", copied[:3])
        both = sorted({record.identity for record in train} & {record.identity for record in test})
        require(not both, "root", "train and test on different identities", both[:5])
        for split, records in {"training": train, "test": test}.items():
            for modality in (Modality.VISIBLE, Modality.INFRARED):
                found = len(_of(modality, records))
                self._require_found(found > 0, f"hold {modality.value} images of the {split} identities", found)
        self.train = train
        self.test_visible, self.test_infrared = _of(Modality.VISIBLE, test), _of(Modality.INFRARED, test)

    def _read_line(self, path: Path) -> set[int]:
        """Read the identities of a split file: one line of numbers, separated by commas."""
        argument, remedy = f"{path.parent.name}/{path.stem}", "It is one line of identities, separated by commas."
        self._require_found(path.is_file(), f"hold {path.parent.name}/{path.name}", "no such file")
        line = path.read_text(encoding="utf-8-sig", errors="replace").strip()
        lines = len(line.splitlines())  # the field's readers take the first and drop the others silently
        require(lines <= 1, argument, "be one line", f"{lines} lines", remedy)
        return _check_numbers(argument, [word.strip() for word in line.split(",")], remedy)

    def _read_list(self, name: str, modality: Modality) -> list[tuple[Path, int]]:
        """Read the images and identities of a split file of lines '…/<identity>/<image> <label>'."""
        path = self.root / name
        self._require_found(path.is_file(), f"hold {name}", "no such file")
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")  # file names need not be UTF-8
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        require(len(lines) > 0, name, "list an image", "an empty file")
        parsed = [re.fullmatch(r"(?P<path>[^\\]*/(?P<identity>\d+)/[^\\/]+?) +(?P<label>\d+)", line) for line in lines]
        wrong = [f"line {i}: {line}" for i, (line, match) in enumerate(zip(lines, parsed, strict=True), 1) if not match]
        require(not wrong, name, "list '<folder>/<identity>/<image> <label>' on every line", wrong[:3])
        matches = [match for match in parsed if match]
        paths = [match["path"].removeprefix("./") for match in matches]
        repeated = [path for path, count in Counter(paths).items() if count > 1]
        require(not repeated, name, "list an image once", repeated[:3])
        other = _FOLDERS[Modality.INFRARED if modality is Modality.VISIBLE else Modality.VISIBLE]
        foreign = [path for path in paths if path.split("/")[0].lower() in other]
        require(not foreign, name, f"list {modality.value} images", foreign[:3])
        absent = [path for path in paths if not (self.root / path).is_file()]
        self._require_found(not absent, f"hold the images that {name} lists", f"no {absent[:3]}")
        people = {(int(match["identity"]), int(match["label"])) for match in matches}
        one_to_one = len(people) == len({i for i, _ in people}) == len({label for _, label in people})
        require(one_to_one, name, "give each identity a label of its own", "one with two, or two with one")
        return [(self.root / path, int(match["identity"])) for path, match in zip(paths, matches, strict=True)]

    def _find_images(self, folders: Mapping[int, str], modality: Modality, identities: Iterable[int]) -> list[Record]:
        """Find the images in '<folder of each camera>/<identity, 4 digits>/'; warn about what is missing or ignored."""
        records, ignored = [], []
        for (camera, folder), identity in product(folders.items(), identities):
            found, others = _images(self.root / folder / f"{identity:04d}")
            records += [Record(path, identity, camera, modality) for path in found]
            ignored += others
        dangling = [str(path) for path in ignored if not path.exists()]
        self._require_found(not dangling, "hold the files that its links point to", f"none for {dangling[:3]}")
        absent = [folder for folder in folders.values() if not (self.root / folder).is_dir()]
        if absent:
            warnings.warn(f"{self.root} has no images of these cameras: {', '.join(absent)}.", stacklevel=3)
        if ignored:
            message = f"{len(ignored)} files are not named as images and are ignored, the first: {str(ignored[0])!r}."
            warnings.warn(message, stacklevel=3)
        return records

    def _require_found(self, condition: bool, rule: str, found: object) -> None:
        if not condition:  # the message takes time to build
            remedy = f"Expected in {self.root}:{self.tree}"
            require(False, "root", rule, found, remedy, error=FileNotFoundError)


class SYSUMM01(PersonDataset):
    """Read SYSU-MM01: six cameras, of which 3 and 6 are infrared.

    The training identities are those of ``train_id`` and ``val_id`` together, 395, as in all published work. A person
    whom a camera has not seen has no folder there. Other folders and hidden files are ignored; a missing camera and
    files that are not named as images give a warning. The attributes are those of :class:`PersonDataset`; the protocol
    takes its queries from ``test_infrared`` and draws its galleries from ``test_visible``.

    Args:
        root: Folder of the data set.

    Raises:
        FileNotFoundError: If the folder, a list of identities, all images of a listed identity, or the file that a link
            points to are missing.
        ValueError: If a list of identities is empty, malformed or damaged, or an identity is in training and test.
        TypeError: If ``root`` is no path.

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
        cameras = {Modality.VISIBLE: self.visible_cameras, Modality.INFRARED: self.infrared_cameras}
        found: list[Record] = []
        for modality, numbers in cameras.items():
            found += self._find_images({i: f"cam{i}" for i in numbers}, modality, sorted(train | val | test))
        for split, listed in {"train_id and val_id": train | val, "test_id": test}.items():
            missing = sorted(listed - {record.identity for record in found})
            self._require_found(not missing, f"hold images of every identity in {split}", f"none of {missing[:5]}")
        self._set_splits(*(_in_order(r for r in found if r.identity in split) for split in (train | val, test)))

    def gallery_permutations(self) -> dict[tuple[int, int], np.ndarray]:
        """Read the official order in which the images of a camera and identity enter the galleries, by trial.

        Returns:
            For every (camera, identity) of the gallery an array of shape (10, images): row t orders the images, counted
            from 0 in the order of the records, for trial t.

        Raises:
            FileNotFoundError: If exp/rand_perm_cam.mat is missing.
            ValueError: If it is damaged, or does not count the images that are there from 1.
        """
        path = self.root / "exp" / "rand_perm_cam.mat"
        self._require_found(path.is_file(), "hold exp/rand_perm_cam.mat", "no such file")
        cells = read_matlab(path).get("rand_perm_cam", np.empty(0))
        require(cells.dtype == object and cells.shape == (6, 1), path.name, "hold cells for 6 cameras", "none")
        counts: dict[tuple[int, int], int] = {}
        for record in self.test_visible:
            key = record.camera, record.identity
            counts[key] = counts.get(key, 0) + 1
        permutations = {}
        for (camera, identity), count in counts.items():
            of_camera = cells[camera - 1, 0]
            order = dict(enumerate(of_camera.flatten(), 1)).get(identity, np.empty(0))
            images = f"images of camera {camera}, identity {identity}"
            found = order.shape if order.dtype != object else "cells"
            require(found == (10, count), path.name, f"hold 10 orders of the {count} {images}", found)
            wrong = order[(np.sort(order) != np.arange(1, count + 1)).any(1)]  # fractions, too
            require(not len(wrong), path.name, f"count the {images} from 1, each once", wrong[:1].flatten().tolist())
            permutations[camera, identity] = order.astype(np.int64) - 1
        return permutations

    def _read_identities(self, split: str) -> set[int]:
        text, matrix = (self.root / "exp" / f"{split}_id.{ending}" for ending in ("txt", "mat"))
        if text.is_file() or not matrix.is_file():
            return self._read_line(text)
        values = read_matlab(matrix).values()
        words = [str(i).removesuffix(".0") for ids in values for i in ids.flatten()]  # MATLAB's numbers are doubles
        return _check_numbers(f"exp/{split}_id", words, "It is one array of identities.")


class RegDB(PersonDataset):
    """Read RegDB: one visible and one thermal camera, and ten trials, each dividing the identities into two halves.

    The identity of an image is the number of its folder, which all trials share; the labels of a split file number the
    identities of that file only. The visible camera is 1, the thermal one 2, as in the field's scripts. The attributes
    are those of :class:`PersonDataset`.

    Args:
        root: Folder of the data set.
        trial: Number of the trial, 1 to 10. Published numbers are means over ten models, one per trial.

    Attributes:
        trial: Number of the trial.

    Raises:
        FileNotFoundError: If the folder, a split file, or an image that it lists is missing.
        ValueError: If there is no such trial, a split file is empty, malformed or lists the other modality, or an
            identity is in training and test.
        TypeError: If ``root`` is no path, or ``trial`` no integer.

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

    def __init__(self, root: str | os.PathLike[str], trial: int) -> None:
        self.trial = check_integer("trial", trial, least=1, most=10)
        super().__init__(root)
        train, test = (
            [
                Record(path, identity, camera, modality)
                for camera, (stem, modality) in enumerate(
                    (("visible", Modality.VISIBLE), ("thermal", Modality.INFRARED)), 1
                )
                for path, identity in self._read_list(f"idx/{split}_{stem}_{self.trial}.txt", modality)
            ]
            for split in ("train", "test")
        )
        self._set_splits(_in_order(train), test)


class LLCM(PersonDataset):
    """Read LLCM: nine cameras, each with a visible and (all but camera 3) a near-infrared mode.

    The identity of an image is the number of its folder. The camera of a training image is the number after ``_c`` in
    its name, such as ``nir/0001/0001_c01_s185535_f7010_nir.jpg``. A person whom a camera has not seen has no folder
    there; a missing camera and files that are not named as images give a warning. The attributes are those of
    :class:`PersonDataset`.

    Args:
        root: Folder of the data set.

    Raises:
        FileNotFoundError: If the folder, a split file, a listed training image, or all images of a listed test identity
            are missing.
        ValueError: If a split file is empty, malformed or lists the other modality, a training image names no camera,
            or an identity is in training and test.
        TypeError: If ``root`` is no path.

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
            images = self._read_list(f"idx/train_{stem}.txt", modality)
            cameras = [re.search(r"_c(\d+)_", path.name) for path, _ in images]
            nameless = [path.name for (path, _), camera in zip(images, cameras, strict=True) if camera is None]
            rule = "name the camera of every image, as in 0001_c01_s185535_f7010_nir.jpg"
            require(not nameless, f"idx/train_{stem}.txt", rule, nameless[:3])
            train += [
                Record(path, identity, int(camera[1]), modality)
                for (path, identity), camera in zip(images, cameras, strict=True)
                if camera
            ]
            folders = {camera: f"test_{stem}/cam{camera}" for camera in range(1, 10) if (stem, camera) != ("nir", 3)}
            test += self._find_images(folders, modality, sorted(listed))
        missing = sorted(listed - {record.identity for record in test})
        self._require_found(not missing, "hold images of every identity in test_id", f"none of {missing[:5]}")
        self._set_splits(_in_order(train), _in_order(test))


def create_dataset(name: str, root: str | os.PathLike[str], *, trial: int | None = None) -> PersonDataset:
    """Read a data set by its short name.

    Args:
        name: Short name, ``"sysu"``, ``"regdb"`` or ``"llcm"``.
        root: Folder of the data set.
        trial: Number of RegDB's trial, 1 to 10, which has no default; SYSU-MM01 and LLCM have no trials and ignore it.

    Raises:
        ValueError: If there is no such data set, or the reader raises it.
        FileNotFoundError: If the reader raises it.
        TypeError: If an argument has another type, or RegDB's trial is not given.

    Example:
        >>> create_dataset("regdb", "nowhere", trial=1)
        Traceback (most recent call last):
        FileNotFoundError: root must be the folder of RegDB, got 'nowhere'. ...
    """
    check_choice("name", name, ("sysu", "regdb", "llcm"))
    if name == "regdb" or trial is not None:
        trial = check_integer("trial", trial, least=1, most=10)
        if name == "regdb":
            return RegDB(root, trial)
    return SYSUMM01(root) if name == "sysu" else LLCM(root)


@dataclass(frozen=True)
class DatasetReport:
    """Hold the counts of a data set next to the published ones; ``print`` shows them as a table.

    Args:
        name: Name of the data set.
        rows: (what, found, published) for each published count, or (what, found, None) for each count of a data set
            without published ones.
        remarks: Sentences on what the counts do not show.
    """

    name: str
    rows: tuple[tuple[str, int, int | None], ...]
    remarks: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Return whether there are published counts and all are found."""
        return all(found == published for _, found, published in self.rows)

    def __str__(self) -> str:
        width = max(28, *(len(what) + 1 for what, _, _ in self.rows)) if self.rows else 28
        if all(published is None for _, _, published in self.rows):
            verdict, columns = "there are no published counts to compare with", ""
        else:
            verdict = "all counts are the published ones" if self.complete else "counts differ from the published ones"
            columns = f"{'published':>11}"
        lines = [f"{self.name}: {verdict}", f"{'':{width}}{'found':>8}{columns}"]
        for what, found, published in self.rows:
            compared = "" if published is None else f"{published:11}{'  ←' * (found != published)}"
            lines.append(f"{what:{width}}{found:8}{compared}")
        return "\n".join([*lines, *self.remarks])


def check_dataset(dataset: PersonDataset) -> DatasetReport:
    """Compare the counts of a data set with the published ones, to see whether a download is whole.

    ``print(check_dataset(dataset))`` writes the table. SYSU-MM01's published counts come from its official
    rand_perm_cam.mat and lists; RegDB's hold for every trial; LLCM's image counts are those that its users report and
    add up to its published 46,767. Images of your own have no published counts, so their report shows the counts found.
    :func:`check_images` reads the images.

    Args:
        dataset: Data set as a reader returns it.

    Raises:
        TypeError: If ``dataset`` comes from no reader.

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
        ...     report = check_dataset(RegDB(root, trial=1))
        >>> report.complete, report.rows[0]
        (False, ('training identities', 3, 206))
    """
    check_type("dataset", dataset, PersonDataset, "be a data set")
    counts = dataset.counts()
    published: Mapping[str, int | None] = dataset.published or dict.fromkeys(counts)
    rows = tuple((what, counts.get(what, 0), count) for what, count in published.items())
    return DatasetReport(dataset.name, rows, dataset.remarks())


def _in_order(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record.camera, record.identity, record.path.name))


def _of(modality: Modality, records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.modality is modality]


def _check_numbers(argument: str, words: Sequence[str], remedy: str) -> set[int]:
    wrong = [word for word in words if not word.isdecimal() or int(word) < 1]
    require(not wrong and len(words) > 0, argument, "list identities by number, from 1", wrong[:5], remedy)
    repeated = [word for word, count in Counter(words).items() if count > 1]
    require(not repeated, argument, "list an identity once", repeated[:5], remedy)
    return {int(word) for word in words}


def _images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the image files of a folder and its other files, dangling links among them; none without such a folder."""
    images: list[Path] = []
    others: list[Path] = []
    if folder.is_dir():
        endings = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
        for entry in os.scandir(folder):
            if not entry.name.startswith(".") and entry.name != "Thumbs.db" and not entry.is_dir():
                is_image = entry.is_file() and Path(entry.name).suffix.lower() in endings
                (images if is_image else others).append(folder / entry.name)
    return images, others


_FOLDERS = {  # in which the lists' images of a modality lie
    Modality.VISIBLE: {"visible", "vis", "train_vis"},
    Modality.INFRARED: {"thermal", "nir", "train_nir"},
}
