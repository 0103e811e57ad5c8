"""What the protocols share: sets in any order, trials, distances, metrics and rankings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from vireid._checks import (
    check_choice,
    check_embeddings,
    check_finite,
    check_identities,
    check_integer,
    check_type,
    is_integral,
    require,
)
from vireid.evaluation.comparison import Distance, check_lengths, compare
from vireid.evaluation.extraction import EmbeddingSet
from vireid.evaluation.metrics import Array, RetrievalMetrics, compute_metrics, to_tensor
from vireid.evaluation.reranking import AffinityInference, KReciprocalReranking, Reranking
from vireid.evaluation.results import Ranking, RetrievalResult
from vireid.modality import Modality

CMCLevel = Literal["identity", "image"]
Part = TypeVar("Part")


class _Labels(NamedTuple):
    """Identities and cameras of images, of which the distances alone are known."""

    identities: Tensor
    cameras: Tensor

    def select(self, rows: Tensor | slice) -> _Labels:
        return _Labels(self.identities[rows], self.cameras[rows])


Images = EmbeddingSet | _Labels
Trial = tuple[Tensor | slice, Tensor]  # rows of the queries, and of the gallery images in the order of ties


class RetrievalProtocol:
    """Evaluate retrieval between two modalities; the base of the published protocols.

    The two sets of embeddings may come in either order: a protocol knows them by their modality.

    ``"cosine"`` is one minus the cosine of the embeddings, as in nearly all published code; ``"euclidean"`` is their
    Euclidean distance without normalisation, and ``"dot"`` the negative inner product, which is the cosine only for
    embeddings of unit length. All are computed in float64. Equal distances rank in the order of the gallery that the
    protocol names: those of equal embeddings are exactly equal, and so are equal Euclidean distances and inner products
    of embeddings that are integers.

    Attributes:
        query_modality: Modality of the queries.
        gallery_modality: Modality of the gallery.
        trials: Number of trials that results average.
    """

    cameras: ClassVar[Mapping[Modality, tuple[int, ...]]] = {}  # of each modality, where the data set fixes them
    uses_cameras = True  # whether the rules of the protocol depend on cameras
    swapped = False  # whether the gallery's images search among the queries

    def __init__(
        self,
        query: Modality | str,
        *,
        trials: int,
        distance: Distance,
        cmc_level: CMCLevel,
        reranking: Reranking | None,
    ) -> None:
        check_choice("query", query, (Modality.VISIBLE.value, Modality.INFRARED.value))
        check_choice("distance", distance, ("cosine", "euclidean", "dot"))
        check_choice("cmc_level", cmc_level, ("identity", "image"))
        rule = "be a KReciprocalReranking, an AffinityInference or None"
        check_type("reranking", reranking, (KReciprocalReranking, AffinityInference, type(None)), rule)
        fits = distance == "cosine" or not isinstance(reranking, AffinityInference)
        require(fits, "distance", "be 'cosine' for affinity inference", distance)
        self.query_modality = Modality(query)
        visible = self.query_modality is Modality.VISIBLE
        self.gallery_modality = Modality.INFRARED if visible else Modality.VISIBLE
        self.trials = check_integer("trials", trials, least=1)
        self.distance = distance
        self.cmc_level: CMCLevel = cmc_level
        self.reranking = reranking

    def evaluate(self, query: EmbeddingSet, gallery: EmbeddingSet) -> RetrievalResult:
        """Evaluate every trial.

        Args:
            query: Embeddings of all test images of one modality.
            gallery: Embeddings of all test images of the other; images of one identity and camera are in the order of
                their names.

        Raises:
            ValueError: If the sets have the same modality or do not match, an embedding is not finite or has no
                direction to compare, a camera is not one of the data set, the gallery cannot be drawn, or no query has
                a match.
            TypeError: If embeddings are not floating point, or identities or cameras are not integers.
        """
        probes, pool = self._roles(*self._order(query, gallery))
        trials = self._draw(probes, pool)
        if self.reranking is None:
            drawn = torch.unique(torch.cat([columns for _, columns in trials]))  # images in no gallery cost nothing
            pool = pool.select(drawn)
            trials = [(rows, torch.searchsorted(drawn, columns)) for rows, columns in trials]
            metrics = self._measure_trials(self._compare(probes, pool), probes, pool, trials)
        else:  # looks at the whole gallery, so that every trial has distances of its own
            pairs = ((probes.select(rows), pool.select(columns)) for rows, columns in trials)
            metrics = [self._measure(self._compare(*pair), *pair) for pair in pairs]
        settings = {**self.settings(), "feature": query.feature}
        return RetrievalResult.of_trials(metrics, str(self) + self._say_other_data(probes), settings)

    def evaluate_trial(self, query: EmbeddingSet, gallery: EmbeddingSet, trial: int = 0) -> RetrievalMetrics:
        """Evaluate one trial.

        Args:
            query: Embeddings, as for :meth:`evaluate`.
            gallery: Embeddings, as for :meth:`evaluate`.
            trial: Trial index, starting at 0.

        Raises:
            ValueError: As for :meth:`evaluate`, or if there is no such trial.
            TypeError: As for :meth:`evaluate`.
        """
        probes, pool, *_ = self._trial(query, gallery, trial)
        return self._measure(self._compare(probes, pool), probes, pool)

    def evaluate_distances(
        self,
        distances: Array,
        query_identities: Array,
        gallery_identities: Array,
        query_cameras: Array | None = None,
        gallery_cameras: Array | None = None,
        *,
        feature: str = "unknown",
    ) -> RetrievalResult:
        """Evaluate every trial from a matrix of distances that you computed.

        Args:
            distances: Distances of all test images of the query modality to all of the gallery modality, finite,
                smaller is nearer. Galleries are drawn from its columns.
            query_identities: Integer identities of the rows.
            gallery_identities: Integer identities of the columns.
            query_cameras: Integer cameras of the rows; RegDB needs none.
            gallery_cameras: Integer cameras of the columns; RegDB needs none.
            feature: Description of how the distances were made, which the result repeats.

        Shape:
            distances q g, identities and cameras q, g, q, g.

        Raises:
            ValueError: If shapes do not match, a distance is not finite, a camera is not one of the data set, the
                gallery cannot be drawn, no query has a match, or the protocol re-ranks.
            TypeError: If identities or cameras are not integers.
        """
        check_type("feature", feature, str, "be a string")
        rule, remedy = "be None for given distances", "Re-rank the distances yourself."
        require(self.reranking is None, "reranking", rule, str(self.reranking), remedy)
        matrix = _check_matrix(distances)
        cameras = {"query_cameras": query_cameras, "gallery_cameras": gallery_cameras}
        for (name, values), rows in zip(cameras.items(), (matrix, matrix.T), strict=True):
            if values is None and not self.uses_cameras:
                cameras[name] = torch.zeros(len(rows), dtype=torch.long)
        query = _check_labels("query", query_identities, cameras["query_cameras"], matrix)
        gallery = _check_labels("gallery", gallery_identities, cameras["gallery_cameras"], matrix.T)
        self._check_cameras("query_cameras", query.cameras, self.query_modality)
        self._check_cameras("gallery_cameras", gallery.cameras, self.gallery_modality)
        probes, pool = self._roles(query, gallery)
        matrix = matrix.T if self.swapped else matrix
        metrics = self._measure_trials(matrix, probes, pool, self._draw(probes, pool))
        settings = {**self.settings(), "distance": "given", "feature": feature}
        title = f"{self._title()}{self._say_other_data(probes)}, given distances"
        return RetrievalResult.of_trials(metrics, title, settings)

    def rank(self, query: EmbeddingSet, gallery: EmbeddingSet, *, trial: int = 0, k: int = 10) -> Ranking:
        """Return the first ``k`` gallery images of every query in one trial, nearest first.

        Args:
            query: Embeddings, as for :meth:`evaluate`.
            gallery: Embeddings, as for :meth:`evaluate`.
            trial: Trial index, starting at 0.
            k: Number of images for each query.

        Raises:
            ValueError: As for :meth:`evaluate`, if there is no such trial, or if ``k`` is less than 1.
            TypeError: As for :meth:`evaluate`.
        """
        k = check_integer("k", k, least=1)
        probes, pool, rows, columns = self._trial(query, gallery, trial)
        distances, excluded = self._compare(probes, pool), self._exclude(probes, pool)
        if excluded is not None:
            distances = distances.masked_fill(excluded, torch.inf)
        nearest, order = (x[:, :k].cpu() for x in distances.sort(dim=1, stable=True))
        if self.distance == "euclidean" and self.reranking is None:
            nearest = nearest.sqrt()
        shown = nearest.isfinite()
        correct = (pool.identities.cpu()[order] == probes.identities.cpu()[:, None]) & shown
        same = (probes.identities[:, None] == pool.identities).to(distances.device)
        missing = (0, k - order.shape[1])
        return Ranking(
            pad(columns[order].masked_fill(~shown, -1), missing, value=-1),
            pad(correct, missing),
            pad(nearest.masked_fill(~shown, torch.nan), missing, value=torch.nan),
            rows,
            *self._roles(self.query_modality, self.gallery_modality),
            (same & distances.isfinite()).any(1).cpu(),
        )

    def settings(self) -> dict[str, str | int]:
        """Return the choices that results name, except for the feature."""
        return {
            "query": self.query_modality.value,
            "gallery": self.gallery_modality.value,
            "distance": self.distance,
            "cmc_level": self.cmc_level,
            "reranking": "none" if self.reranking is None else str(self.reranking),
        }

    def __str__(self) -> str:
        distance = "" if self.distance == "cosine" else f", {self.distance} distance"
        return self._title() + distance + ("" if self.reranking is None else f", {self.reranking}")

    def _title(self) -> str:
        """Name the protocol with the choices that are its own."""
        raise NotImplementedError

    def _say_other_data(self, probes: Images) -> str:
        """Name what keeps results from being those of the published data set, if anything does."""
        return ""

    def _draw(self, probes: Images, pool: Images) -> list[Trial]:
        """Draw the queries and the gallery of every trial."""
        raise NotImplementedError

    def _exclude(self, probes: Images, pool: Images) -> Tensor | None:
        """Mark the images that a query is not to see, q g."""
        return None

    def _roles(self, query: Part, gallery: Part) -> tuple[Part, Part]:
        """Return the side that searches and the side that is searched."""
        return (gallery, query) if self.swapped else (query, gallery)

    def _order(self, query: EmbeddingSet, gallery: EmbeddingSet) -> tuple[EmbeddingSet, EmbeddingSet]:
        """Return the queries and the gallery, told apart by their modality; they fit the protocol and each other."""
        for name, part in (("query", query), ("gallery", gallery)):
            check_type(name, part, EmbeddingSet, "be an EmbeddingSet")
            part.check(name)
            self._check_cameras(f"{name}.cameras", part.cameras, Modality(part.modality))
            check_lengths(f"{name}.embeddings", part.embeddings, self.distance)
        other = "infrared" if query.modality == "visible" else "visible"
        require(gallery.modality == other, "gallery.modality", f"be {other!r}, not that of query", gallery.modality)
        check_embeddings("gallery.embeddings", gallery.embeddings, like=query.embeddings)
        rule = f"be that of query, {query.feature!r}"
        require(gallery.feature == query.feature, "gallery.feature", rule, gallery.feature)
        return (query, gallery) if query.modality == self.query_modality else (gallery, query)

    def _check_cameras(self, argument: str, cameras: Tensor, modality: Modality) -> None:
        allowed = self.cameras.get(modality)
        strange = [] if allowed is None else sorted(set(cameras.tolist()) - set(allowed))
        require(not strange, argument, f"be among {allowed}", strange)

    def _trial(
        self, query: EmbeddingSet, gallery: EmbeddingSet, trial: int
    ) -> tuple[EmbeddingSet, EmbeddingSet, Tensor, Tensor]:
        """Return the queries and the gallery of a trial, and their rows."""
        trial = check_integer("trial", trial, least=0, most=self.trials - 1)
        probes, pool = self._roles(*self._order(query, gallery))
        rows, columns = self._draw(probes, pool)[trial]
        return probes.select(rows), pool.select(columns), torch.arange(len(probes.identities))[rows], columns

    def _compare(self, probes: EmbeddingSet, pool: EmbeddingSet) -> Tensor:
        """Compute the distances q g by which images are ranked."""
        x, y = probes.embeddings, pool.embeddings
        if self.reranking is None:
            return compare(x, y, self.distance)
        x, y = x.double(), y.double()
        return self.reranking(normalize(x), normalize(y)) if self.distance == "cosine" else self.reranking(x, y)

    def _measure(self, distances: Tensor, probes: Images, pool: Images) -> RetrievalMetrics:
        excluded = self._exclude(probes, pool)
        labels = probes.identities, pool.identities
        return compute_metrics(distances, *labels, excluded=excluded, cmc_level=self.cmc_level)

    def _measure_trials(
        self, distances: Tensor, probes: Images, pool: Images, trials: Iterable[Trial]
    ) -> list[RetrievalMetrics]:
        probes, pool = (_Labels(part.identities, part.cameras) for part in (probes, pool))
        return [
            self._measure(distances[rows][:, columns], probes.select(rows), pool.select(columns))
            for rows, columns in trials
        ]


def _check_matrix(distances: Array) -> Tensor:
    matrix = to_tensor("distances", distances).detach()
    require(matrix.dim() == 2 and matrix.numel() > 0, "distances", "have shape (q, g)", tuple(matrix.shape))
    real = matrix.is_floating_point() or is_integral(matrix)
    require(real, "distances", "be real numbers", matrix.dtype, error=TypeError)
    check_finite("distances", matrix)
    return matrix


def _check_labels(side: str, identities: Array, cameras: Array | None, rows: Tensor) -> _Labels:
    """The identities and cameras of the rows of a matrix, as tensors."""
    tensors = []
    for name, values in ((f"{side}_identities", identities), (f"{side}_cameras", cameras)):
        require(values is not None, name, "be given for this protocol", None, error=TypeError)
        tensor = to_tensor(name, values, "be integers").to(rows.device)  # type: ignore[arg-type]
        check_identities(name, tensor, rows)
        tensors.append(tensor)
    return _Labels(*tensors)
