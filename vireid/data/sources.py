"""Where the images of a network come from, so that it is tested on people whom it does not know."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from vireid._checks import check_choice, check_type, require
from vireid.data.datasets import PersonDataset, create_dataset
from vireid.data.folders import RecordList, read_folders, read_table
from vireid.data.images import Record
from vireid.data.splits import split_identities

_OWN = ("folder", "table")
_SIGNS = {"sysu": "exp/test_id.*", "regdb": "idx/train_visible_*.txt", "llcm": "idx/train_vis.txt"}


@dataclass(frozen=True)
class DataSource:
    r"""Say where a data set comes from and how its people are divided; ``open`` opens it.

    ``examples/train.py`` keeps the dictionary of ``describe_training`` next to each network as ``training.json``.

    Attributes:
        dataset: Kind of data set: ``"sysu"``, ``"regdb"``, ``"llcm"``, or your own ``"folder"`` or ``"table"``.
        root: Folder of the data set, or the table; for folders by default the current one.
        trial: Trial of RegDB.
        visible: Folder of your visible images, or a glob, as for :func:`read_folders`.
        infrared: Folder of your infrared images, likewise.
        pattern: Regular expression for the paths of both.
        test_share: Share of your people to test on, as ``test`` of :func:`split_identities`.
        split_seed: Seed of that division.
        queries_only: Share of the test people who are in the queries only, as for :func:`split_identities`.
        gallery_only: Share of the test people who are in the gallery only, likewise.
        value_range: Range of gray images with more than 8 bits, as for :func:`read_image`.
        fingerprint: Fingerprint of the data set, if it is known.

    Example:
        >>> import tempfile
        >>> from dataclasses import asdict
        >>> from vireid.data import generate_synthetic
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = generate_synthetic(
        ...         f"{folder}/people", train_identities=2, test_identities=2, images_per_camera=1, size=(48, 24)
        ...     )
        ...     pattern = r"cam(?P<camera>\d)/(?P<identity>\d+)/"
        ...     source = DataSource("folder", root, visible="cam[1245]", infrared="cam[36]", pattern=pattern)
        ...     dataset = source.open()
        >>> len(dataset.train), DataSource.from_dict(asdict(source)) == source
        (12, True)
    """

    dataset: str
    root: str | os.PathLike[str] | None = None
    trial: int | None = None
    visible: str | None = None
    infrared: str | None = None
    pattern: str | None = None
    test_share: float | None = None
    split_seed: int = 0
    queries_only: float = 0.0
    gallery_only: float = 0.0
    value_range: tuple[float, float] | None = None
    fingerprint: str | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataSource:
        """Make a source of a dictionary that holds its fields; others in it are ignored.

        Args:
            values: Fields by name, such as the contents of ``training.json``.

        Raises:
            ValueError: If it does not say which kind of data set it is.
            TypeError: If ``values`` is not a mapping.
        """
        check_type("values", values, Mapping, "map the fields of a DataSource to their values")
        require("dataset" in values, "values", "say which dataset it is", sorted(map(str, values)))
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def read(self) -> RecordList:
        """Read the images of your own folders or table, without dividing their people.

        Raises:
            ValueError: If it is another data set, what describes it is missing, or as for the readers.
            FileNotFoundError: As for the readers.
        """
        check_choice("dataset", self.dataset, _OWN)
        if self.dataset == "folder":
            for argument in ("visible", "infrared"):
                require(getattr(self, argument) is not None, argument, "be given for images in folders", None)
            folders: dict[str, Any] = {"visible": self.visible, "infrared": self.infrared, "pattern": self.pattern}
            return read_folders(**folders, root=self.root)
        remedy = "There is no such file."
        is_file = self.root is not None and os.path.isfile(self.root)
        found = None if self.root is None else str(self.root)
        require(is_file, "root", "be a table", found, remedy if found else "", error=FileNotFoundError)
        return read_table(self.root)  # type: ignore[arg-type]

    def describe_training(self, dataset: PersonDataset) -> dict[str, Any]:
        """Describe what a network is trained on, to be kept as ``training.json`` for :func:`open_test_data`.

        Args:
            dataset: Data set of this source. Of your own people, digests of the names of those to train on are kept.

        Returns:
            Fields of the source, with an absolute root and the fingerprint, and ``"people"``.

        Raises:
            TypeError: If ``dataset`` is no data set.
        """
        check_type("dataset", dataset, PersonDataset, "be a data set")
        root, names, people = os.path.abspath(self.root or ""), getattr(dataset, "names", {}), None
        if self.dataset in _OWN:
            trained = {record.identity for record in dataset.train}
            people = sorted(_digest(names.get(identity, str(identity))) for identity in trained)
        return {**asdict(self), "root": root, "fingerprint": dataset.fingerprint(), "people": people}

    def open(self) -> PersonDataset:
        """Open the data set, with your people divided.

        Raises:
            ValueError: As for the readers and :func:`split_identities`, or if it is unknown or not described.
            FileNotFoundError: As for the readers.
        """
        check_choice("dataset", self.dataset, ("sysu", "regdb", "llcm", *_OWN))
        if self.dataset in _OWN:
            shares: dict[str, Any] = {"queries_only": self.queries_only, "gallery_only": self.gallery_only}
            return split_identities(self.read(), test=self.test_share, seed=self.split_seed, **shares)
        require(self.root is not None, "root", "be given", None)
        require(self.dataset != "regdb" or self.trial is not None, "trial", "be given for RegDB", None)
        return create_dataset(self.dataset, self.root, trial=self.trial)  # type: ignore[arg-type]


def recognise_dataset(root: str | os.PathLike[str]) -> str | None:
    """Recognise the kind of a data set by its split files; a file is a table, and None stands for other folders.

    Args:
        root: Folder of the data set, or a table.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If the folder has the split files of several data sets.
        TypeError: If ``root`` is no path.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "idx").mkdir()
        ...     Path(folder, "idx", "train_vis.txt").touch()
        ...     recognise_dataset(folder)
        'llcm'
    """
    check_type("root", root, (str, os.PathLike), "be a path")
    path = Path(root)
    require(os.path.exists(path), "root", "be a folder or a table", str(path), error=FileNotFoundError)
    found = ["table"] if path.is_file() else [name for name, sign in _SIGNS.items() if any(path.glob(sign))]
    require(len(found) < 2, "root", "have the split files of one data set", found)
    return found[0] if found else None


def open_test_data(
    given: Mapping[str, Any], training: Mapping[str, Any] | None = None
) -> tuple[DataSource, PersonDataset, int | None]:
    """Open the data to test a network on, and refuse people whom it was trained on.

    What is not given is that of the training. A network that was trained on images of your own is tested on the people
    whom its training left out: the images must be those of the training by their fingerprint, and divided alike. Other
    images of yours, or the same ones described in another way, are divided alike too if they name anybody whom it was
    trained on, and a test with such a name is refused. Where they name none of them, or the network was trained on a
    public data set, everybody is tested, unless a table says whom. A warning says so where only the names tell whether
    the network knows people of the test, or nothing does.

    Args:
        given: Fields of :class:`DataSource` that the user has chosen, and ``"trained_on"``, the trial of RegDB that the
            network was trained on; None stands for no choice.
        training: What the network was trained on, the contents of ``training.json`` as
            :meth:`DataSource.describe_training` returns them; None or an empty mapping if nobody knows.

    Returns:
        The source, the data set, and the trial of RegDB that the network was trained on.

    Raises:
        ValueError: If the network was trained on people of the test, if the division or the images are not those of the
            training, or as for :meth:`DataSource.open`.
        FileNotFoundError: As for :meth:`DataSource.open`.
        TypeError: If an argument is not a mapping.

    Example:
        >>> open_test_data({"dataset": "sysu"})
        Traceback (most recent call last):
        ValueError: root must be given, got None.
    """
    check_type("given", given, Mapping, "map fields of a DataSource to their values")
    check_type("training", training, (Mapping, type(None)), "be None or map the fields of a DataSource to their values")
    chosen = {name: value for name, value in given.items() if value is not None}
    trained_on = chosen.pop("trained_on", None)
    strange = sorted(chosen.keys() - {field.name for field in fields(DataSource)})
    require(not strange, "given", "hold fields of a DataSource", strange)
    known = DataSource.from_dict(training) if training else None
    remedy = "The network does not say what it was trained on."
    require(known is not None or "dataset" in chosen, "dataset", "be given", None, remedy)
    same = known is not None and chosen.get("dataset", known.dataset) == known.dataset
    source = replace(known, **{"fingerprint": None, **chosen}) if known is not None and same else DataSource(**chosen)
    if source.dataset in _OWN:
        with _naming_the_training(chosen if same else asdict(source)):
            return (*_open_own(source, known, chosen, (training or {}).get("people")), None)
    if source.dataset == "regdb":
        told = known.trial if known is not None and same else None
        agree = told is None or trained_on is None or told == trained_on
        require(agree, "trained_on", f"be {told}, the trial of the training, or be left out", trained_on)
        if known is not None and not same:
            source = replace(source, trial=source.trial or 1)
            trained_on = source.trial  # it knows nobody of any trial
        trained_on = told or trained_on
        require(
            trained_on is not None, "trained_on", "be given", None, "The network does not say which trial it knows."
        )
        source = replace(source, trial=source.trial or trained_on)
    dataset = source.open()
    if known is not None and not same:
        _refuse_known(known, dataset)
    return source, dataset, trained_on


def _open_own(
    source: DataSource, known: DataSource | None, chosen: Mapping[str, Any], people: Iterable[str] | None
) -> tuple[DataSource, PersonDataset]:
    """Open images of your own, of which the network must not know the people of the test."""
    where = str(source.root or os.getcwd())
    if known is None:
        dataset = source.open()
        _warn(f"The network does not say what it was trained on: nothing tells whether it knows people of {where!r}.")
        return source, dataset
    same = source.dataset == known.dataset
    division: dict[str, Any] = {name: getattr(known, name) for name in ("test_share", "split_seed")}
    changed = [name for name, value in division.items() if same and chosen.get(name, value) != value]
    if changed and replace(source, **division).open().fingerprint() == known.fingerprint:
        stored = 0.5 if division[changed[0]] is None else division[changed[0]]
        remedy = "Another division tests people whom the network was trained on: leave it out."
        require(False, changed[0], f"be that of the training, {stored}", chosen[changed[0]], remedy)
    if same and (dataset := source.open()).fingerprint() == known.fingerprint:
        return source, dataset
    records, trained = source.read(), set(people or ())
    met = {name for name in records.names.values() if _digest(name) in trained}
    new = known.dataset not in _OWN or (people is not None and not met)
    if not records.splits and "test_share" not in chosen:
        source = replace(source, **({"test_share": 1.0} if new else {**division, **chosen}))
    dataset = source.open()
    _refuse_known(known, dataset)
    if same and not new and source.test_share != 1:
        remedy = "It may know people of the test. If all of them are new to it, test on a share of 1."
        found = f"{dataset.fingerprint()!r} in {where}"
        require(False, "root", f"hold the images of the training, {known.fingerprint!r}", found, remedy)
    tested = {record.identity for record in dataset.test_visible + dataset.test_infrared}
    met &= {records.names.get(identity, str(identity)) for identity in tested}
    rule = "hold people for the test whom the network was not trained on"
    found = f"{len(met)} with names of its training, the first: {min(met, default='')}"
    remedy = "Divide them as the training did, or give people who are others other names, as a table can."
    require(not met, "root", rule, found, remedy)
    if known.dataset in _OWN:
        told = "only their names tell" if people is not None else "nothing tells"
        _warn(f"The network was trained on {known.root}: {told} whether it knows people of {where!r}.")
    return source, dataset


def _refuse_known(known: DataSource, dataset: PersonDataset) -> None:
    """Refuse images for the test that were trained on, as far as the training's are at hand."""
    records: Iterable[Record] = ()
    with warnings.catch_warnings(), contextlib.suppress(OSError, ValueError):
        warnings.simplefilter("ignore")
        records = known.open().train
    trained = {os.path.realpath(record.path) for record in records}
    shared = trained & {os.path.realpath(record.path) for record in dataset.test_visible + dataset.test_infrared}
    rule = "hold images for the test that the network was not trained on"
    require(not shared, "root", rule, f"{len(shared)} of its training, the first: {min(shared, default='')}")


def _warn(message: str) -> None:
    warnings.warn(f"{message} If it does, the results are too good.", stacklevel=4)


def _digest(name: str) -> str:
    """Return 16 characters that tell the name of a person, so that a network does not carry names."""
    name = str(int(name)) if name.isdecimal() and len(name) <= 18 else name  # 0007 and 7 are one person
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]


@contextlib.contextmanager
def _naming_the_training(chosen: Mapping[str, Any]) -> Iterator[None]:
    """Say of an argument that an error names but nobody has given that it comes from the training."""
    try:
        yield
    except (ValueError, OSError) as error:
        argument = str(error).partition(" ")[0]
        if argument not in {"visible", "infrared", "pattern"} or argument in chosen:
            raise
        raise type(error)(f"{error} The {argument} is that of the training: give one for these images.") from error
