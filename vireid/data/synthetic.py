"""A generator of a synthetic data set: drawn pedestrians and split files in the layouts of the public data sets."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.random import default_rng
from PIL import Image

from vireid._checks import (
    check_choice,
    check_flags,
    check_integer,
    check_number,
    check_size,
    check_type,
    import_extra,
    require,
)
from vireid.data.matlab import write_matlab
from vireid.data.pedestrians import Shot, photograph
from vireid.modality import Modality


def generate_synthetic(
    root: str | os.PathLike[str],
    layout: Literal["sysu", "regdb", "llcm"] = "sysu",
    *,
    train_identities: int = 100,
    test_identities: int = 60,
    images_per_camera: int = 10,
    cameras: Sequence[int] | None = None,
    absence: float = 0.0,
    size: tuple[int, int] = (288, 144),
    difficulty: float = 0.5,
    seed: int = 0,
    workers: int = 1,
    progress: bool = False,
) -> Path:
    """Write a data set of drawn pedestrians with split files, which the readers of the public data sets can read.

    An identity is a body, hair, garments, prints and bags. The brightness of each of them is drawn independently for
    visible and for infrared cameras, so that only shape and pattern identify a person across modalities. Pose,
    viewpoint, place, light, blur, noise, background and occlusion differ from image to image. An image depends only on
    ``seed``, its identity, camera and frame, not on the machine, the order or the number of images written. A new
    folder appears under its name once everything is written; in an existing empty one, which may be a mounted volume,
    a hidden folder holds the files until then.

    Args:
        root: New or empty folder of the data set.
        layout: Data set whose folders and split files are written. ``"regdb"`` has one camera of each modality,
            ``"llcm"`` nine visible and eight infrared ones, ``"sysu"`` four and two.
        train_identities: Number of training identities, at least 2; SYSU-MM01's layout holds out a quarter of them for
            validation.
        test_identities: Number of test identities; RegDB's layout divides all identities anew in each of ten trials.
        images_per_camera: Number of images of each identity from each camera; ten allow the multi-shot galleries of
            SYSU-MM01.
        cameras: Numbers of the layout's cameras to use; by default all.
        absence: Share of an identity's cameras, from 0 to 1, that have not seen it, as is common in the real data sets;
            one camera of each modality always has.
        size: (height, width) of the images in pixels, at least (32, 16).
        difficulty: Strength of the differences between images of a person, from 0 to 1.
        seed: Seed of the people, cameras and images.
        workers: Number of processes that draw. More than one need the ``if __name__ == "__main__":`` of
            `multiprocessing`.
        progress: Whether to show a bar, which needs tqdm.

    Returns:
        The absolute path of ``root``.

    Raises:
        ValueError: If an argument is out of range, or ``layout`` is unknown.
        TypeError: If an argument has another type.
        FileExistsError: If ``root`` is a file or a folder that is not empty.
        ImportError: If a bar is asked for and tqdm is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = generate_synthetic(
        ...         f"{folder}/people", train_identities=4, test_identities=2, images_per_camera=1, size=(48, 24)
        ...     )
        ...     print(len(list(root.glob("cam*/*/*.jpg"))), (root / "exp" / "train_id.txt").read_text().strip())
        36 1,2,3
    """
    check_choice("layout", layout, _LAYOUTS)
    train_identities = check_integer("train_identities", train_identities, least=2)
    test_identities = check_integer("test_identities", test_identities, least=1)
    images_per_camera = check_integer("images_per_camera", images_per_camera, least=1)
    workers = check_integer("workers", workers, least=1)
    seed = check_integer("seed", seed, least=0)
    size = check_size("size", size, least=(32, 16))
    difficulty = check_number("difficulty", difficulty, least=0, most=1)
    absence = check_number("absence", absence, least=0, most=1)
    check_flags(progress=progress)
    check_type("root", root, (str, os.PathLike), "be a path")
    root = Path(root).absolute()
    exists = root.exists()
    vacant = not exists or (root.is_dir() and not any(root.iterdir()))
    remedy = "Delete it or choose another one."
    require(vacant, "root", "be a new or an empty folder", str(root), remedy, error=FileExistsError)

    train, test = range(1, train_identities + 1), range(train_identities + 1, train_identities + test_identities + 1)
    sightings = _sightings(layout, [*train, *test], cameras, absence, seed)
    shots, lists = _LAYOUTS[layout](train, test, sightings, range(1, images_per_camera + 1), seed)
    write = partial(_write_image, size=size, difficulty=difficulty, seed=seed)
    show = partial(import_extra("tqdm", "examples").tqdm, total=len(shots), desc="images") if progress else iter
    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{root.name}.", dir=root if exists else root.parent) as temporary:
        unfinished = Path(temporary, root.name)
        for folder in {(unfinished / path).parent for path in [*lists, *(shot.path for shot in shots)]}:
            folder.mkdir(parents=True, exist_ok=True)
        for path, content in lists.items():
            (unfinished / path).write_bytes(content)
        if workers == 1:
            for shot in show(shots):
                write(unfinished, shot)
        else:
            spawn, ignore = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
            with ProcessPoolExecutor(workers, spawn, initializer=signal.signal, initargs=ignore) as pool:
                list(show(pool.map(write, repeat(unfinished), shots, chunksize=32)))
        if exists:  # a mounted volume cannot be replaced
            for entry in sorted(unfinished.iterdir()):
                entry.rename(root / entry.name)
        else:
            unfinished.rename(root)
    return root


# Layouts: the images and the contents of the split files.


_Layout = tuple[list[Shot], dict[str, bytes]]  # the images, and the split files' names and contents
_Sightings = list[tuple[int, int, Modality]]  # identity, camera and modality
_VISIBLE, _INFRARED = Modality.VISIBLE, Modality.INFRARED
_CAMERAS: dict[str, dict[Modality, tuple[int, ...]]] = {
    "sysu": {_VISIBLE: (1, 2, 4, 5), _INFRARED: (3, 6)},
    "regdb": {_VISIBLE: (1,), _INFRARED: (2,)},
    "llcm": {_VISIBLE: tuple(range(1, 10)), _INFRARED: (1, 2, 4, 5, 6, 7, 8, 9)},
}


def _sightings(
    layout: str, identities: Sequence[int], cameras: Sequence[int] | None, absence: float, seed: int
) -> _Sightings:
    """Draw the cameras that have seen each identity in each modality."""
    known = _CAMERAS[layout]
    every = {camera for of_modality in known.values() for camera in of_modality}
    rule, remedy = (
        "be cameras of the layout, one of each modality at least",
        "; ".join(f"{mode.value}: {all_}" for mode, all_ in known.items()),
    )
    listed = cameras is None or (isinstance(cameras, Sequence) and not isinstance(cameras, (str, bytes)))
    require(listed, "cameras", rule, cameras, remedy, error=TypeError)
    chosen = every if cameras is None else {check_integer(f"cameras[{i}]", c) for i, c in enumerate(cameras)}
    fits = chosen <= every and all(chosen & set(of_modality) for of_modality in known.values())
    require(fits, "cameras", rule, cameras, remedy)
    sightings = []
    for (modality, of_modality), identity in product(known.items(), identities):
        present = sorted(chosen & set(of_modality))
        rng = default_rng((seed, 5, identity, list(known).index(modality)))
        seen = [camera for camera in present if rng.random() >= absence]
        sightings += [(identity, camera, modality) for camera in seen or [int(rng.choice(present))]]
    return sightings


def _sysu_mm01(train: range, test: range, sightings: _Sightings, frames: range, seed: int) -> _Layout:
    shots = [
        Shot(f"cam{camera}/{identity:04d}/{frame:04d}.jpg", identity, camera, frame, modality)
        for (identity, camera, modality), frame in product(sightings, frames)
    ]
    held_out = max(1, len(train) // 4)
    splits = {"train": train[:-held_out], "val": train[-held_out:], "test": test}
    lists = {f"exp/{split}_id.txt": _one_line(identities) for split, identities in splits.items()}
    seen = {(camera, identity) for identity, camera, _ in sightings}
    orders = [
        [
            default_rng((seed, 6, camera, identity)).permuted(np.tile(frames, (10, 1)), axis=1)
            if (camera, identity) in seen
            else np.empty((0, 0), int)
            for identity in [*train, *test]
        ]
        for camera in range(1, 7)
    ]
    return shots, {**lists, "exp/rand_perm_cam.mat": write_matlab("rand_perm_cam", orders)}


def _regdb(train: range, test: range, sightings: _Sightings, frames: range, seed: int) -> _Layout:
    stems = {_VISIBLE: "visible", _INFRARED: "thermal"}

    def path(stem: str, identity: int, frame: int) -> str:
        return f"{stem.title()}/{identity}/person_{stem[0]}_{frame:05d}_{identity}.bmp"

    shots = [
        Shot(path(stems[modality], identity, frame), identity, camera, frame, modality)
        for (identity, camera, modality), frame in product(sightings, frames)
    ]
    lists = {}
    for trial in range(1, 11):
        shuffled = default_rng((seed, 4, trial)).permutation([*train, *test]).tolist()
        splits = {"train": sorted(shuffled[: len(train)]), "test": sorted(shuffled[len(train) :])}
        for split, stem in product(splits, stems.values()):
            lines = product(enumerate(splits[split]), frames)
            text = "".join(f"{path(stem, identity, frame)} {label}\n" for (label, identity), frame in lines)
            lists[f"idx/{split}_{stem}_{trial}.txt"] = text.encode()
    return shots, lists


def _llcm(train: range, test: range, sightings: _Sightings, frames: range, seed: int) -> _Layout:
    del seed  # only the people depend on it
    shots, lines = [], {"vis": "", "nir": ""}
    for (identity, camera, modality), frame in product(sightings, frames):
        stem = "vis" if modality is _VISIBLE else "nir"
        folder = f"{stem}/{identity:04d}" if identity in train else f"test_{stem}/cam{camera}/{identity:04d}"
        path = f"{folder}/{identity:04d}_c{camera:02d}_s000000_f{frame:04d}_{stem}.jpg"
        shots.append(Shot(path, identity, camera, frame, modality))
        if identity in train:
            lines[stem] += f"{path} {identity - 1}\n"
    lists = {f"idx/train_{stem}.txt": text.encode() for stem, text in lines.items()}
    return shots, {**lists, "idx/test_id.txt": _one_line(test)}


def _one_line(identities: Iterable[int]) -> bytes:
    return (",".join(map(str, identities)) + "\n").encode()


_LAYOUTS = {"sysu": _sysu_mm01, "regdb": _regdb, "llcm": _llcm}


def _write_image(folder: Path, shot: Shot, *, size: tuple[int, int], difficulty: float, seed: int) -> None:
    Image.fromarray(photograph(shot, size, difficulty, seed)).save(folder / shot.path, quality=92)
