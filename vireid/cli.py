"""The command line: ``vireid check | synthesize | evaluate | compare | embed | search | calibrate | export``.

Each command is a few calls of public functions. Nothing here imports torch before a command runs, so that help and
mistyped options are answered at once. Exit codes: 0 done, 1 unusable data, 2 wrong usage, 130 interrupted.
"""

# ruff: noqa: PLC0415, T201  (late imports and printing are what this file is for)

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import vireid
from vireid._options import (
    Parser,
    add_calibrate,
    add_check,
    add_compare,
    add_embed,
    add_evaluate,
    add_export,
    add_search,
    add_synthesize,
)

if TYPE_CHECKING:
    from torch import Tensor

    from vireid.data import DataSource, PersonDataset, PersonImages, Record
    from vireid.evaluation import Calibration, EmbeddingSet, GalleryIndex, RetrievalProtocol

Item = TypeVar("Item")

_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2"}
_OWN = {"folder", "table"}  # images of your own
_FORMAT = {"format": "pt", "vireid": "embeddings", "version": "2"}
_EXPLAINED = re.compile(r" must |^A process that loads images was killed|out of memory")  # errors that are no defects
_QUERIES = 1024  # queries searched between two steps of the bar


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; a mistake of the user is answered in one line, without a traceback.

    Args:
        arguments: Words of the command line; by default those of the process.
    """
    parser = _build_parser()
    args, unknown = parser.parse_known_args(arguments)
    if args.command is None:
        parser.print_help()
        return 2
    command: Parser = args.parser
    if unknown:
        command.refuse(unknown[0])
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow down all that share a core
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # for file names that the terminal cannot show
    try:
        with _short_warnings(command.prog):
            code: int = args.run(args)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError, TypeError, RuntimeError) as error:
        message = command.name_options(str(error) or type(error).__name__)
        if isinstance(error, (TypeError, RuntimeError)) and not _EXPLAINED.search(message):
            raise  # a defect, which needs its traceback
        print(f"{command.prog}: {message}", file=sys.stderr)
        return 2 if message.startswith("-") and not isinstance(error, OSError) else 1


# The commands


def _check(args: argparse.Namespace) -> int:
    """Count and read the images of a data set."""
    given = {name: value for name, value in _describe_data(args).items() if value is not None}
    source = vireid.data.DataSource(**given)
    with _naming("root"):
        records = source.read() if source.dataset in _OWN else ()
        unlabelled = source.dataset in _OWN and all(record.identity < 0 for record in records)
        dataset: PersonDataset = source.open() if not unlabelled else vireid.data.OwnDataset([], [], unlabelled=records)
    report, fingerprint = vireid.data.check_dataset(dataset), dataset.fingerprint()
    images, damaged = [*dataset.train, *dataset.test_visible, *dataset.test_infrared], []
    images += getattr(dataset, "unlabelled", [])
    _warn_of_modalities(images)
    for record in _bar(args, images, "images"):
        try:
            vireid.data.read_image(record.path)
        except (ValueError, OSError) as error:
            damaged.append(str(error))
    if args.json:
        values = {"name": report.name, "complete": report.complete, "fingerprint": fingerprint}
        values |= {"counts": {what: found for what, found, _ in report.rows}, "remarks": report.remarks}
        print(json.dumps(values | {"images": len(images), "damaged": damaged}, indent=1))
    else:
        print(report, *([] if unlabelled else [f"fingerprint: {fingerprint}"]), sep="\n")
        print(f"{len(images) - len(damaged)} of {len(images)} images can be read.", *damaged, sep="\n")
    return 1 if damaged else 0


def _synthesize(args: argparse.Namespace) -> int:
    """Draw a synthetic data set."""
    names = ("train_identities", "test_identities", "images_per_camera", "absence", "difficulty", "seed", "workers")
    options: dict[str, Any] = {name: getattr(args, name) for name in names}
    options |= {"size": tuple(args.size), "progress": _shows_bars(args)}
    print(vireid.data.generate_synthetic(args.root, args.layout, **options))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    """Evaluate a network with the protocols of a data set."""
    source, dataset, trained_on = _open_test_data(args)
    protocols = _create_protocols(args, source, dataset, trained_on)
    visible, infrared = _embed_test_images(args, source, dataset)
    results = {
        row: protocol.evaluate(visible, infrared) for row, protocol in _bar(args, protocols.items(), "protocols")
    }
    if args.json:
        print(json.dumps({row: result.to_dict() for row, result in results.items()}, indent=1))
    else:
        titles = dict.fromkeys(result.protocol for result in results.values())
        print(*titles, _count_tested(dataset, results), vireid.evaluation.format_results(results), sep="\n")
    if args.output:
        about: dict[str, Any] = {"fingerprint": dataset.fingerprint(), "counts": dataset.counts()}
        settings = {name: value for name, value in vars(args).items() if name not in {"run", "parser", "command"}}
        record = vireid.evaluation.describe_run(results, **about, settings=settings, command=sys.argv)
        args.output.write_text(json.dumps(record, indent=1), encoding="utf-8")
    for row, protocol in protocols.items() if args.picture else ():
        path, images = args.picture, dataset.test_images(value_range=source.value_range)
        if protocol is not next(iter(protocols.values())):
            path = path.with_stem(f"{path.stem}-{'-'.join(re.findall(r'[a-z]+', row))}")
        ranking = protocol.rank(visible, infrared)
        queries = [images[ranking.query_modality].records[i] for i in ranking.queries]
        _draw(path, ranking, queries, images[ranking.gallery_modality].records, source.value_range)
        if not args.json:
            print(f"{path}: {row}")
    return 0


def _compare(args: argparse.Namespace) -> int:
    """Name the differences of two runs, or print the table of runs that may be compared."""
    paths = [Path(name, "run.json") if Path(name).is_dir() else Path(name) for name in args.runs]
    runs = []
    for path in paths:
        try:
            runs.append(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, OSError) as error:
            raise ValueError(f"runs must be folders or files of run.json, got {str(path)!r}: {error}.") from error
    if args.table:
        print(vireid.evaluation.format_runs(dict(zip(args.runs, runs, strict=True))))
        return 0
    if len(runs) != 2:
        args.parser.error(f"RUN must be two unless --table is given, got {len(runs)}")
    differences = vireid.evaluation.compare_runs(*runs)
    if args.json:
        print(json.dumps(differences, indent=1))
    else:
        print(f"first difference: {differences[0]}" if differences else "no difference", *differences[1:], sep="\n")
    return 0


def _embed(args: argparse.Namespace) -> int:
    """Write the embeddings of images to a file."""
    from vireid._files import save_rows

    paths = _find_images("images", args.images)
    model, transform = _open_network(args)
    images = _images(paths, transform, args.modality, args.value_range or _read_notes(args).get("value_range"))
    found = _extract(args, model, images, args.modality)
    metadata = {"modality": args.modality, "feature": found.feature, "network": found.network}
    with _naming("output"):
        save_rows(args.output, found.embeddings, paths, _FORMAT | metadata)
    print(f"{args.output}: {len(paths)} embeddings of {found.embeddings.shape[1]} values")
    return 0


def _search(args: argparse.Namespace) -> int:
    """Find the gallery images nearest to each query."""
    import torch

    gallery, known = _open_gallery(args.gallery)
    queries, names, metadata = _load_embeddings("queries", args.queries)
    for key, what in {"network": "network", "feature": "options"}.items():
        ours, theirs = known.get(key, ""), metadata[key]
        same = ours == theirs or (what == "options" and ours.partition(".embed")[2] == theirs.partition(".embed")[2])
        if ours and theirs and not same:
            raise ValueError(f"queries must be embedded by the {what} of the gallery, {ours!r}, got {theirs!r}.")
    threshold = args.threshold
    if args.calibration is not None:
        calibration = _load_calibration(args.calibration)
        options: dict[str, Any] = {"network": metadata["network"], "feature": metadata["feature"]}
        options["modalities"] = {known["modality"], metadata["modality"]} if known else ()
        calibration.check("calibration", distance=gallery.metric, **options)
        threshold = calibration.threshold
    chunks = _bar(args, torch.split(queries, _QUERIES), "queries")
    parts = [gallery.search(chunk, args.k, threshold=threshold) for chunk in chunks]
    rows, distances = (torch.cat([getattr(part, field) for part in parts]) for field in ("rows", "distances"))
    named = [line for part in parts for line in part.names]
    found = [
        [(name, row, distance) for name, row, distance in zip(*columns, strict=True) if row >= 0]
        for columns in zip(named, rows.tolist(), distances.tolist(), strict=True)
    ]
    print(_to_json(names, found) if args.json else _to_table(names, found))
    if threshold is not None and not args.json:
        print(f"nobody for {sum(not rows for rows in found):,} of {len(found):,} queries")
    if args.picture:
        ranking = SimpleNamespace(rows=rows, correct=None, distances=distances)
        _draw(args.picture, ranking, *(_images(of_side, None, "visible").records for of_side in (names, gallery.names)))
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    """Choose a threshold from the test images of a data set."""
    _require(args.output is not None or Path(args.source).is_dir(), "output", "be given unless NETWORK is a folder")
    path = args.output or Path(args.source, f"calibration-{args.within}.json" if args.within else "calibration.json")
    source, dataset, _ = _open_test_data(args)
    sides = [args.within] if args.within else ["visible", "infrared"]
    sets = _embed_test_images(args, source, dataset, sides)
    if not args.within:
        _warn_of_exclusion(args.exclude, dataset, {})
    pairs: dict[str, Any] = {"distance": args.distance, "exclude": args.exclude}
    options: dict[str, Any] = {**pairs, "false_accept_rate": args.false_accept_rate, "confidence": args.confidence}

    with _steps(args, 1 + (args.histogram is not None) + (args.det is not None)) as done:
        calibration = vireid.evaluation.calibrate(*sets, **options)
        with _naming("output"):
            calibration.save(path)
        done()
        title = f"{' and '.join(sides)} test images"
        if args.histogram or args.det:
            compared = {title: vireid.evaluation.compare_pairs(*sets, **pairs)}
        if args.histogram:
            limits = {title: calibration.threshold}
            _save_figure(args.histogram, vireid.visualization.plot_histograms(compared, thresholds=limits))
            done()
        if args.det:
            curves = {title: vireid.evaluation.compute_error_rates(*compared[title])}
            figure = vireid.visualization.plot_det(curves, false_accept_rate=args.false_accept_rate)
            _save_figure(args.det, figure)
            done()
    if args.json:
        print(json.dumps(dataclasses.asdict(calibration), indent=1))
    else:
        print(calibration, f"saved as {path}", sep="\n")
    return 0


def _export(args: argparse.Namespace) -> int:
    """Write the network of one modality to a file, and compare the file with PyTorch."""
    paths = _find_images("images", args.images) if args.images else []
    embedder, _ = _open_network(args)
    options: dict[str, Any] = {"precision": args.precision}
    images = functools.partial(_images, transform=_resize(embedder.preprocessing["size"]), modality=args.modality)
    images = functools.partial(images, value_range=_read_notes(args).get("value_range"))
    if args.precision == "int8":  # the ranges come from every second image, the comparison from the others
        options["images"], paths = images(paths[::2]), paths[1::2]
    if args.calibration:
        options["calibration"] = _load_calibration(args.calibration)

    with _steps(args, 1 + (len(paths) > 0)) as done:
        with _naming("output"):
            reports: list[Any] = [vireid.models.export(embedder, args.modality, args.output, **options)]
        done()
        if paths:
            exported = vireid.models.load_exported(args.output, trusted=True)  # it was written just now
            reports.append(vireid.models.check_export(exported, embedder, images(paths)))
            done()
    if args.json:
        print(json.dumps([dataclasses.asdict(report) for report in reports], indent=1, default=str))
    else:
        print(*reports, sep="\n")
    return 0


# Data sets, networks, embeddings and images


def _describe_data(args: argparse.Namespace, notes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the fields of a DataSource that the options name, with the kind of data set that they mean."""
    names = ("root", "trial", "visible", "infrared", "pattern", "test_share", "split_seed", "value_range")
    return {**{name: getattr(args, name) for name in names}, "dataset": args.dataset or _recognise(args, notes or {})}


def _recognise(args: argparse.Namespace, notes: Mapping[str, Any]) -> str | None:
    """Recognise a data set by its options or its split files; None is that of the training."""
    if args.visible or args.infrared or args.pattern:
        return "folder"
    _require(args.root is not None or len(notes) > 0, "root", "be given, or --visible and --infrared")
    if args.root is None or (notes and Path(args.root).absolute() == Path(notes.get("root") or "").absolute()):
        return None
    found = vireid.data.recognise_dataset(args.root)
    if found is None and notes.get("dataset") == "folder":
        return None
    _require(found is not None, "dataset", f"be given: {args.root!r} has the split files of no known data set")
    return found


def _read_notes(args: argparse.Namespace) -> dict[str, Any]:
    """Read what a network was trained on, which examples/train.py keeps next to it."""
    from vireid._files import load_json

    path = Path(args.source, "training.json")
    with _naming("source"):
        return load_json(path) if path.is_file() else {}


def _open_test_data(args: argparse.Namespace) -> tuple[DataSource, PersonDataset, int | None]:
    """Open the data to test the network on: those of the options, for the rest those of its training."""
    notes = _read_notes(args)
    given = _describe_data(args, notes) | {"trained_on": getattr(args, "trained_on", None)}
    with _naming("root"):
        return vireid.data.open_test_data(given, notes)


def _create_protocols(
    args: argparse.Namespace, source: DataSource, dataset: Any, trained_on: int | None
) -> Mapping[str, RetrievalProtocol]:
    """Create the protocols of a data set; options of another one are refused."""
    name, reranking = source.dataset, vireid.evaluation.create_reranking(args.reranking)
    options: dict[str, Any] = {"distance": args.distance, "reranking": reranking}
    if name in _OWN:
        for option in ("trial", "trained_on", "allow_other_trial", "shots"):
            _require(getattr(args, option) in {None, False}, option, "be left out for data of your own")
        notes = _read_notes(args)
        exclude = args.exclude or (notes.get("exclude") if notes.get("dataset") == name else None) or "none"
        placed = (exclude == "same location") == (args.locations is not None)
        _require(placed, "locations", 'be given with --exclude "same location", and only then')
        locations = _read_locations(args.locations or (), dataset.camera_names)
        _warn_of_exclusion(exclude, dataset, locations)
        options |= {"gallery": args.gallery or "all", "exclude": exclude, "locations": locations or None}
        directions = {"infrared → visible": "infrared", "visible → infrared": "visible"}
        return {row: vireid.evaluation.OwnProtocol(query, **options) for row, query in directions.items()}
    for option in ("exclude", "locations"):
        _require(getattr(args, option) is None, option, f"be left out for {name!r}, whose protocol has its own rule")
    options |= {"trial": source.trial, "trained_on": trained_on, "allow_other_trial": args.allow_other_trial}
    options |= {"gallery": args.gallery or "agw", "shots": args.shots or 1}
    if name == "sysu" and args.gallery == "official":
        options["permutations"] = dataset.gallery_permutations()
    return vireid.evaluation.create_protocols(name, **options)  # type: ignore[arg-type]


def _warn_of_exclusion(exclude: str, dataset: PersonDataset, locations: Mapping[int, int]) -> None:
    """Say so if no image of one modality can be excluded for one of the other."""
    visible, infrared = (
        {locations.get(record.camera, record.camera) for record in side}
        for side in (dataset.test_visible, dataset.test_infrared)
    )
    if exclude != "none" and visible.isdisjoint(infrared):
        what = f"no visible camera has the {exclude.removeprefix('same ')} of an infrared one"
        warnings.warn(f"--exclude {exclude!r} excludes nothing: {what}.", stacklevel=1)


def _read_locations(words: Iterable[str], names: Mapping[int, str]) -> dict[int, int]:
    """Read words such as 3=hall: the location of each camera, numbered by the first camera that stands there."""
    cameras, places, locations = {name: camera for camera, name in names.items()}, dict[str, int](), dict[int, int]()
    for word in words:
        name, sign, place = word.rpartition("=")
        name = str(int(name)) if name.isdecimal() else name
        rule = f"be CAMERA=LOCATION with one of the cameras {', '.join(cameras) or '(there are none)'}, got {word!r}"
        _require(bool(sign) and name in cameras, "locations", rule)
        locations[cameras[name]] = places.setdefault(place, cameras[name])
    return locations


def _open_network(args: argparse.Namespace) -> tuple[Any, Any]:
    """Open a network; return the transform of its images, too."""
    import torch

    if Path(args.source).suffix in {".onnx", ".pt2"}:
        _require(hasattr(args, "trusted"), "source", f"be an embedder's folder, got {args.source!r}")
        trusted = args.trusted or Path(args.source).suffix == ".onnx"
        _require(trusted, "trusted", "be given for a .pt2 file, which can execute code")
        with _naming("source"):
            exported = vireid.models.load_exported(args.source, trusted=args.trusted)
        return exported, _resize(exported.size)
    embedder = vireid.TwoStreamEmbedder.from_pretrained(args.source)
    device = getattr(args, "device", "cpu") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        embedder.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device must be a device of this machine, got {device!r}: {reason}.") from error
    return embedder, vireid.data.create_test_transform(**embedder.preprocessing)


def _embed_test_images(
    args: argparse.Namespace,
    source: DataSource,
    dataset: PersonDataset,
    modalities: Sequence[str] = ("visible", "infrared"),
) -> list[EmbeddingSet]:
    model, transform = _open_network(args)
    images = dataset.test_images(transform, value_range=source.value_range)
    return [_extract(args, model, images[vireid.Modality.of(modality)], modality) for modality in modalities]


def _extract(args: argparse.Namespace, model: Any, images: PersonImages, modality: str) -> EmbeddingSet:
    _warn_of_modalities(images.records)
    options: dict[str, Any] = {name: getattr(args, name) for name in ("batch_size", "workers", "flip", "cache")}
    return vireid.evaluation.extract_embeddings(model, images, modality, progress=_shows_bars(args), **options)


def _warn_of_modalities(records: Sequence[Record]) -> None:
    for sentence in vireid.data.check_modalities(records):
        warnings.warn(sentence, stacklevel=1)


def _load_embeddings(argument: str, path: str) -> tuple[Tensor, list[str], dict[str, str]]:
    """Read a file of `vireid embed`."""
    from vireid._files import load_rows

    with _naming(argument):
        return load_rows(path, _FORMAT, "vireid embed")


def _open_gallery(path: str) -> tuple[GalleryIndex, dict[str, str]]:
    """Open a file of `vireid embed` or of GalleryIndex.save; the latter tells nothing of its network."""
    from vireid._files import load_tensors

    if Path(path).is_file():
        with contextlib.suppress(ValueError):
            if load_tensors(path)[1].get("vireid") == "GalleryIndex":
                return vireid.evaluation.GalleryIndex.load(path), {}
    embeddings, names, metadata = _load_embeddings("gallery", path)
    index = vireid.evaluation.GalleryIndex(embeddings.shape[1])
    index.add(embeddings, names=names)
    return index, metadata


def _load_calibration(path: str) -> Calibration:
    """Read a calibration, which an exported .onnx file may hold in its metadata."""
    with _naming("calibration"):
        if Path(path).suffix not in {".onnx", ".pt2"}:
            return vireid.evaluation.Calibration.load(path)
        _require(Path(path).suffix == ".onnx", "path", f"be a folder, a .json or an .onnx file, got {path!r}")
        values = vireid.models.load_exported(path).metadata.get("calibration") or {}
        _require(len(values) > 0, "path", f"hold a calibration, got {path!r}, exported without --calibration")
        return vireid.evaluation.Calibration.from_dict(values)


def _find_images(argument: str, words: Iterable[str]) -> list[str]:
    """Find the images that files, folders and lists name."""
    found: list[str] = []
    for word in words:
        path = Path(word)
        if word == "-" or path.suffix == ".txt":
            lines = sys.stdin if word == "-" else path.read_text(encoding="utf-8").splitlines()
            found += [line.strip() for line in lines if line.strip()]
        elif path.is_dir():
            inside = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in _ENDINGS)
            found += [str(file) for file in inside if not any(part[0] == "." for part in file.relative_to(path).parts)]
        else:
            found.append(word)
    _require(len(found) > 0, argument, f"name an image, got none in {', '.join(words)}", FileNotFoundError)
    absent = [name for name in found if not Path(name).is_file()]
    count = f"{len(absent)} of {len(found)} files that are missing, the first: {absent[:1]}"
    _require(not absent, argument, f"be images, folders or .txt lists of images, got {count}", FileNotFoundError)
    return found


def _images(paths: Iterable[str], transform: Any, modality: str, value_range: Any = None) -> PersonImages:
    records = [vireid.data.Record(path, 0, 0, modality) for path in paths]
    return vireid.data.PersonImages(records, transform, value_range=value_range)


def _resize(size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """Make the transform that resizes images like create_test_transform and leaves them uint8."""
    scaled = vireid.data.create_test_transform(size, mean=(0, 0, 0), std=(1, 1, 1))
    return functools.partial(_to_bytes, scaled)


def _to_bytes(transform: Any, image: Tensor) -> Tensor:
    pixels: Tensor = (transform(image) * 255).round().byte()
    return pixels


# Output


def _count_tested(dataset: PersonDataset, results: Mapping[str, Any]) -> str:
    """Say how many people and queries the results are of."""
    skipped: dict[str, int] = {}
    for result in results.values():
        side = f"{result.queries:,} {result.settings['query']} queries"
        skipped[side] = max(skipped.get(side, 0), result.queries - min(result.valid_queries))
    sides = [f"{side} ({count:,} skipped: no match)" for side, count in skipped.items()]
    return f"tested on {dataset.counts()['test identities']:,} people, {', '.join(sides)}"


def _to_json(names: Sequence[str], found: Sequence[Sequence[tuple[str, int, float]]]) -> str:
    keys = ("name", "row", "distance")
    lists = ([dict(zip(keys, row, strict=True)) for row in rows] for rows in found)
    return json.dumps([{"query": name, "found": rows} for name, rows in zip(names, lists, strict=True)], indent=1)


def _to_table(names: Sequence[str], found: Sequence[Sequence[tuple[str, int, float]]]) -> str:
    width = max(map(len, [*names, "query"]))
    lines = [f"{'query':{width}}  rank  distance  gallery"]
    for name, rows in zip(names, found, strict=True):
        lines += [
            f"{name:{width}}{rank:6}{distance:10.4f}  {other or row}"
            for rank, (other, row, distance) in enumerate(rows, 1)
        ] or [f"{name:{width}}     –         –  nobody in the gallery"]
    return "\n".join(lines)


def _draw(
    path: Path, ranking: Any, queries: Sequence[Record], gallery: Sequence[Record], value_range: Any = None
) -> None:
    """Save a picture of ranking lists, with the names of the images."""
    images: list[Any] = [vireid.data.PersonImages(side, value_range=value_range) for side in (queries, gallery)]
    names = [[str(record.path) for record in side] for side in (queries, gallery)]
    figure = vireid.visualization.plot_rankings(ranking, *images, query_names=names[0], gallery_names=names[1])
    _save_figure(path, figure)


def _save_figure(path: Path, figure: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _shows_bars(args: argparse.Namespace) -> bool:
    return not args.quiet and sys.stderr.isatty() and find_spec("tqdm") is not None


def _bar(args: argparse.Namespace, items: Iterable[Item], unit: str) -> Iterable[Item]:
    """Show a bar on the terminal while items are taken; without tqdm there is none."""
    if not _shows_bars(args):
        return items
    from tqdm import tqdm

    bar: Iterable[Item] = tqdm(items, desc=unit)
    return bar


@contextlib.contextmanager
def _steps(args: argparse.Namespace, total: int) -> Iterator[Callable[[], object]]:
    """Show a bar of a few long steps; the function that is given is called after each."""
    if not _shows_bars(args):
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc="steps") as bar:
        yield bar.update


@contextlib.contextmanager
def _short_warnings(program: str) -> Iterator[None]:
    """Show warnings of vireid in one line each, and no others."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        print(f"{program}: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", category=UserWarning, module=r"vireid\b")
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def _naming(argument: str) -> Iterator[None]:
    """Name the argument in an error of a function that calls it its path."""
    try:
        yield
    except (ValueError, OSError) as error:
        if not str(error).startswith("path must "):
            raise
        raise type(error)(str(error).replace("path", argument, 1)) from error


def _require(condition: bool, argument: str, rule: str, error: type[Exception] = ValueError) -> None:
    """Raise an error whose argument becomes an option in the message."""
    if not condition:
        raise error(f"{argument} must {rule}.")


# Parser


def _build_parser() -> Parser:
    parser = Parser(
        prog="vireid",
        description="Visible-infrared person re-identification. Help for a command: vireid COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"vireid {vireid.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (run, add_options, examples) in _COMMANDS.items():
        summary = (run.__doc__ or name).rstrip(".")
        short = f"{summary[0].lower()}{summary[1:]}"
        command = commands.add_parser(name, help=short, description=f"{summary}.\n{examples}")
        command.set_defaults(run=run, parser=command)
        add_options(command)
        command.add_argument("--quiet", action="store_true", help="show no progress bars")
    return parser


_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], Callable[[Parser], None], str]] = {
    "check": (
        _check,
        add_check,
        """
  vireid check SYSU-MM01
  vireid check people.csv
  vireid check --visible rgb --infrared ir --pattern '(?P<identity>[^/]+)/.*_c(?P<camera>\\d+)'
  vireid check --visible rgb --infrared ir""",
    ),
    "synthesize": (
        _synthesize,
        add_synthesize,
        """
  vireid synthesize people --size 96 48""",
    ),
    "evaluate": (
        _evaluate,
        add_evaluate,
        """
  vireid evaluate runs/train/best
  vireid evaluate mun --root SYSU-MM01 --gallery official --flip mean
  vireid evaluate mun --root RegDB --trial 3 --trained-on 3 --json > trial-3.json""",
    ),
    "compare": (
        _compare,
        add_compare,
        """
  vireid compare runs/train runs/again
  vireid compare --table runs/b runs/mun""",
    ),
    "embed": (
        _embed,
        add_embed,
        """
  vireid embed mun gallery/ --modality visible -o gallery.safetensors
  find night -name '*.png' | vireid embed mun - --modality infrared -o night.safetensors""",
    ),
    "search": (
        _search,
        add_search,
        """
  vireid search gallery.safetensors night.safetensors -k 5 --calibration mun --picture found.png""",
    ),
    "calibrate": (
        _calibrate,
        add_calibrate,
        """
  vireid calibrate runs/train/best --false-accept-rate 0.001
  vireid calibrate mun --root people.csv --histogram pairs.png""",
    ),
    "export": (
        _export,
        add_export,
        """
  vireid export mun --modality infrared -o infrared.onnx --images night/""",
    ),
}
