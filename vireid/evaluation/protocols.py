"""The published protocols, as presets over :func:`compute_metrics`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from vireid._checks import check_choice, check_embeddings, require
from vireid.evaluation.extraction import EmbeddingSet
from vireid.evaluation.metrics import RetrievalMetrics, compute_metrics, exclude_same_location


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

    def __str__(self) -> str:
        row = "  ".join(f"{name} {100 * mean:.2f} ± {100 * std:.2f}" for name, (mean, std) in self.summary().items())
        return f"{self.protocol}: {row}"


class SYSUMM01Protocol:
    """SYSU-MM01: infrared queries against galleries drawn from the visible images, averaged over the trials.

    All infrared images of the test identities are queries. In every trial the gallery has ``shots`` images of each
    identity from each visible camera: 1, 2, 4 and 5 for all search, the indoor ones 1 and 2 for indoor search. Camera 3
    stands where camera 2 does; a query does not see the gallery images of its own place. Distances are one minus the
    cosine of the embeddings, taken in float64 whatever their length and type, so that rounding makes no ties; CMC ranks
    identities, of which a small gallery may have fewer than 20: past the last one CMC stays 1.

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

    Raises:
        ValueError: an argument is unknown or out of its range, or they do not fit together.

    Example:
        >>> query = EmbeddingSet(torch.eye(2), torch.tensor([1, 2]), torch.tensor([3, 6]))
        >>> gallery = EmbeddingSet(torch.eye(2), torch.tensor([1, 2]), torch.tensor([1, 4]))
        >>> SYSUMM01Protocol().evaluate(query, gallery).mAP.mean()
        tensor(1., dtype=torch.float64)

    References:
        Wu et al., RGB-Infrared Cross-Modality Person Re-Identification, ICCV 2017; Ye et al., Deep Learning for Person
        Re-identification, TPAMI 2021.
    """

    gallery_cameras = {"all": (1, 2, 4, 5), "indoor": (1, 2)}  # noqa: RUF012
    query_cameras = (3, 6)
    locations = {3: 2}  # noqa: RUF012

    def __init__(
        self,
        search: Literal["all", "indoor"] = "all",
        *,
        shots: int = 1,
        gallery: Literal["agw", "official"] = "agw",
        permutations: Mapping[tuple[int, int], np.ndarray] | None = None,
        trials: int = 10,
    ) -> None:
        check_choice("search", search, self.gallery_cameras)
        check_choice("gallery", gallery, ("agw", "official"))
        require(shots >= 1, "shots", "be at least 1", shots)
        require(trials >= 1, "trials", "be at least 1", trials)
        remedy = 'Only gallery="official" has several images of an identity.'
        require(gallery == "official" or shots == 1, "shots", "be 1 for the galleries of AGW", shots, remedy)
        rule, remedy = 'be given for gallery="official"', "SYSUMM01(root).gallery_permutations() reads them."
        require(gallery == "agw" or permutations is not None, "permutations", rule, None, remedy)
        self.search = search
        self.shots = shots
        self.gallery = gallery
        self.permutations = permutations
        self.trials = trials

    def __str__(self) -> str:
        shots = "single-shot" if self.shots == 1 else f"{self.shots}-shot"
        return f"SYSU-MM01 {self.search} search, {shots}, {self.gallery} galleries × {self.trials}"

    def evaluate(self, query: EmbeddingSet, gallery: EmbeddingSet) -> RetrievalResult:
        """Evaluate every trial.

        Args:
            query: the infrared images of the test identities.
            gallery: all their visible images, those of one identity and camera in the order of their names.

        Raises:
            ValueError: the embeddings do not match or are not finite, the cameras are not those of the protocol, the
                official permutations do not fit the images, or no query has a match.
            TypeError: embeddings are not floating point, or identities or cameras are not integers.
        """
        self._check(query, gallery)
        galleries = self.galleries(gallery.identities, gallery.cameras)
        drawn = torch.unique(torch.cat(galleries))
        pool = EmbeddingSet(*(field[drawn] for field in gallery))  # what no trial has drawn costs nothing
        distances, excluded = self._compare(query, pool)
        trials = [
            compute_metrics(
                distances[:, columns], query.identities, pool.identities[columns], excluded=excluded[:, columns]
            )
            for columns in (torch.searchsorted(drawn, rows) for rows in galleries)
        ]
        settings = {"search": self.search, "shots": self.shots, "gallery": self.gallery, "cmc_level": "identity"}
        return RetrievalResult.of_trials(trials, str(self), settings)

    def rank(self, query: EmbeddingSet, gallery: EmbeddingSet, *, trial: int = 0, k: int = 10) -> tuple[Tensor, Tensor]:
        """The first ``k`` gallery images of every query in one trial, best first.

        Args:
            query: as for :meth:`evaluate`.
            gallery: as for :meth:`evaluate`.
            trial: which gallery, from 0.
            k: images of each query.

        Returns:
            The rows of ``gallery``, q k, and whether each shows the query's identity, q k, both on the CPU. Images that
            a query is not to see are left out; where fewer than k remain, the row ends with −1.

        Raises:
            ValueError: as for :meth:`evaluate`, there is no such trial, or k is less than 1.
            TypeError: as for :meth:`evaluate`.
        """
        require(0 <= trial < self.trials, "trial", f"be from 0 to {self.trials - 1}", trial)
        require(k >= 1, "k", "be at least 1", k)
        self._check(query, gallery)
        rows = self.galleries(gallery.identities, gallery.cameras)[trial]
        distances, excluded = self._compare(query, EmbeddingSet(*(field[rows] for field in gallery)))
        nearest, order = distances.masked_fill(excluded, torch.inf).sort(dim=1, stable=True)
        shown = nearest[:, :k].isfinite().cpu()
        found = rows[order[:, :k].cpu()].masked_fill(~shown, -1)
        correct = (gallery.identities.cpu()[found] == query.identities.cpu()[:, None]) & shown
        missing = (0, k - found.shape[1])
        return pad(found, missing, value=-1), pad(correct, missing)

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
        groups: dict[tuple[int, int], list[int]] = {}
        for row, (identity, camera) in enumerate(zip(identities.tolist(), cameras.tolist(), strict=True)):
            if camera in self.gallery_cameras[self.search]:
                groups.setdefault((identity, camera), []).append(row)
        rule = f"have images of cameras {self.gallery_cameras[self.search]}"
        require(len(groups) > 0, "gallery", rule, sorted(set(cameras.tolist())))
        ordered = sorted(groups.items())
        if self.gallery == "official":
            return [
                torch.tensor([row for key, rows in ordered for row in self._official(key, rows, trial)])
                for trial in range(self.trials)
            ]
        draws = (random.Random(trial) for trial in range(self.trials))
        return [torch.tensor([draw.choice(rows) for _, rows in ordered]) for draw in draws]

    def _official(self, key: tuple[int, int], rows: list[int], trial: int) -> list[int]:
        identity, camera = key
        order = np.asarray((self.permutations or {}).get((camera, identity), ()))
        rule = f"order the {len(rows)} images of camera {camera}, identity {identity} in {self.trials} trials"
        fits = order.ndim == 2 and order.shape[0] >= self.trials and order.shape[1] == len(rows)
        require(fits, "permutations", rule, order.shape)
        row = order[trial].tolist()
        require(sorted(row) == list(range(len(rows))), "permutations", f"{rule}, from 0", row)
        return [rows[i] for i in row[: self.shots]]

    def _check(self, query: EmbeddingSet, gallery: EmbeddingSet) -> None:
        query.check("query")
        gallery.check("gallery")
        check_embeddings("gallery.embeddings", gallery.embeddings, like=query.embeddings)
        for name, cameras, allowed in (
            ("query", query.cameras, self.query_cameras),
            ("gallery", gallery.cameras, self.gallery_cameras["all"]),
        ):
            strange = sorted(set(cameras.tolist()) - set(allowed))
            require(not strange, f"{name}.cameras", f"be among {allowed}", strange)

    def _compare(self, query: EmbeddingSet, gallery: EmbeddingSet) -> tuple[Tensor, Tensor]:
        """Distances q g, and which images a query is not to see, q g."""
        distances = 1 - normalize(query.embeddings.double()) @ normalize(gallery.embeddings.double()).T
        return distances, exclude_same_location(query.cameras, gallery.cameras, self.locations)
