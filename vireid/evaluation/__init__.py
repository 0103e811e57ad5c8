"""Evaluation: metrics, the published protocols, re-ranking, a gallery index, and the extraction of embeddings."""

from vireid.evaluation.corrupted import CorruptedProtocol
from vireid.evaluation.evaluate import evaluate
from vireid.evaluation.extraction import EmbeddingSet, extract_embeddings
from vireid.evaluation.index import GalleryIndex, SearchResult
from vireid.evaluation.metrics import RetrievalMetrics, compute_metrics, exclude_same_camera, exclude_same_location
from vireid.evaluation.protocols import LLCMProtocol, RegDBProtocol, SYSUMM01Protocol, create_protocols
from vireid.evaluation.reranking import KReciprocalReranking
from vireid.evaluation.results import Ranking, RetrievalResult, format_results
from vireid.evaluation.retrieval import RetrievalProtocol

__all__ = [
    "CorruptedProtocol",
    "EmbeddingSet",
    "GalleryIndex",
    "KReciprocalReranking",
    "LLCMProtocol",
    "Ranking",
    "RegDBProtocol",
    "RetrievalMetrics",
    "RetrievalProtocol",
    "RetrievalResult",
    "SYSUMM01Protocol",
    "SearchResult",
    "compute_metrics",
    "create_protocols",
    "evaluate",
    "exclude_same_camera",
    "exclude_same_location",
    "extract_embeddings",
    "format_results",
]
