"""The published protocols, as presets over :func:`compute_metrics`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vireid._checks import check_choice, require
from vireid.evaluation.extraction import EmbeddingSet
from vireid.evaluation.metrics import compute_metrics, exclude_same_location


@dataclass(frozen=True)
class RetrievalResult:
    """Metrics of a protocol over its trials, as shares from 0 to 1; printed as papers print them, in percent.

    Attributes:
        protocol: what was evaluated, in words.
        cmc: trials × ranks.
        mAP: of each trial.
        mINP: of each trial.
        valid_queries: queries with a match, in each trial.
        queries: all queries.
    """

    protocol: str
    cmc: Tensor
    mAP: Tensor  # noqa: N815
    mINP: Tensor  # noqa: N815
    valid_queries: tuple[int, ...]
    queries: int

    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation over the trials of rank-1, -5, -10, -20, mAP and mINP, as far as computed."""
        trials = {f"rank-{rank}": self.cmc[:, rank - 1] for rank in (1, 5, 10, 20) if rank <= self.cmc.shape[1]}
        trials |= {"mAP": self.mAP, "mINP": self.mINP}
        return {name: (x.mean().item(), x.std(correction=0).item()) for name, x in trials.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and lists, for JSON."""
        return {
            "protocol": self.protocol,
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
    cosine of the embeddings, in float64; CMC ranks identities.

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
            ValueError: the embeddings do not match, the cameras are not those of the protocol, or no query has a match.
        """
        distances = self._distances(query, gallery)
        excluded = self._excluded(query, gallery)
        trials = [
            compute_metrics(distances[:, rows], query.identities, gallery.identities[rows], excluded=excluded[:, rows])
            for rows in self.galleries(gallery.identities, gallery.cameras)
        ]
        return RetrievalResult(
            protocol=str(self),
            cmc=torch.stack([trial.cmc for trial in trials]),
            mAP=torch.tensor([trial.mAP for trial in trials], dtype=torch.float64),
            mINP=torch.tensor([trial.mINP for trial in trials], dtype=torch.float64),
            valid_queries=tuple(int(trial.valid.sum()) for trial in trials),
            queries=len(query.identities),
        )

    def rank(self, query: EmbeddingSet, gallery: EmbeddingSet, *, trial: int = 0, k: int = 10) -> tuple[Tensor, Tensor]:
        """The first ``k`` gallery images of every query in one trial, best first.

        Returns:
            The rows of ``gallery``, q k, and whether each shows the query's identity, q k. Images that a query is not
            to see are left out; where fewer than k remain, the row ends with −1.

        Raises:
            ValueError: as for :meth:`evaluate`, or there is no such trial.
        """
        require(0 <= trial < self.trials, "trial", f"be from 0 to {self.trials - 1}", trial)
        require(k >= 1, "k", "be at least 1", k)
        rows = self.galleries(gallery.identities, gallery.cameras)[trial]
        distances = self._distances(query, gallery)[:, rows]
        distances = distances.masked_fill(self._excluded(query, gallery)[:, rows], torch.inf)
        nearest, order = distances.sort(dim=1, stable=True)
        found = rows[order[:, :k]].masked_fill(nearest[:, :k].isinf(), -1)
        return found, (gallery.identities[found] == query.identities[:, None]) & (found >= 0)

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
        return [rows[i] for i in order[trial, : self.shots].tolist()]

    def _distances(self, query: EmbeddingSet, gallery: EmbeddingSet) -> Tensor:
        for name, (embeddings, identities, cameras) in {"query": query, "gallery": gallery}.items():
            require(embeddings.ndim == 2, f"{name}.embeddings", "have shape (n, d)", tuple(embeddings.shape))
            for field, values in {"identities": identities, "cameras": cameras}.items():
                rule = f"have shape ({len(embeddings)},), one for each embedding"
                require(values.shape == embeddings.shape[:1], f"{name}.{field}", rule, tuple(values.shape))
        width = query.embeddings.shape[1]
        shape = tuple(gallery.embeddings.shape)
        require(shape[1] == width, "gallery.embeddings", f"have d = {width} like those of query", shape)
        strange = sorted(set(query.cameras.tolist()) - set(self.query_cameras))
        require(not strange, "query.cameras", f"be among {self.query_cameras}", strange)
        return 1 - normalize(query.embeddings.double()) @ normalize(gallery.embeddings.double()).T

    def _excluded(self, query: EmbeddingSet, gallery: EmbeddingSet) -> Tensor:
        locations = query.cameras.masked_fill(query.cameras == 3, 2)
        return exclude_same_location(locations, gallery.cameras)
