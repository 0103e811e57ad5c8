"""Results of evaluations: ranked images, metrics over trials, and the tables that papers print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vireid._checks import check_type, require
from vireid.evaluation.metrics import RetrievalMetrics
from vireid.modality import Modality

Settings = Mapping[str, str | int]


class Ranking(NamedTuple):
    """List the nearest gallery images of every query in one trial, nearest first, on the CPU.

    Images that the protocol excludes for a query are left out. Where fewer than k images remain, the list ends with
    row -1, which is not correct and has the distance NaN.

    Attributes:
        rows: Rows of the images in the set that is searched.
        correct: Whether an image shows the query's identity.
        distances: Distances by which the images are ranked, after re-ranking if there is one.
        queries: Row of each query in its set.
        query_modality: Modality of the queries.
        gallery_modality: Modality of the images that are searched.
        matched: Whether a query has a match among the images that it may find; the metrics count no others.

    Shape:
        rows q k, correct q k, distances q k, queries q, matched q.
    """

    rows: Tensor
    correct: Tensor
    distances: Tensor
    queries: Tensor
    query_modality: Modality
    gallery_modality: Modality
    matched: Tensor


@dataclass(frozen=True)
class RetrievalResult:
    """Hold the metrics of a protocol over its trials, as fractions from 0 to 1; printed in percent, as in papers.

    The standard deviation is that of the trials themselves (divided by their number).

    Attributes:
        protocol: Description of the protocol.
        settings: Choices that make numbers comparable, by name.
        cmc: CMC of each trial.
        mAP: Mean average precision of each trial.
        mINP: Mean inverse negative penalty of each trial.
        valid_queries: Number of queries with a match, in each trial.
        queries: Number of all queries.

    Shape:
        cmc t r for t trials and r ranks, mAP t, mINP t.
    """

    protocol: str
    settings: Settings
    cmc: Tensor
    mAP: Tensor  # noqa: N815
    mINP: Tensor  # noqa: N815
    valid_queries: tuple[int, ...]
    queries: int

    @classmethod
    def of_trials(cls, trials: Sequence[RetrievalMetrics], protocol: str, settings: Settings) -> RetrievalResult:
        """Collect the metrics of the trials of a protocol.

        Args:
            trials: Metrics of each trial.
            protocol: Description of the protocol.
            settings: Choices that make numbers comparable, by name.

        Raises:
            TypeError: If an argument has another type.
            ValueError: If there is no trial.
        """
        check_type("trials", trials, Sequence, "be a list of RetrievalMetrics")
        require(len(trials) > 0, "trials", "hold the metrics of a trial", 0)
        for i, trial in enumerate(trials):
            check_type(f"trials[{i}]", trial, RetrievalMetrics, "be RetrievalMetrics")
        check_type("protocol", protocol, str, "be a string")
        check_type("settings", settings, Mapping, "be a mapping")
        return cls(
            protocol=protocol,
            settings=settings,
            cmc=torch.stack([trial.cmc for trial in trials]),
            mAP=torch.tensor([trial.mAP for trial in trials], dtype=torch.float64),
            mINP=torch.tensor([trial.mINP for trial in trials], dtype=torch.float64),
            valid_queries=tuple(int(trial.valid.sum()) for trial in trials),
            queries=len(trials[0].valid),
        )

    @classmethod
    def average(cls, results: Sequence[RetrievalResult]) -> RetrievalResult:
        """Join the results of one protocol for several models, such as those of RegDB's ten trials.

        Args:
            results: Results of each model.

        Raises:
            ValueError: If there is none, they have different protocols or settings, or a trial occurs twice.
            TypeError: If an argument has another type.
        """
        check_type("results", results, Sequence, "be a list of RetrievalResult")
        require(len(results) > 0, "results", "hold a result", len(results))
        for i, result in enumerate(results):
            check_type(f"results[{i}]", result, RetrievalResult, "be a RetrievalResult")
        first, settings = results[0], dict(results[0].settings)
        trials = [result.settings.get("trial", i) for i, result in enumerate(results)]
        require(len(set(trials)) == len(trials), "results", "be each of another trial", trials)
        for name in settings.keys() & {"trial", "trained_on"}:
            settings[name] = ", ".join(str(result.settings.get(name)) for result in results)
        joined = {name: settings[name] for name in settings.keys() & {"trial", "trained_on"}}
        for result in results:
            kind = {**result.settings, **joined}
            rule = f"have one protocol and one choice of settings, {first.protocol}, {settings}"
            same = (result.protocol, kind) == (first.protocol, settings)
            require(same, "results", rule, f"{result.protocol}, {kind}")
        return cls(
            protocol=f"{first.protocol} × {len(results)}",
            settings=settings,
            cmc=torch.cat([result.cmc for result in results]),
            mAP=torch.cat([result.mAP for result in results]),
            mINP=torch.cat([result.mINP for result in results]),
            valid_queries=tuple(count for result in results for count in result.valid_queries),
            queries=max(result.queries for result in results),
        )

    def summary(self) -> dict[str, tuple[float, float]]:
        """Return the mean and standard deviation over the trials of rank-1, -5, -10, -20, mAP and mINP."""
        trials = {f"rank-{rank}": self.cmc[:, rank - 1] for rank in (1, 5, 10, 20) if rank <= self.cmc.shape[1]}
        trials |= {"mAP": self.mAP, "mINP": self.mINP}
        return {name: (x.mean().item(), x.std(correction=0).item()) for name, x in trials.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, strings and lists, for JSON."""
        return {
            "protocol": self.protocol,
            "settings": dict(self.settings),
            "queries": self.queries,
            "valid_queries": list(self.valid_queries),
            "mean": {name: mean for name, (mean, _) in self.summary().items()},
            "std": {name: std for name, (_, std) in self.summary().items()},
            "trials": {"cmc": self.cmc.tolist(), "mAP": self.mAP.tolist(), "mINP": self.mINP.tolist()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RetrievalResult:
        """Rebuild a result from the dictionary that :meth:`to_dict` returned.

        Args:
            values: Dictionary of :meth:`to_dict`.

        Raises:
            ValueError: If an entry is missing, or the trials do not fit together.
            TypeError: If ``values`` is not a mapping.
        """
        check_type("values", values, Mapping, "be a dictionary of RetrievalResult.to_dict()")
        for name in ("protocol", "settings", "queries", "valid_queries", "trials"):
            if name not in values:
                raise ValueError(f"values lack {name!r}; pass RetrievalResult.to_dict().")
        try:
            cmc, precision, penalty = (
                torch.tensor(values["trials"][name], dtype=torch.float64) for name in ("cmc", "mAP", "mINP")
            )
            valid = tuple(int(count) for count in values["valid_queries"])
            result = cls(
                values["protocol"], dict(values["settings"]), cmc, precision, penalty, valid, values["queries"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"values must be those of RetrievalResult.to_dict(), got {error!r} in them.") from error
        shapes = tuple(cmc.shape[:1]), tuple(precision.shape), tuple(penalty.shape), (len(valid),)
        fits = cmc.dim() == 2 and len(set(shapes)) == 1
        require(fits, "values", "hold as many trials of cmc, mAP, mINP and valid_queries", shapes)
        return result

    def __str__(self) -> str:
        return f"{self.protocol}: " + "  ".join(f"{name} {cell}" for name, cell in self._cells().items())

    def _cells(self) -> dict[str, str]:
        """Every column of a table in percent: the mean, with the standard deviation where there are several trials."""
        several = len(self.mAP) > 1
        return {
            name: f"{100 * mean:.2f}" + (f" ± {100 * std:.2f}" if several else "")
            for name, (mean, std) in self.summary().items()
        }


def format_results(results: Mapping[str, RetrievalResult]) -> str:
    """Format results as a table in percent: the mean over the trials, ± the standard deviation if there are several.

    Args:
        results: Results by the names of their rows.

    Raises:
        ValueError: If there is no result.
        TypeError: If ``results`` is not a mapping of results.
    """
    check_type("results", results, Mapping, "map names of rows to RetrievalResult")
    require(len(results) > 0, "results", "hold a result", dict(results))
    for name, result in results.items():
        check_type(f"results[{name!r}]", result, RetrievalResult, "be a RetrievalResult")
    rows = {str(name): result._cells() for name, result in results.items()}
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    widest = max(len(name) for name in rows)
    lines = [" " * widest + "".join(f"{column:>15}" for column in columns)]
    for name, cells in rows.items():
        lines.append(f"{name:{widest}}" + "".join(f"{cells.get(column, ''):>15}" for column in columns))
    return "\n".join(lines)
