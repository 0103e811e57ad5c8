"""Images of your own as a data set: people to train on and people to test on, divided by a seed or by a table."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from vireid._checks import check_choice, check_integer, check_number, check_type, require
from vireid.data.datasets import PersonDataset
from vireid.data.folders import RecordList
from vireid.data.images import Record
from vireid.modality import Modality


class OwnDataset(PersonDataset):
    """Hold images of your own as a data set for training, evaluation and :func:`check_dataset`.

    :func:`split_identities` makes one; construct it yourself from a split of your own. Records are ordered by camera,
    identity and path. There are no published counts, so :func:`check_dataset` shows the counts alone.

    Args:
        train: Images of the training people; may be empty.
        test: Images of the test people; may be empty.
        unlabelled: Images of unknown people, identity -1, which are neither trained on nor tested.
        names: Name of each identity.
        camera_names: Name of each camera.

    Attributes:
        root: Deepest folder that holds all images.
        train: Images of the training people, both modalities.
        test_visible: Visible images of the test people.
        test_infrared: Infrared images of the test people.
        unlabelled: Images of unknown people.
        names: Name of each identity.
        camera_names: Name of each camera.

    Raises:
        ValueError: If there is no image, one is given twice, a person of train or test is unknown, or a person is in
            both.
        TypeError: If an argument has another type.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = [Path(folder, f"{i}.png") for i in range(4)]
        ...     for path in paths:
        ...         _ = path.write_bytes(b"an image")
        ...     modalities = ("visible", "infrared", "visible", "infrared")
        ...     records = [Record(path, i // 2, 1, modalities[i]) for i, path in enumerate(paths)]
        ...     dataset = OwnDataset(records[:2], records[2:])
        ...     len(dataset.train), len(dataset.test_visible), len(dataset.test_infrared), len(dataset.fingerprint())
        (2, 1, 1, 16)
    """

    name = "own data"
    tree = ""
    published: ClassVar[Mapping[str, int]] = {}

    def __init__(
        self,
        train: Iterable[Record],
        test: Iterable[Record],
        *,
        unlabelled: Iterable[Record] = (),
        names: Mapping[int, str] | None = None,
        camera_names: Mapping[int, str] | None = None,
    ) -> None:
        for argument, mapping in {"names": names, "camera_names": camera_names}.items():
            check_type(argument, mapping, (Mapping, type(None)), "be None or a mapping")
        self.names, self.camera_names = dict(names or {}), dict(camera_names or {})
        lists = [_check(name, records) for name, records in (("train", train), ("test", test))]
        unknown = _check("unlabelled", unlabelled, known=False)
        paths = Counter(record.path for records in (*lists, unknown) for record in records)
        require(len(paths) > 0, "train", "hold an image, or test", 0)
        repeated = [str(path) for path, count in paths.items() if count > 1]
        require(not repeated, "test", "hold every image once, and none of train or unlabelled", repeated[:3])
        both = sorted({record.identity for record in lists[0]} & {record.identity for record in lists[1]})
        people = [self.names.get(identity, identity) for identity in both]
        require(not both, "test", "hold other people than train", people[:5])
        super().__init__(_common_folder(paths))
        self.train, test, self.unlabelled = (
            sorted(records, key=lambda record: (record.camera, record.identity, record.path.parts))
            for records in (*lists, unknown)
        )
        self.test_visible = [record for record in test if record.modality is Modality.VISIBLE]
        self.test_infrared = [record for record in test if record.modality is Modality.INFRARED]

    def counts(self) -> dict[str, int]:
        """Return the number of identities, of those in both modalities, and of images of each split and camera."""
        counts = super().counts()
        for split, records in {"training": self.train, "test": self.test_visible + self.test_infrared}.items():
            visible, infrared = (_people(records, modality) for modality in (Modality.VISIBLE, Modality.INFRARED))
            counts[f"{split} identities in both modalities"] = len(visible & infrared)
        return counts | {"unlabelled images": len(self.unlabelled)}

    def remarks(self) -> tuple[str, ...]:
        """Return sentences that name the people whom one modality alone shows."""
        tested, sentences = self.test_visible + self.test_infrared, []
        for split, records in {"training": self.train, "test": tested}.items():
            for modality, other in ((Modality.VISIBLE, Modality.INFRARED), (Modality.INFRARED, Modality.VISIBLE)):
                alone = _people(records, modality) - _people(records, other)
                if alone:
                    listed = _list_names(alone, self.names)
                    sentences.append(f"{split} people in {modality.value} images only: {len(alone)} ({listed})")
        return tuple(sentences)

    def _camera_name(self, camera: int) -> str:
        return self.camera_names.get(camera, str(camera))


def split_identities(
    records: Iterable[Record],
    *,
    test: float | None = None,
    seed: int = 0,
    query: Modality | str = "infrared",
    queries_only: float = 0.0,
    gallery_only: float = 0.0,
) -> OwnDataset:
    r"""Divide people into those to train on and those to test on, as a data set.

    The people seen in both modalities are ordered by a hash of ``seed`` and their name, and the first are tested. So
    the split depends neither on the order of the records nor on the number of images, and a person who joins later
    moves one other person at most.

    The test is *open-set* where somebody is searched for whom the gallery does not hold, or the reverse. People whom
    only one modality has seen cannot be trained on and join the test as such, unless ``test`` is 0. More are made by
    ``queries_only`` and ``gallery_only``, which leave out one modality of some test people. To keep the test
    *closed-set*, leave people of one modality out of ``records``.

    Unlabelled images are kept apart, since they may show anybody.

    Args:
        records: Images, as :func:`read_folders` and :func:`read_table` return them.
        test: Share of the people in both modalities to test on, from 0 to 1, of which one at least is left on each
            side in between. By default the splits of the table are followed, or without those half of the people
            tested. A table's ``query`` and ``gallery`` need one modality each.
        seed: Seed of the division.
        query: Modality of the queries, which tells the two shares that follow apart.
        queries_only: Share of the test people to have in the queries only, from 0 to 1.
        gallery_only: Share of the test people to have in the gallery only, from 0 to 1.

    Raises:
        ValueError: If an argument is out of range, too few people are seen in both modalities, or the splits of the
            table are unusable.
        TypeError: If an argument has another type.

    Example:
        >>> import tempfile
        >>> from vireid.data import check_dataset, generate_synthetic, read_folders
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = generate_synthetic(
        ...         f"{folder}/people", train_identities=5, test_identities=5, images_per_camera=1, size=(48, 24)
        ...     )
        ...     pattern = r"cam(?P<camera>\d)/(?P<identity>\d+)/"
        ...     records = read_folders(visible="cam[1245]", infrared="cam[36]", pattern=pattern, root=root)
        ...     dataset = split_identities(records, test=0.3, seed=1)
        >>> print(check_dataset(dataset))
        own data: ...
    """
    records = records if isinstance(records, RecordList) else RecordList(records)
    seed = check_integer("seed", seed, least=0)
    check_choice("query", query, (Modality.VISIBLE.value, Modality.INFRARED.value))
    queries_only = check_number("queries_only", queries_only, least=0, most=1)
    gallery_only = check_number("gallery_only", gallery_only, least=0, most=1)
    follow = test is None and len(records.splits) > 0
    test = 0.5 if test is None else check_number("test", test, least=0, most=1)
    known = [record for record in records if record.identity >= 0]
    if follow:
        for argument, share in {"queries_only": queries_only, "gallery_only": gallery_only}.items():
            require(share == 0, argument, "be 0 where the splits of a table are followed", share)
        train, tested = _follow_splits(known, records.splits)
    else:
        both = _people(known, Modality.VISIBLE) & _people(known, Modality.INFRARED)
        remedy = "A pattern needs the group (?P<identity>…), a table the column identity."
        found = f"{len(records)} unlabelled images"
        require(len(known) > 0 or len(records) == 0, "records", "show people who are known", found, remedy)
        least = 2 if 0 < test < 1 else 1
        others = {record.identity for record in known} - both
        remedy = f"In one alone are {_list_names(others, records.names)}." if others else ""
        require(len(both) >= least, "records", f"show {least} or more people in both modalities", len(both), remedy)
        names = {identity: records.names.get(identity, str(identity)) for identity in both}
        people = set(_shuffle(names, f"{seed} test")[: _count(test, len(both), most=len(both) + 1 - least)])
        queried, shelved = _count(queries_only, len(people)), _count(gallery_only, len(people))
        rule, shares = "leave test people for both sides, with gallery_only", (queries_only, gallery_only)
        require(queried + shelved < max(len(people), 1), "queries_only", rule, shares)
        sides = (Modality.VISIBLE, Modality.INFRARED)
        gallery_side, query_side = sides if query == Modality.INFRARED else sides[::-1]
        alone = _shuffle({identity: names[identity] for identity in people}, f"{seed} open-set")
        hidden = dict.fromkeys(alone[:queried], gallery_side)
        hidden |= dict.fromkeys(alone[queried : queried + shelved], query_side)
        others = set() if test == 0 else others
        train = [record for record in known if record.identity in both and record.identity not in people]
        tested = [record for record in known if record.identity in people or record.identity in others]
        tested = [record for record in tested if hidden.get(record.identity) is not record.modality]
    unlabelled = [record for record in records if record.identity < 0]
    return OwnDataset(train, tested, unlabelled=unlabelled, names=records.names, camera_names=records.camera_names)


def _follow_splits(records: Sequence[Record], splits: Mapping[Path, str]) -> tuple[list[Record], list[Record]]:
    """Divide labelled images as a table says."""
    of = {split: [r for r in records if splits.get(r.path) == split] for split in ("train", "test", "query", "gallery")}
    absent = [str(record.path) for record in records if record.path not in splits]
    require(not absent, "records", "have a split for every labelled image", absent[:3])
    query, gallery = ({record.modality.value for record in of[split]} for split in ("query", "gallery"))
    fits = len(query) < 2 and len(gallery) < 2 and query.isdisjoint(gallery)
    remedy = "Images of both modalities that search and are searched have the split 'test'."
    found = {"query": sorted(query), "gallery": sorted(gallery)}
    require(fits, "records", "have queries of one modality and a gallery of the other", found, remedy)
    return of["train"], of["test"] + of["query"] + of["gallery"]


def _shuffle(names: Mapping[int, str], key: str) -> list[int]:
    """Order people by a hash of their names, which nobody else's presence changes."""
    return sorted(names, key=lambda i: hashlib.sha256(f"{key} {names[i]}".encode(errors="surrogatepass")).digest())


def _count(share: float, people: int, most: int | None = None) -> int:
    """Return the number of people in a share: one at least if it is not 0, ``most`` at most."""
    count = max(round(share * people), int(share > 0))
    return count if most is None else min(count, most)


def _list_names(people: Iterable[int], names: Mapping[int, str]) -> str:
    """Name the first three people, and count the others."""
    known = [names.get(identity, str(identity)) for identity in sorted(people)]
    return ", ".join(known[:3]) + (f" and {len(known) - 3} more" if len(known) > 3 else "")


def _people(records: Iterable[Record], modality: Modality) -> set[int]:
    return {record.identity for record in records if record.modality is modality}


def _check(argument: str, records: Iterable[Record], *, known: bool = True) -> list[Record]:
    """Require records of known people, or of unknown ones; return them with absolute paths."""
    check_type(argument, records, Iterable, "hold records")
    records = list(records)
    for i, record in enumerate(records):
        check_type(f"{argument}[{i}]", record, Record, "be a Record")
        rule = "show a known person, 0 or more" if known else "show an unknown person, -1"
        require((record.identity >= 0) == known, f"{argument}[{i}]", rule, record.identity)
    return [r if r.path.is_absolute() else r._replace(path=Path(os.path.abspath(r.path))) for r in records]


def _common_folder(paths: Iterable[Path]) -> str:
    """Return the deepest folder of all images, from which their names in fingerprints are taken."""
    folders = sorted({str(path.parent) for path in paths})
    try:
        return os.path.commonpath(folders)
    except ValueError:  # drives of Windows
        require(False, "train", "lie on one drive, with test and unlabelled", folders[:: len(folders) - 1])
        raise
