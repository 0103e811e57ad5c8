"""The corruption benchmarks, as a protocol over draws of corrupted images."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from vireid._checks import check_integer, check_type, require
from vireid.evaluation.extraction import EmbeddingSet
from vireid.evaluation.metrics import RetrievalMetrics
from vireid.evaluation.results import Ranking, RetrievalResult
from vireid.evaluation.retrieval import RetrievalProtocol

Sets = EmbeddingSet | Iterable[EmbeddingSet]


class CorruptedProtocol:
    """Evaluate on SYSU-MM01-C and RegDB-C: a protocol over several draws of corrupted visible images.

    Only visible images are corrupted: the gallery of SYSU-MM01, the queries of RegDB's visible → infrared and the
    gallery of its other direction. Draw i meets gallery i of the protocol, so that ten draws take SYSU-MM01's ten
    galleries; the mean and standard deviation are those over the draws. The methods are those of the protocol, with an
    iterable of sets, one for each draw, in place of the visible set.

    Args:
        protocol: Protocol such as ``SYSUMM01Protocol()`` or ``RegDBProtocol("visible", …)``.
        draws: Number of draws of the corruptions; 10 in the benchmark.

    Raises:
        ValueError: If ``draws`` is less than 1.
        TypeError: If an argument has another type.

    Example:
        >>> import torch
        >>> from vireid.evaluation import EmbeddingSet, RegDBProtocol
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
        check_type("protocol", protocol, RetrievalProtocol, "be a protocol such as SYSUMM01Protocol()")
        self.protocol = protocol
        self.draws = check_integer("draws", draws, least=1)
        self.query_modality = protocol.query_modality
        self.gallery_modality = protocol.gallery_modality
        self.trials = self.draws

    def evaluate(self, query: Sets, gallery: Sets) -> RetrievalResult:
        """Evaluate every draw.

        Args:
            query: Embeddings of all infrared images, or of the corrupted visible images of each draw, which may be
                computed one after another; in either order.
            gallery: Embeddings of the other modality.

        Raises:
            ValueError: If there are fewer sets than draws, or as for the protocol.
            TypeError: As for the protocol.
        """
        name, drawn, infrared = self._sides(query, gallery)
        metrics = [
            self.protocol.evaluate_trial(*_in_order(name, visible, infrared), draw % self.protocol.trials)
            for draw, visible in enumerate(islice(drawn, self.draws))
        ]
        require(len(metrics) == self.draws, name, f"hold a set for each of {self.draws} draws", len(metrics))
        settings = {**self.protocol.settings(), "draws": self.draws, "feature": infrared.feature}
        return RetrievalResult.of_trials(metrics, str(self), settings)

    def evaluate_trial(self, query: Sets, gallery: Sets, trial: int = 0) -> RetrievalMetrics:
        """Evaluate one draw.

        Args:
            query: Embeddings, as for :meth:`evaluate`.
            gallery: Embeddings, as for :meth:`evaluate`.
            trial: Draw index, starting at 0.

        Raises:
            ValueError: As for :meth:`evaluate`, or if there is no such draw.
            TypeError: As for :meth:`evaluate`.
        """
        pair = self._draw(query, gallery, trial)
        return self.protocol.evaluate_trial(*pair, trial % self.protocol.trials)

    def rank(self, query: Sets, gallery: Sets, *, trial: int = 0, k: int = 10) -> Ranking:
        """Return the first ``k`` gallery images of every query in one draw, nearest first.

        Args:
            query: Embeddings, as for :meth:`evaluate`.
            gallery: Embeddings, as for :meth:`evaluate`.
            trial: Draw index, starting at 0.
            k: Number of images for each query.

        Raises:
            ValueError: As for :meth:`evaluate`, if there is no such draw, or if ``k`` is less than 1.
            TypeError: As for :meth:`evaluate`.
        """
        pair = self._draw(query, gallery, trial)
        return self.protocol.rank(*pair, trial=trial % self.protocol.trials, k=k)

    def __str__(self) -> str:
        return f"Corrupted {self.protocol}, draws × {self.draws}"

    def _sides(self, query: Sets, gallery: Sets) -> tuple[str, Iterable[EmbeddingSet], EmbeddingSet]:
        """Return the name of the argument with the draws, the draws, and the infrared set."""
        sides: dict[str, Any] = {"query": query, "gallery": gallery}
        single = {name: side for name, side in sides.items() if isinstance(side, EmbeddingSet)}
        infrared = [name for name, side in single.items() if side.modality == "infrared"]
        drawn = "query" if infrared == ["gallery"] else "gallery"
        other = "gallery" if drawn == "query" else "query"
        rule = "be the EmbeddingSet of the infrared images, or an iterable of visible ones"
        require(infrared == [other], other, rule, type(sides[other]).__name__, error=TypeError)
        several = isinstance(sides[drawn], Iterable) and drawn not in single
        rule = "be an iterable of EmbeddingSet, one for each draw"
        require(several, drawn, rule, type(sides[drawn]).__name__, error=TypeError)
        return drawn, sides[drawn], sides[other]

    def _draw(self, query: Sets, gallery: Sets, trial: int) -> tuple[EmbeddingSet, EmbeddingSet]:
        trial = check_integer("trial", trial, least=0, most=self.draws - 1)
        name, drawn, infrared = self._sides(query, gallery)
        visible = list(islice(drawn, trial, trial + 1))
        require(len(visible) == 1, name, f"hold a set for draw {trial}", "fewer")
        return _in_order(name, visible[0], infrared)


def _in_order(name: str, visible: EmbeddingSet, infrared: EmbeddingSet) -> tuple[EmbeddingSet, EmbeddingSet]:
    """Return the two sets in the order of the arguments, of which ``name`` holds the visible one, for errors."""
    return (visible, infrared) if name == "query" else (infrared, visible)
