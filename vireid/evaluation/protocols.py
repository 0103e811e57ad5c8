"""The published protocols, as presets over :func:`compute_metrics`."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from vireid._checks import check_choice, check_embeddings, is_whole, require
from vireid.distances import pairwise_distances
from vireid.evaluation.extraction import EmbeddingSet
from vireid.evaluation.metrics import RetrievalMetrics, compute_metrics, exclude_same_camera, exclude_same_location
from vireid.evaluation.reranking import KReciprocalReranking
from vireid.modality import Modality


@dataclass(frozen=True)
class RetrievalResult:
    """Metrics of a protocol over its trials, as shares from 0 to 1; printed as papers print them, in percent.

    The standard deviation is that of the trials themselves (divided by their number).

    Attributes:
        protocol: what was evaluated, in words.
        settings: likewise, by name: the choices that make numbers comparable.
        cmc: trials × ranks.
        mAP: of each trial.
        mINP: of each trial.
        valid_queries: queries with a match, in each trial.
        queries: all queries.
    """

    protocol: str
    settings: Mapping[str, str | int]
    cmc: Tensor
    mAP: Tensor  # noqa: N815
    mINP: Tensor  # noqa: N815
    valid_queries: tuple[int, ...]
    queries: int

    @classmethod
    def of_trials(
        cls, trials: Sequence[RetrievalMetrics], protocol: str, settings: Mapping[str, str | int]
    ) -> RetrievalResult:
        """Collect the metrics of the galleries of a protocol."""
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
        """Put together the results of one protocol for several models, such as those of RegDB's ten trials.

        Raises:
            ValueError: there is none, they are of different protocols or settings, or a trial is there twice.
        """
        require(len(results) > 0, "results", "hold a result", len(results))
        first, settings = results[0], dict(results[0].settings)
        trials = [result.settings.get("trial", i) for i, result in enumerate(results)]
        require(len(set(trials)) == len(trials), "results", "be each of another trial", trials)
        for name in settings.keys() & {"trial", "trained_on"}:
            settings[name] = ", ".join(str(result.settings[name]) for result in results)
        for result in results:
            kind = {**result.settings, **{name: settings[name] for name in settings.keys() & {"trial", "trained_on"}}}
            rule = f"be all of one protocol and its settings, {first.protocol}, {settings}"
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
        """Mean and standard deviation over the trials of rank-1, -5, -10, -20, mAP and mINP, as far as computed."""
        trials = {f"rank-{rank}": self.cmc[:, rank - 1] for rank in (1, 5, 10, 20) if rank <= self.cmc.shape[1]}
        trials |= {"mAP": self.mAP, "mINP": self.mINP}
        return {name: (x.mean().item(), x.std(correction=0).item()) for name, x in trials.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and lists, for JSON."""
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
        """What ``to_dict`` has made a dictionary of.

        Raises:
            ValueError: something is missing in it.
        """
        try:
            cmc, mean_precision, penalty = (
                torch.tensor(values["trials"][name], dtype=torch.float64) for name in ("cmc", "mAP", "mINP")
            )
            return cls(
                protocol=values["protocol"],
                settings=values["settings"],
                cmc=cmc,
                mAP=mean_precision,
                mINP=penalty,
                valid_queries=tuple(values["valid_queries"]),
                queries=values["queries"],
            )
        except KeyError as error:
            raise ValueError(f"values must be those of a result, got none called {error}.") from error

    def __str__(self) -> str:
        row = "  ".join(f"{name} {100 * mean:.2f} ± {100 * std:.2f}" for name, (mean, std) in self.summary().items())
        return f"{self.protocol}: {row}"


def format_results(results: Mapping[str, RetrievalResult]) -> str:
    """Lay out results as a table in percent, mean ± standard deviation over the trials.

    Args:
        results: by the names of the rows.

    Raises:
        ValueError: there is no result.
    """
    require(len(results) > 0, "results", "hold a result", dict(results))
    summaries = {name: result.summary() for name, result in results.items()}
    widest = max(len(name) for name in results)
    columns = next(iter(summaries.values()))
    lines = [" " * widest + "".join(f"{column:>15}" for column in columns)]
    for name, summary in summaries.items():
        cells = (f"{100 * mean:.2f} ± {100 * std:.2f}" for mean, std in (summary[column] for column in columns))
        lines.append(f"{name:{widest}}" + "".join(f"{cell:>15}" for cell in cells))
    return "\n".join(lines)


Distance = Literal["cosine", "euclidean", "dot"]
CMCLevel = Literal["identity", "image"]
Rows = tuple[Tensor, Tensor]  # of the queries and of the gallery images of a trial


class RetrievalProtocol:
    """What the protocols share: the trials, the distance, re-ranking, and how a gallery is ranked.

    ``"cosine"`` is one minus the cosine of the embeddings, what nearly all published code ranks by; ``"euclidean"``
    their Euclidean distance as they come, and ``"dot"`` the negative inner product, which is the cosine for embeddings
    of unit length only. All are taken in float64, so that rounding makes no ties.

    Attributes:
        query_modality: of the first argument of :meth:`evaluate`.
        gallery_modality: of the second.
        trials: over which results are averaged.
    """

    query_modality: Modality
    gallery_modality: Modality
    trials: int

    def __init__(
        self,
        query: Modality | str,
        *,
        trials: int,
        distance: Distance,
        cmc_level: CMCLevel,
        reranking: KReciprocalReranking | None,
    ) -> None:
        require(trials >= 1, "trials", "be at least 1", trials)
        check_choice("distance", distance, ("cosine", "euclidean", "dot"))
        check_choice("cmc_level", cmc_level, ("identity", "image"))
        known = reranking is None or isinstance(reranking, KReciprocalReranking)
        rule = "be a KReciprocalReranking or None"
        require(known, "reranking", rule, type(reranking).__name__, error=TypeError)
        self.query_modality = Modality.of(query)
        visible = self.query_modality is Modality.VISIBLE
        self.gallery_modality = Modality.INFRARED if visible else Modality.VISIBLE
        self.trials = trials
        self.distance = distance
        self.cmc_level: CMCLevel = cmc_level
        self.reranking = reranking

    def evaluate(self, query: EmbeddingSet, gallery: EmbeddingSet) -> RetrievalResult:
        """Evaluate every trial.

        Args:
            query: all images of the query modality of the test identities.
            gallery: all images of the other modality, those of one identity and camera in the order of their names.

        Raises:
            ValueError: the embeddings do not match or are not finite, are not of the protocol's modalities or cameras,
                the gallery cannot be drawn from the images, or no query has a match.
            TypeError: embeddings are not floating point, or identities or cameras are not integers.
        """
        self.check(query, gallery)
        probes, pool = self._roles(query, gallery)
        trials = self._draw(probes, pool)
        if self.reranking is not None:  # looks at the whole gallery, so that each has distances of its own
            metrics = [self._measure(probes.select(rows), pool.select(columns)) for rows, columns in trials]
        else:
            drawn = torch.unique(torch.cat([columns for _, columns in trials]))
            pool = pool.select(drawn)  # what no trial has drawn costs nothing
            distances, excluded = self._compare(probes, pool), self._exclude(probes, pool)
            metrics = []
            for rows, columns in trials:
                part = torch.searchsorted(drawn, columns)
                block = (rows[:, None], part) if len(rows) < len(distances) else (slice(None), part)
                metrics.append(
                    compute_metrics(
                        distances[block],
                        probes.identities[rows],
                        pool.identities[part],
                        excluded=None if excluded is None else excluded[block],
                        cmc_level=self.cmc_level,
                    )
                )
        return RetrievalResult.of_trials(metrics, str(self), self._all_settings(query))

    def evaluate_trial(self, query: EmbeddingSet, gallery: EmbeddingSet, trial: int = 0) -> RetrievalMetrics:
        """Evaluate one trial.

        Args:
            query: as for :meth:`evaluate`.
            gallery: as for :meth:`evaluate`.
            trial: which, from 0.

        Raises:
            ValueError: as for :meth:`evaluate`, or there is no such trial.
            TypeError: as for :meth:`evaluate`.
        """
        probes, pool = self._trial(query, gallery, trial)[:2]
        return self._measure(probes, pool)

    def rank(self, query: EmbeddingSet, gallery: EmbeddingSet, *, trial: int = 0, k: int = 10) -> tuple[Tensor, Tensor]:
        """The first ``k`` gallery images of every query in one trial, best first.

        Args:
            query: as for :meth:`evaluate`.
            gallery: as for :meth:`evaluate`.
            trial: which gallery, from 0.
            k: images of each query.

        Returns:
            The rows of the images that are searched, q k, and whether each shows the query's identity, q k, both on the
            CPU. Images that a query is not to see are left out; where fewer than k remain, the row ends with −1.

        Raises:
            ValueError: as for :meth:`evaluate`, there is no such trial, or k is less than 1.
            TypeError: as for :meth:`evaluate`.
        """
        require(k >= 1, "k", "be at least 1", k)
        probes, pool, columns = self._trial(query, gallery, trial)
        distances, excluded = self._compare(probes, pool), self._exclude(probes, pool)
        if excluded is not None:
            distances = distances.masked_fill(excluded, torch.inf)
        nearest, order = distances.sort(dim=1, stable=True)
        shown = nearest[:, :k].isfinite().cpu()
        found = order[:, :k].cpu()
        correct = (pool.identities.cpu()[found] == probes.identities.cpu()[:, None]) & shown
        found = columns.cpu()[found].masked_fill(~shown, -1)
        missing = (0, k - found.shape[1])
        return pad(found, missing, value=-1), pad(correct, missing)

    def check(self, query: EmbeddingSet, gallery: EmbeddingSet) -> None:
        """Require embeddings that fit the protocol and each other.

        Raises:
            ValueError: as for :meth:`evaluate`.
            TypeError: as for :meth:`evaluate`.
        """
        for name, part in (("query", query), ("gallery", gallery)):
            known = isinstance(part, EmbeddingSet)
            require(known, name, "be an EmbeddingSet", type(part).__name__, error=TypeError)
            part.check(name)
        check_embeddings("gallery.embeddings", gallery.embeddings, like=query.embeddings)
        for name, part, modality in (
            ("query", query, self.query_modality),
            ("gallery", gallery, self.gallery_modality),
        ):
            require(part.modality == modality, f"{name}.modality", f"be {modality.value!r} for {self}", part.modality)
        rule = f"be made as those of the queries, {query.feature!r}"
        require(gallery.feature == query.feature, "gallery.feature", rule, gallery.feature)

    def settings(self) -> dict[str, str | int]:
        """The choices of this protocol that results name beside the common ones."""
        return {}

    def _all_settings(self, query: EmbeddingSet) -> dict[str, str | int]:
        return {
            "query": self.query_modality.value,
            "gallery": self.gallery_modality.value,
            **self.settings(),
            "distance": self.distance,
            "cmc_level": self.cmc_level,
            "feature": query.feature,
            "reranking": "none" if self.reranking is None else str(self.reranking),
        }

    def _roles(self, query: EmbeddingSet, gallery: EmbeddingSet) -> tuple[EmbeddingSet, EmbeddingSet]:
        """Which of the two searches in which."""
        return query, gallery

    def _draw(self, probes: EmbeddingSet, pool: EmbeddingSet) -> list[Rows]:
        """The rows of the queries and of the gallery images of every trial."""
        raise NotImplementedError

    def _exclude(self, probes: EmbeddingSet, pool: EmbeddingSet) -> Tensor | None:
        """Which images a query is not to see, q g."""
        del probes, pool
        return None

    def _trial(
        self, query: EmbeddingSet, gallery: EmbeddingSet, trial: int
    ) -> tuple[EmbeddingSet, EmbeddingSet, Tensor]:
        """The queries and gallery images of a trial, and the rows of the latter."""
        require(0 <= trial < self.trials, "trial", f"be from 0 to {self.trials - 1}", trial)
        self.check(query, gallery)
        probes, pool = self._roles(query, gallery)
        rows, columns = self._draw(probes, pool)[trial]
        return probes.select(rows), pool.select(columns), columns

    def _measure(self, probes: EmbeddingSet, pool: EmbeddingSet) -> RetrievalMetrics:
        return compute_metrics(
            self._compare(probes, pool),
            probes.identities,
            pool.identities,
            excluded=self._exclude(probes, pool),
            cmc_level=self.cmc_level,
        )

    def _compare(self, probes: EmbeddingSet, pool: EmbeddingSet) -> Tensor:
        """Distances q g, in float64."""
        x, y = probes.embeddings.double(), pool.embeddings.double()
        if self.distance == "cosine":
            x, y = normalize(x), normalize(y)
        if self.reranking is not None:
            return self.reranking(x, y)
        if self.distance == "euclidean":
            return pairwise_distances(x, y)
        return (1 if self.distance == "cosine" else 0) - x @ y.T

    def _suffix(self) -> str:
        """What of the common choices is not the usual, in words."""
        words = "" if self.distance == "cosine" else f", {self.distance} distance"
        return words + ("" if self.reranking is None else f", {self.reranking}")


class SYSUMM01Protocol(RetrievalProtocol):
    """SYSU-MM01: infrared queries against galleries drawn from the visible images, averaged over the trials.

    All infrared images of the test identities are queries. In every trial the gallery has ``shots`` images of each
    identity from each visible camera: 1, 2, 4 and 5 for all search, the indoor ones 1 and 2 for indoor search. Camera 3
    stands where camera 2 does; a query does not see the gallery images of its own place. CMC ranks identities, of which
    a small gallery may have fewer than 20: past the last one CMC stays 1. :class:`RetrievalProtocol` has the methods.

    Two families of galleries are in use, whose results differ by about half a point. ``"official"`` is that of the
    data set's authors, listed in its rand_perm_cam.mat; ``"agw"`` is drawn with Python's random numbers seeded by the
    trial, as most papers have done since AGW. It exists for single-shot galleries only: the scripts that draw several
    images so do not seed the draw.

    Args:
        search: ``"all"`` or ``"indoor"``.
        shots: images of each identity and camera in the gallery, 1 or 10 in the publications.
        gallery: ``"agw"`` or ``"official"``.
        permutations: for the official galleries, ``SYSUMM01.gallery_permutations()``.
        trials: galleries to average over; the publications' 10.
        distance: ``"cosine"``, ``"euclidean"`` or ``"dot"``.
        cmc_level: what a rank is, ``"identity"`` as published or ``"image"``.
        reranking: of the distances; none in the protocol.

    Raises:
        ValueError: an argument is unknown or out of its range, or they do not fit together.

    Example:
        >>> rows, identities = torch.eye(2), torch.tensor([1, 2])
        >>> query = EmbeddingSet(rows, identities, torch.tensor([3, 6]), "infrared")
        >>> gallery = EmbeddingSet(rows, identities, torch.tensor([1, 4]), "visible")
        >>> SYSUMM01Protocol().evaluate(query, gallery).mAP.mean()
        tensor(1., dtype=torch.float64)

    References:
        Wu et al., RGB-Infrared Cross-Modality Person Re-Identification, ICCV 2017; Ye et al., Deep Learning for Person
        Re-identification, TPAMI 2021.
    """

    gallery_cameras: ClassVar = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
    query_cameras = (3, 6)
    locations: ClassVar = {3: 2}

    def __init__(
        self,
        search: Literal["all", "indoor"] = "all",
        *,
        shots: int = 1,
        gallery: Literal["agw", "official"] = "agw",
        permutations: Mapping[tuple[int, int], np.ndarray] | None = None,
        trials: int = 10,
        distance: Distance = "cosine",
        cmc_level: CMCLevel = "identity",
        reranking: KReciprocalReranking | None = None,
    ) -> None:
        super().__init__("infrared", trials=trials, distance=distance, cmc_level=cmc_level, reranking=reranking)
        check_choice("search", search, self.gallery_cameras)
        check_choice("gallery", gallery, ("agw", "official"))
        require(shots >= 1, "shots", "be at least 1", shots)
        remedy = 'Only gallery="official" has several images of an identity.'
        require(gallery == "official" or shots == 1, "shots", "be 1 for the galleries of AGW", shots, remedy)
        rule, remedy = 'be given for gallery="official"', "SYSUMM01(root).gallery_permutations() reads them."
        require(gallery == "agw" or permutations is not None, "permutations", rule, None, remedy)
        mapped = permutations is None or isinstance(permutations, Mapping)
        require(mapped, "permutations", "be a mapping", type(permutations).__name__, remedy, error=TypeError)
        self.search = search
        self.shots = shots
        self.gallery = gallery
        self.permutations = permutations

    def __str__(self) -> str:
        shots = "single-shot" if self.shots == 1 else f"{self.shots}-shot"
        cmc = "" if self.cmc_level == "identity" else ", image-level CMC"
        galleries = f"{self.gallery} galleries × {self.trials}"
        return f"SYSU-MM01 {self.search} search, {shots}, {galleries}{cmc}{self._suffix()}"

    def galleries(self, identities: Tensor, cameras: Tensor) -> list[Tensor]:
        """The rows of the visible images that are in the gallery of each trial, by identity and camera.

        Args:
            identities: of the visible images; rows of one identity and camera are in the order of their names.
            cameras: of the visible images.

        Shape:
            n, n -> for each trial, g.

        Raises:
            ValueError: no image is from a camera of the search, or the official permutations do not fit the images.
        """
        groups = _group(identities, cameras, self.gallery_cameras[self.search])
        if self.gallery == "official":
            return [
                torch.tensor([row for key, rows in groups.items() for row in self._official(key, rows, trial)])
                for trial in range(self.trials)
            ]
        return _draw_one_each(groups, self.trials)

    def settings(self) -> dict[str, str | int]:
        """The choices of this protocol that results name beside the common ones."""
        return {"search": self.search, "shots": self.shots, "galleries": self.gallery}

    def check(self, query: EmbeddingSet, gallery: EmbeddingSet) -> None:
        """Require embeddings that fit the protocol and each other.

        Raises:
            ValueError: as for :meth:`evaluate`.
            TypeError: as for :meth:`evaluate`.
        """
        super().check(query, gallery)
        for name, cameras, allowed in (
            ("query", query.cameras, self.query_cameras),
            ("gallery", gallery.cameras, self.gallery_cameras["all"]),
        ):
            strange = sorted(set(cameras.tolist()) - set(allowed))
            require(not strange, f"{name}.cameras", f"be among {allowed}", strange)

    def _draw(self, probes: EmbeddingSet, pool: EmbeddingSet) -> list[Rows]:
        everyone = torch.arange(len(probes.identities))
        return [(everyone, columns) for columns in self.galleries(pool.identities, pool.cameras)]

    def _exclude(self, probes: EmbeddingSet, pool: EmbeddingSet) -> Tensor:
        return exclude_same_location(probes.cameras, pool.cameras, self.locations)

    def _official(self, key: tuple[int, int], rows: list[int], trial: int) -> list[int]:
        identity, camera = key
        order = np.asarray((self.permutations or {}).get((camera, identity), ()))
        rule = f"order the {len(rows)} images of camera {camera}, identity {identity} in {self.trials} trials"
        fits = order.ndim == 2 and order.shape[0] >= self.trials and order.shape[1] == len(rows)
        require(fits, "permutations", rule, order.shape)
        row = order[trial].tolist()
        require(sorted(row) == list(range(len(rows))), "permutations", f"{rule}, from 0", row)
        return [rows[i] for i in row[: self.shots]]


class RegDBProtocol(RetrievalProtocol):
    """RegDB: all test images of one modality search in all of the other, for one of the ten trials.

    A trial divides the identities, so that a published number is the mean over ten models, one trained and tested on
    each: ``RetrievalResult.average`` takes their results. A model that was trained on another trial has seen half of
    the test identities; its numbers are wrong by several points and refused here. No image is excluded. AGW and its
    followers rank images in CMC, MPANet identities, and compares by ``"euclidean"`` without normalising: beyond rank-1
    the numbers of the two do not compare. :class:`RetrievalProtocol` has the methods.

    Args:
        query: modality of the queries: ``"visible"`` for visible → infrared, ``"infrared"`` for infrared → visible.
        trial: that is tested, 1 to 10.
        trained_on: the trial whose training images the model has seen.
        allow_other_trial: evaluate although they differ.
        distance: ``"cosine"``, ``"euclidean"`` or ``"dot"``.
        cmc_level: what a rank is, ``"image"`` or ``"identity"``.
        reranking: of the distances; none in the protocol.

    Raises:
        ValueError: an argument is unknown or out of its range, or the trials differ.

    Example:
        >>> rows, identities = torch.eye(2), torch.tensor([1, 2])
        >>> query = EmbeddingSet(rows, identities, torch.tensor([1, 1]), "visible")
        >>> gallery = EmbeddingSet(rows, identities, torch.tensor([2, 2]), "infrared")
        >>> print(RegDBProtocol("visible", trial=1, trained_on=1).evaluate(query, gallery))
        RegDB visible → infrared, image-level CMC: rank-1 100.00 ± 0.00  ...  mINP 100.00 ± 0.00

    References:
        Ye et al., Hierarchical Discriminative Learning for Visible Thermal Person Re-Identification, AAAI 2018.
    """

    def __init__(
        self,
        query: Modality | str,
        *,
        trial: int,
        trained_on: int,
        allow_other_trial: bool = False,
        distance: Distance = "cosine",
        cmc_level: CMCLevel = "image",
        reranking: KReciprocalReranking | None = None,
    ) -> None:
        super().__init__(query, trials=1, distance=distance, cmc_level=cmc_level, reranking=reranking)
        for name, number in (("trial", trial), ("trained_on", trained_on)):
            whole = is_whole(number) and 1 <= number <= 10
            require(whole, name, "be a whole number from 1 to 10", number)
        rule = f"be the trial that is tested, {trial}"
        remedy = f"It has seen people of trial {trial}'s test; allow_other_trial=True evaluates it nevertheless."
        require(trained_on == trial or allow_other_trial, "trained_on", rule, trained_on, remedy)
        self.trial = int(trial)
        self.trained_on = int(trained_on)

    def __str__(self) -> str:
        direction = f"{self.query_modality.value} → {self.gallery_modality.value}"
        leak = "" if self.trial == self.trained_on else ", trained on another trial"
        return f"RegDB {direction}, {self.cmc_level}-level CMC{leak}{self._suffix()}"

    def settings(self) -> dict[str, str | int]:
        """The choices of this protocol that results name beside the common ones."""
        return {"trial": self.trial, "trained_on": self.trained_on}

    def _draw(self, probes: EmbeddingSet, pool: EmbeddingSet) -> list[Rows]:
        return [(torch.arange(len(probes.identities)), torch.arange(len(pool.identities)))]


class LLCMProtocol(RetrievalProtocol):
    """LLCM: all test images of one modality search in one image per identity and camera of the other.

    The galleries are drawn with Python's random numbers seeded by the trial. Gallery images of the query's identity
    from the query's camera are not seen; CMC ranks identities. :class:`RetrievalProtocol` has the methods.

    For visible → infrared two conventions are in the literature, whose mAP differ by a factor of about two. In the
    ``"swapped"`` one, that of the test scripts of DEEN and the data set's baseline, the drawn infrared images search
    among all visible ones; results say so. ``rank`` then has a row for each drawn image.

    Args:
        query: modality of the queries: ``"visible"`` for visible → infrared, ``"infrared"`` for infrared → visible.
        convention: ``"standard"``, or ``"swapped"`` for visible → infrared as those scripts compute it.
        trials: galleries to average over; the publications' 10.
        distance: ``"cosine"``, ``"euclidean"`` or ``"dot"``.
        cmc_level: what a rank is, ``"identity"`` as published or ``"image"``.
        reranking: of the distances; none in the protocol.

    Raises:
        ValueError: an argument is unknown or out of its range, or the convention is not one of this direction.

    Example:
        >>> rows, identities = torch.eye(2), torch.tensor([1, 2])
        >>> query = EmbeddingSet(rows, identities, torch.tensor([1, 1]), "infrared")
        >>> gallery = EmbeddingSet(rows, identities, torch.tensor([2, 2]), "visible")
        >>> LLCMProtocol("infrared").evaluate(query, gallery).mAP.mean()
        tensor(1., dtype=torch.float64)

    References:
        Zhang and Wang, Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for
        Visible-Infrared Person Re-identification, CVPR 2023.
    """

    def __init__(
        self,
        query: Modality | str,
        *,
        convention: Literal["standard", "swapped"] = "standard",
        trials: int = 10,
        distance: Distance = "cosine",
        cmc_level: CMCLevel = "identity",
        reranking: KReciprocalReranking | None = None,
    ) -> None:
        super().__init__(query, trials=trials, distance=distance, cmc_level=cmc_level, reranking=reranking)
        check_choice("convention", convention, ("standard", "swapped"))
        fits = convention == "standard" or self.query_modality is Modality.VISIBLE
        require(fits, "convention", "be 'standard' for infrared queries", convention)
        self.convention = convention

    def __str__(self) -> str:
        direction = f"{self.query_modality.value} → {self.gallery_modality.value}"
        swapped = "" if self.convention == "standard" else " (drawn infrared images search all visible ones)"
        cmc = "" if self.cmc_level == "identity" else ", image-level CMC"
        return f"LLCM {direction}{swapped}, galleries × {self.trials}{cmc}{self._suffix()}"

    def settings(self) -> dict[str, str | int]:
        """The choices of this protocol that results name beside the common ones."""
        return {"convention": self.convention}

    def _roles(self, query: EmbeddingSet, gallery: EmbeddingSet) -> tuple[EmbeddingSet, EmbeddingSet]:
        return (query, gallery) if self.convention == "standard" else (gallery, query)

    def _draw(self, probes: EmbeddingSet, pool: EmbeddingSet) -> list[Rows]:
        drawn_from, other = (pool, probes) if self.convention == "standard" else (probes, pool)
        everyone = torch.arange(len(other.identities))
        draws = _draw_one_each(_group(drawn_from.identities, drawn_from.cameras), self.trials)
        return [(everyone, rows) if self.convention == "standard" else (rows, everyone) for rows in draws]

    def _exclude(self, probes: EmbeddingSet, pool: EmbeddingSet) -> Tensor:
        return exclude_same_camera(probes.identities, probes.cameras, pool.identities, pool.cameras)


class CorruptedProtocol:
    """SYSU-MM01-C and RegDB-C: a protocol over several draws of corrupted visible images.

    Only visible images are corrupted: the gallery of SYSU-MM01, and of RegDB the queries of visible → infrared or the
    gallery of the other direction. Draw i meets gallery i of the protocol, so that ten draws take SYSU-MM01's ten
    galleries; the mean and standard deviation are those over the draws.

    Args:
        protocol: such as ``SYSUMM01Protocol()`` or ``RegDBProtocol("visible", …)``.
        draws: of the corruptions; the benchmark's 10.

    Raises:
        ValueError: ``draws`` is less than 1.

    Example:
        >>> rows, identities = torch.eye(2), torch.tensor([1, 2])
        >>> visible = EmbeddingSet(rows, identities, torch.tensor([1, 1]), "visible")
        >>> infrared = EmbeddingSet(rows, identities, torch.tensor([2, 2]), "infrared")
        >>> protocol = CorruptedProtocol(RegDBProtocol("visible", trial=1, trained_on=1), draws=2)
        >>> protocol.evaluate([visible, visible], infrared).protocol
        'Corrupted RegDB visible → infrared, image-level CMC, draws × 2'

    References:
        Chen et al., Benchmarks for Corruption Invariant Person Re-identification, NeurIPS 2021.
    """

    def __init__(self, protocol: RetrievalProtocol, *, draws: int = 10) -> None:
        require(draws >= 1, "draws", "be at least 1", draws)
        self.protocol = protocol
        self.draws = draws

    def evaluate(self, visible: Iterable[EmbeddingSet], infrared: EmbeddingSet) -> RetrievalResult:
        """Evaluate every draw.

        Args:
            visible: the embeddings of all corrupted visible images, one set for each draw; they may be computed as they
                are taken.
            infrared: those of all infrared images.

        Raises:
            ValueError: there are fewer sets than draws, or as for the protocol.
            TypeError: as for the protocol.
        """
        metrics = []
        settings: dict[str, str | int] = {}
        for draw, corrupted in enumerate(islice(visible, self.draws)):
            searches = self.protocol.query_modality is Modality.VISIBLE
            pair = (corrupted, infrared) if searches else (infrared, corrupted)
            metrics.append(self.protocol.evaluate_trial(*pair, trial=draw % self.protocol.trials))
            settings = {**self.protocol._all_settings(pair[0]), "draws": self.draws}
        require(len(metrics) == self.draws, "visible", f"hold a set for each of {self.draws} draws", len(metrics))
        return RetrievalResult.of_trials(metrics, f"Corrupted {self.protocol}, draws × {self.draws}", settings)


def create_protocols(
    name: str, *, trial: int = 1, trained_on: int = 1, allow_other_trial: bool = False
) -> dict[str, RetrievalProtocol]:
    """Create the protocols in which papers report a data set, by the words of their tables.

    Args:
        name: ``"sysu"``, ``"regdb"`` or ``"llcm"``.
        trial: of RegDB, that is tested.
        trained_on: the trial of RegDB on which the model was trained.
        allow_other_trial: evaluate although they differ.

    Raises:
        ValueError: there is no such data set, or the trials differ.

    Example:
        >>> list(create_protocols("sysu"))
        ['all search', 'indoor search']
    """
    check_choice("name", name, ("sysu", "regdb", "llcm"))
    if name == "sysu":
        return {"all search": SYSUMM01Protocol("all"), "indoor search": SYSUMM01Protocol("indoor")}
    directions = {"visible → infrared": "visible", "infrared → visible": "infrared"}
    if name == "regdb":
        return {words: RegDBProtocol(query, trial=trial, trained_on=trained_on) for words, query in directions.items()}
    return {words: LLCMProtocol(query) for words, query in directions.items()}


def _group(
    identities: Tensor, cameras: Tensor, of_cameras: Sequence[int] | None = None
) -> dict[tuple[int, int], list[int]]:
    """The rows of each (identity, camera), in this order."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, (identity, camera) in enumerate(zip(identities.tolist(), cameras.tolist(), strict=True)):
        if of_cameras is None or camera in of_cameras:
            groups.setdefault((identity, camera), []).append(row)
    require(len(groups) > 0, "gallery", f"have images of cameras {of_cameras}", sorted(set(cameras.tolist())))
    return dict(sorted(groups.items()))


def _draw_one_each(groups: Mapping[tuple[int, int], list[int]], trials: int) -> list[Tensor]:
    """One row of each group for every trial, drawn as AGW's scripts and those after it do."""
    draws = (random.Random(trial) for trial in range(trials))
    return [torch.tensor([draw.choice(rows) for rows in groups.values()]) for draw in draws]
