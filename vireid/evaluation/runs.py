"""Records of runs: what produced a result, where two runs differ first, and tables of runs that may be compared."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from vireid._checks import check_type, require
from vireid.evaluation.results import RetrievalResult

_PACKAGES = ("vireid", "torch", "torchvision", "timm", "numpy")
_PARTS = ("data", "settings", "versions", "command", "results")


def describe_run(
    results: Mapping[str, RetrievalResult],
    *,
    fingerprint: str,
    counts: Mapping[str, int],
    settings: Mapping[str, Any] | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Collect what makes the results of a run comparable, as plain values for a ``run.json``.

    The record holds the data, the settings of the run, the versions of the libraries, the command and the results with
    every setting of their protocol. Settings that are no numbers, strings or lists are written as strings.

    Args:
        results: Results by the names of their rows, as :func:`evaluate` returns them.
        fingerprint: Fingerprint of the data, ``dataset.fingerprint()``.
        counts: Numbers of identities and images, ``dataset.counts()``.
        settings: Choices of the run, such as its seed, method and image size, by name.
        command: Words of the command that made the run.

    Raises:
        ValueError: If there is no result.
        TypeError: If an argument has another type.

    Example:
        >>> from vireid.evaluation import EmbeddingSet, LLCMProtocol
        >>> rows, identities, camera = torch.eye(4), torch.arange(4), torch.ones(4, dtype=torch.long)
        >>> visible = EmbeddingSet(rows, identities, camera, "visible")
        >>> infrared = EmbeddingSet(rows, identities, 2 * camera, "infrared")
        >>> result = LLCMProtocol("infrared").evaluate(infrared, visible)
        >>> run = describe_run({"night": result}, fingerprint="0f", counts={"test identities": 4}, settings={"seed": 0})
        >>> list(run)
        ['data', 'settings', 'versions', 'command', 'results']
    """
    check_type("results", results, Mapping, "map names of rows to RetrievalResult")
    require(len(results) > 0, "results", "hold a result", dict(results))
    for name, result in results.items():
        check_type(f"results[{name!r}]", result, RetrievalResult, "be a RetrievalResult")
    check_type("fingerprint", fingerprint, str, "be a string")
    check_type("counts", counts, Mapping, "be a mapping")
    check_type("settings", settings, (Mapping, type(None)), "be a mapping")
    words = isinstance(command, (list, tuple)) and all(isinstance(word, str) for word in command)
    require(words, "command", "be a list of strings", command, error=TypeError)
    return {
        "data": {"fingerprint": fingerprint, "counts": {str(name): int(count) for name, count in counts.items()}},
        "settings": {str(name): _plain(value) for name, value in (settings or {}).items()},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}
        | {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()},
        "command": list(command),
        "results": {str(name): result.to_dict() for name, result in results.items()},
    }


def compare_runs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """List the differences of two runs, those of the data first, then settings, versions, command and results.

    The first difference is usually the cause of the others: a broken download, another protocol or another version
    looks like a broken method.

    Args:
        first: Record of a run, as :func:`describe_run` returns it.
        second: Record of another run.

    Returns:
        Lines such as ``"settings.seed: 0, 1"``, an empty list if the runs are equal.

    Raises:
        ValueError: If a record lacks a part.
        TypeError: If a record is not a mapping.

    Example:
        >>> parts = {"settings": {}, "versions": {}, "command": [], "results": {}}
        >>> compare_runs({"data": {"identities": 395}, **parts}, {"data": {"identities": 367}, **parts})
        ['data.identities: 395, 367']
    """
    _check_run("first", first)
    _check_run("second", second)
    differences = []
    for part in _PARTS:
        ours, theirs = _flatten(part, first[part]), _flatten(part, second[part])
        for name in dict.fromkeys([*ours, *theirs]):
            values = [side.get(name, "–") for side in (ours, theirs)]
            if values[0] != values[1]:
                differences.append(f"{name}: {values[0]}, {values[1]}")
    return differences


def format_runs(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the results of runs as a table in Markdown, in percent; runs that may not be compared are refused.

    All runs must have the same data and, row by row, the same protocol with the same settings. The trials of RegDB are
    settings, too.

    Args:
        runs: Records of runs by their names, as :func:`describe_run` returns them.

    Raises:
        ValueError: If there is no run, a record lacks a part, or the data, a protocol or its settings differ; the error
            names the first difference.
        TypeError: If ``runs`` is not a mapping of records.

    Example:
        >>> settings = {"trials": 1, "distance": "cosine"}
        >>> values = {"rank-1": 0.5, "mAP": 0.25, "mINP": 0.125}
        >>> result = {"protocol": "LLCM", "settings": settings, "mean": values, "std": dict.fromkeys(values, 0.0)}
        >>> parts = {"data": {}, "settings": {}, "versions": {}, "command": []}
        >>> print(format_runs({"B": {**parts, "results": {"all": result}}}))
        | run | result | rank-1 | mAP | mINP |
        |---|---|---|---|---|
        | B | all | 50.00 ± 0.00 | 25.00 ± 0.00 | 12.50 ± 0.00 |
    """
    check_type("runs", runs, Mapping, "map names to records of runs")
    require(len(runs) > 0, "runs", "hold a run", dict(runs))
    for name, run in runs.items():
        _check_run(f"runs[{name!r}]", run)
    reference, first = next(iter(runs.items()))
    ours = _rules(first)
    for name, run in runs.items():
        theirs = _rules(run)
        different = next((key for key in dict.fromkeys([*ours, *theirs]) if ours.get(key) != theirs.get(key)), None)
        rule = f"have the data and protocols of {reference!r}, {different} {ours.get(different or '')!r}"
        require(different is None, f"runs[{name!r}]", rule, theirs.get(different or ""))
    columns = [*dict.fromkeys(key for row in first["results"].values() for key in row["mean"])]
    lines = [["run", "result", *columns], ["---"] * (2 + len(columns))]
    for name, run in runs.items():
        for row, result in run["results"].items():
            cells = [f"{100 * result['mean'][c]:.2f} ± {100 * result['std'][c]:.2f}" for c in columns]
            lines.append([str(name), row, *cells])
    table = [f"| {' | '.join(line)} |" for line in lines]
    table[1] = table[1].replace(" ", "")
    return "\n".join(table)


def _check_run(argument: str, run: Mapping[str, Any]) -> None:
    check_type(argument, run, Mapping, "be a record of a run, as describe_run returns it")
    missing = [part for part in _PARTS if part not in run]
    require(not missing, argument, f"have the parts {', '.join(_PARTS)}", f"a record without {', '.join(missing)}")


def _rules(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same in runs that are compared; another class of network may embed in the same way."""
    rows = run["results"].items()
    protocols = {row: {"protocol": r["protocol"], "settings": r["settings"]} for row, r in rows}
    rules = {**_flatten("data", run["data"]), **_flatten("results", protocols)}
    return {
        key: re.sub(r"^\w+\.embed", "embed", rule) if isinstance(rule, str) else rule for key, rule in rules.items()
    }


def _flatten(name: str, value: Any) -> dict[str, Any]:
    """Name every value by its path; the single trials of a result are left out, since their means tell them."""
    if not isinstance(value, Mapping):
        return {name: value}
    kept = {key: part for key, part in value.items() if not (key == "trials" and isinstance(part, Mapping))}
    inner = [_flatten(f"{name}.{key}", part) for key, part in kept.items()]
    return {path: part for flat in inner for path, part in flat.items()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float)) or value is None:
        return value
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else str(value)
