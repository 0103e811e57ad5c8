"""Readers of images of your own: from two folders or a table to records, without opening an image."""

from __future__ import annotations

import csv
import difflib
import filecmp
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vireid._checks import check_type, require
from vireid.data.images import Record
from vireid.modality import Modality


class RecordList(list[Record]):
    """Hold records in a list, with the names that their people and cameras have in your files.

    A slice or a filtered copy is a plain list, without the names; ``RecordList(kept, names=records.names)`` keeps them.

    Args:
        records: Images. The identity -1 means that the person is unknown.
        names: Name of each identity.
        camera_names: Name of each camera.
        splits: Split of each labelled image by its path: ``"train"``, ``"test"``, ``"query"`` or ``"gallery"``.

    Raises:
        TypeError: If ``records`` are no records, or another argument is no mapping.

    Example:
        >>> records = RecordList([Record("anna/1.png", 1, 0, "visible")], names={1: "anna"})
        >>> records.names[records[0].identity]
        'anna'
    """

    def __init__(
        self,
        records: Iterable[Record],
        *,
        names: Mapping[int, str] | None = None,
        camera_names: Mapping[int, str] | None = None,
        splits: Mapping[Path, str] | None = None,
    ) -> None:
        check_type("records", records, Iterable, "hold records")
        super().__init__(records)
        for i, record in enumerate(self):
            check_type(f"records[{i}]", record, Record, "be a Record")
        for argument, mapping in {"names": names, "camera_names": camera_names, "splits": splits}.items():
            check_type(argument, mapping, (Mapping, type(None)), "be None or a mapping")
        self.names = dict(names or {})
        self.camera_names = dict(camera_names or {})
        self.splits = dict(splits or {})


def read_folders(
    *,
    visible: str | os.PathLike[str],
    infrared: str | os.PathLike[str],
    pattern: str | re.Pattern[str] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> RecordList:
    r"""Read the images below a folder of visible and a folder of infrared images; their paths say whom they show.

    The regular expression ``pattern`` is matched with the path below the folder, such as ``0007/morning_c3.png``, from
    its start. Its group ``identity`` holds the person and its group ``camera`` the camera. An image is *unlabelled*,
    with the identity -1, if there is no group ``identity``, or if it is empty or ``-1``; an optional pattern,
    ``(?:…)?``, leaves those unlabelled that it does not match. Without a camera an image has the camera 0. Cameras with
    one number are one camera for protocols that exclude a camera, so give a visible and an infrared camera two numbers
    unless they stand in one housing.

    Identities that are all numbers keep them, so that ``0007`` in one folder is ``7`` in the other; others are numbered
    from 1 in the order of their names. Cameras likewise. Other files than images give a warning; hidden files are
    ignored, and links are followed.

    Args:
        visible: Folder of the visible images, or a glob of folders or images such as ``"people/*/rgb"`` or
            ``"cam[1245]"``. The paths that the pattern sees begin after the part without wildcards.
        infrared: Folder or glob of the infrared images.
        pattern: Regular expression with the named groups ``identity`` and ``camera``, both optional; by default all
            images are unlabelled.
        root: Folder that holds the two; by default the current one.

    Returns:
        Records ordered by modality and path, with absolute paths.

    Raises:
        FileNotFoundError: If a folder is missing or holds no image.
        ValueError: If ``pattern`` is no such expression or does not match every image, if the two folders share an
            image or hold copies of one under one name, or if both are labelled and share no person.
        TypeError: If an argument has another type.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("rgb/anna/noon_c1.png", "rgb/ben/noon_c1.png", "ir/anna/night_c2.png"):
        ...         Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
        ...         Image.new("RGB", (2, 4)).save(Path(folder, name))
        ...     pattern = r"(?P<identity>[^/]+)/.*_c(?P<camera>\d+)"
        ...     records = read_folders(visible="rgb", infrared="ir", pattern=pattern, root=folder)
        >>> [(record.identity, record.camera, record.modality.value) for record in records], records.names
        ([(1, 1, 'visible'), (2, 1, 'visible'), (1, 2, 'infrared')], {1: 'anna', 2: 'ben'})
    """
    expression = re.compile("") if pattern is None else _compile(pattern)
    check_type("root", root, (str, os.PathLike, type(None)), "be None or a path")
    start = Path.cwd() if root is None else Path(root)
    require(start.is_dir(), "root", "be a folder", str(start), error=FileNotFoundError)
    images: list[_Image] = []
    named: dict[str, dict[str, Path]] = {}  # the images of each modality by their names
    for argument, where in {"visible": visible, "infrared": infrared}.items():
        base, names = _find_images(argument, where, start)
        matches = [expression.match(name) for name in names]
        missed = [name for name, match in zip(names, matches, strict=True) if match is None]
        remedy = f"It matches {len(names) - len(missed)} of {len(names)} images, from the start of the path."
        remedy += f" To keep the others as images of unknown people, make it optional: (?:{expression.pattern})?"
        require(not missed, "pattern", f"match the path of every image below {base}", missed[:3], remedy)
        groups = [match.groupdict() for match in matches if match]
        named[argument] = {name: base / name for name in names}
        images += [
            _Image(path, Modality(argument), group.get("identity") or "", group.get("camera") or "")
            for path, group in zip(named[argument].values(), groups, strict=True)
        ]
    shown = set(named["visible"].values())
    both = [str(path) for path in named["infrared"].values() if path in shown]
    twins = [(path, named["visible"][name]) for name, path in named["infrared"].items() if name in named["visible"]]
    both += [str(path) for path, twin in twins if filecmp.cmp(path, twin, shallow=False)]
    require(not both, "infrared", "hold other images than visible", both[:3])
    return _make_records("pattern", images)


def read_table(path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> RecordList:
    r"""Read the images that a table lists.

    The table is a CSV file in UTF-8 with a header, separated by commas, semicolons or tabs:

    ============ =================================================================================================
    column       content
    ============ =================================================================================================
    ``path``     path of the image below ``root``, or an absolute one
    ``modality`` ``visible`` or ``infrared``
    ``identity`` number or name of the person; empty or -1 for an unlabelled image. Optional
    ``camera``   number or name of the camera. Optional
    ``split``    ``train``, ``test``, ``query`` or ``gallery``, for every labelled image. Optional
    ============ =================================================================================================

    Other columns are ignored. Identities and cameras are numbered as in :func:`read_folders`;
    :func:`split_identities` follows the splits.

    Args:
        path: CSV file.
        root: Folder that the listed paths are relative to; by default that of the table.

    Returns:
        Records in the order of the table, with absolute paths.

    Raises:
        FileNotFoundError: If the table or a listed image is missing.
        ValueError: If the table lacks a column or an image, has a line that cannot be read, lists an image twice, or
            labels both modalities but no person in both.
        TypeError: If an argument is no path.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("1.png", "2.png"):
        ...         Image.new("RGB", (2, 4)).save(Path(folder, name))
        ...     table = Path(folder, "people.csv")
        ...     _ = table.write_text("path,modality,identity\n1.png,visible,anna\n2.png,infrared,anna\n")
        ...     records = read_table(table)
        >>> [(record.path.name, record.identity, record.camera) for record in records]
        [('1.png', 1, 0), ('2.png', 1, 0)]
    """
    check_type("path", path, (str, os.PathLike), "be a path")
    check_type("root", root, (str, os.PathLike, type(None)), "be None or a path")
    table = Path(path)
    require(table.is_file(), "path", "be a table", str(table), "There is no such file.", error=FileNotFoundError)
    folder = table.parent if root is None else Path(root)
    require(folder.is_dir(), "root", "be a folder", str(folder), error=FileNotFoundError)
    rows = _read_rows(table)
    require(len(rows) > 0, table.name, "list an image", "a header only")
    columns = next(iter(rows.values()))
    pathless = [f"line {i}" for i, row in rows.items() if not row["path"]]
    require(not pathless, table.name, "have a path on every line", pathless[:3])

    labelled = {i: row for i, row in rows.items() if row.get("identity", "") not in _UNKNOWN}
    for column, known, of_rows in (
        ("modality", (Modality.VISIBLE.value, Modality.INFRARED.value), rows),
        ("split", _SPLITS, labelled if "split" in columns else {}),
    ):
        wrong = [f"line {i}: {row[column]}" for i, row in of_rows.items() if row[column] not in known]
        rule, remedy = f"have {' or '.join(known)} as {column}", f"{len(wrong)} of {len(rows)} lines have not."
        require(not wrong, table.name, rule, wrong[:3], remedy)
    images = {
        i: _Image(
            Path(os.path.abspath(folder / row["path"].replace("\\", "/"))),
            Modality(row["modality"]),
            row.get("identity", ""),
            row.get("camera", ""),
        )
        for i, row in rows.items()
    }
    lines: dict[Path, list[int]] = {}
    for i, image in images.items():
        lines.setdefault(image.path, []).append(i)
    repeated = [f"lines {', '.join(map(str, at))}: {rows[at[0]]['path']}" for at in lines.values() if len(at) > 1]
    require(not repeated, table.name, "list an image once", repeated[:3])
    absent = [rows[i]["path"] for i, image in images.items() if not image.path.is_file()]
    remedy = f"{len(absent)} of {len(rows)} listed images are missing below {folder}."
    require(not absent, table.name, "list images that exist", absent[:3], remedy, error=FileNotFoundError)
    records = _make_records(table.name, list(images.values()))
    if "split" in columns:
        records.splits = {images[i].path: row["split"] for i, row in labelled.items()}
    return records


class _Image(NamedTuple):
    """An image whose person and camera have the names of the files, or none."""

    path: Path
    modality: Modality
    identity: str
    camera: str


_UNKNOWN = ("", "-1")  # identities of unlabelled images
_COLUMNS = ("path", "modality", "identity", "camera", "split")
_SPLITS = ("train", "test", "query", "gallery")
_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2"}


def _make_records(argument: str, images: Sequence[_Image]) -> RecordList:
    """Number the people and cameras, after requiring that labelled images of both modalities share a person."""
    identities, names = _number({image.identity for image in images if image.identity not in _UNKNOWN})
    cameras, camera_names = _number({image.camera for image in images if image.camera})
    records = [
        Record(image.path, identities.get(image.identity, -1), cameras.get(image.camera, 0), image.modality)
        for image in images
    ]
    people = {
        modality.value: {record.identity for record in records if record.modality is modality and record.identity >= 0}
        for modality in (Modality.VISIBLE, Modality.INFRARED)
    }
    visible, infrared = people.values()
    found = {modality: [names[i] for i in sorted(numbers)[:3]] for modality, numbers in people.items()}
    remedy = "Leave the identities out if nobody is known in both."
    shared = not visible or not infrared or not visible.isdisjoint(infrared)
    require(shared, argument, "name a person in both modalities", found, remedy)
    return RecordList(records, names=names, camera_names=camera_names)


def _number(names: Iterable[str]) -> tuple[dict[str, int], dict[int, str]]:
    """Number names from 1 in their order, unless all are numbers of 64 bits; return the names of the numbers, too."""
    names = sorted(names)
    if all(name.isdecimal() and len(name) <= 18 for name in names):
        numbers = {name: int(name) for name in names}
        return numbers, {number: str(number) for number in sorted(numbers.values())}
    return {name: i for i, name in enumerate(names, 1)}, dict(enumerate(names, 1))


def _compile(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    """Compile the pattern, after requiring the names of its groups."""
    expected = "be a regular expression with the groups (?P<identity>…) and (?P<camera>…)"
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    require(isinstance(text, str), "pattern", expected, type(text).__name__, error=TypeError)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        require(False, "pattern", expected, pattern, f"It is none: {error}.")
    others = sorted(set(expression.groupindex) - {"identity", "camera"})
    require(not others, "pattern", expected, others, "Write a group that is not to be read as (?:…).")
    named = expression.groups == 0 or len(expression.groupindex) > 0
    require(named, "pattern", expected, text, "Its groups have no names.")
    return expression


def _find_images(argument: str, where: str | os.PathLike[str], root: Path) -> tuple[Path, list[str]]:
    """Find the images below a folder or in what a glob names; return where it begins, and their names from there."""
    check_type(argument, where, (str, os.PathLike), "be a path")
    base = Path(os.path.abspath(root / where))
    starts = [base]
    if not base.is_dir():
        parts = base.parts
        fixed = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
        base = Path(*parts[:fixed])
        there = sorted(child.name for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
        listed = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
        remedy = f"It begins in {root}, which has {f'the folders {listed}' if there else 'no folders'}."
        exists = fixed < len(parts) and base.is_dir()
        require(exists, argument, "be a folder, or a glob below one", str(where), remedy, error=FileNotFoundError)
        starts = sorted(base.glob("/".join(parts[fixed:])))
    above = len(os.path.join(base, ""))
    paths = {path for start in starts for path in (_walk(start) if start.is_dir() else [str(start)])}
    names = sorted(path[above:].replace(os.sep, "/") for path in paths)
    endings = {name: os.path.splitext(name)[1] or os.path.basename(name) for name in names}
    images = [name for name in names if endings[name].lower() in _ENDINGS]
    others = Counter(ending for ending in endings.values() if ending.lower() not in _ENDINGS)
    found = f"{len(names)} other files" if names else "no file"
    remedy = f"The names of images end in {', '.join(sorted(_ENDINGS))}."
    require(len(images) > 0, argument, f"hold images, in {root}", found, remedy, error=FileNotFoundError)
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(5))
        message = f"{argument} holds files that are not named as images and are ignored: {kinds}."
        warnings.warn(message, stacklevel=3)
    return base, images


def _walk(folder: Path) -> Iterator[str]:
    """Find the files below a folder that are not hidden; links to folders are followed, each folder is entered once."""
    entered: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in entered:  # a link back into the tree
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in names if not name.startswith(".") and name != "Thumbs.db")


def _read_rows(table: Path) -> dict[int, dict[str, str]]:
    """Read the lines of a table by their number, after requiring its columns."""
    with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:  # names need not be UTF-8
        header = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=header.count))
        try:
            numbered = [(reader.line_num, [value.strip() for value in row]) for row in reader]
        except csv.Error as error:
            require(False, table.name, "be a CSV file", f"line {reader.line_num}: {error}")
    columns = [column.lower() for column in numbered[0][1]] if numbered else []
    rule = "have the columns path and modality, and may have identity, camera and split"
    for column in _COLUMNS:
        close = [] if column in columns else difflib.get_close_matches(column, set(columns) - set(_COLUMNS), n=1)
        remedy = f"Did you mean {column!r} by {close[0]!r}?" if close else "Its first line names its columns."
        require(not close and (column in columns or column not in _COLUMNS[:2]), table.name, rule, columns, remedy)
    repeated = [column for column, count in Counter(columns).items() if count > 1]
    require(not repeated, table.name, "have each column once", repeated)
    rows = {i: row for i, row in numbered[1:] if any(row)}
    ragged = [f"line {i}: {len(row)} values" for i, row in rows.items() if len(row) != len(columns)]
    require(not ragged, table.name, f"have {len(columns)} values on every line, like its first", ragged[:3])
    return {i: dict(zip(columns, row, strict=True)) for i, row in rows.items()}
