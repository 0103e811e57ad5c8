"""Evaluation: metrics, the published protocols, and the extraction of embeddings."""

from vireid.evaluation.extraction import EmbeddingSet, extract_embeddings
from vireid.evaluation.metrics import RetrievalMetrics, compute_metrics, exclude_same_camera, exclude_same_location
from vireid.evaluation.protocols import RetrievalResult, SYSUMM01Protocol

__all__ = [
    "EmbeddingSet",
    "RetrievalMetrics",
    "RetrievalResult",
    "SYSUMM01Protocol",
    "compute_metrics",
    "exclude_same_camera",
    "exclude_same_location",
    "extract_embeddings",
]
