"""Evaluation: metrics, the published protocols, re-ranking, a gallery index, and the extraction of embeddings."""

from vireid.evaluation.extraction import EmbeddingSet, extract_embeddings
from vireid.evaluation.index import GalleryIndex, SearchResult
from vireid.evaluation.metrics import RetrievalMetrics, compute_metrics, exclude_same_camera, exclude_same_location
from vireid.evaluation.protocols import (
    CorruptedProtocol,
    LLCMProtocol,
    RegDBProtocol,
    RetrievalProtocol,
    RetrievalResult,
    SYSUMM01Protocol,
    create_protocols,
    format_results,
)
from vireid.evaluation.reranking import KReciprocalReranking

__all__ = [
    "CorruptedProtocol",
    "EmbeddingSet",
    "GalleryIndex",
    "KReciprocalReranking",
    "LLCMProtocol",
    "RegDBProtocol",
    "RetrievalMetrics",
    "RetrievalProtocol",
    "RetrievalResult",
    "SYSUMM01Protocol",
    "SearchResult",
    "compute_metrics",
    "create_protocols",
    "exclude_same_camera",
    "exclude_same_location",
    "extract_embeddings",
    "format_results",
]
