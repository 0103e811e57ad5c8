"""Evaluation: metrics, protocols, thresholds, re-ranking, a gallery index, and the extraction of embeddings."""

from vireid.evaluation.calibration import Calibration, ErrorRates, calibrate, compute_error_rates
from vireid.evaluation.corrupted import CorruptedProtocol
from vireid.evaluation.evaluate import evaluate
from vireid.evaluation.extraction import EmbeddingSet, extract_embeddings
from vireid.evaluation.index import GalleryIndex, SearchResult
from vireid.evaluation.metrics import RetrievalMetrics, compute_metrics, exclude_same_camera, exclude_same_location
from vireid.evaluation.open_set import OpenSetMetrics, compute_open_set_metrics
from vireid.evaluation.pairs import PairDistances, compare_pairs
from vireid.evaluation.protocols import LLCMProtocol, OwnProtocol, RegDBProtocol, SYSUMM01Protocol, create_protocols
from vireid.evaluation.reranking import AffinityInference, KReciprocalReranking, create_reranking
from vireid.evaluation.results import Ranking, RetrievalResult, format_results
from vireid.evaluation.retrieval import RetrievalProtocol
from vireid.evaluation.runs import compare_runs, describe_run, format_runs
from vireid.evaluation.tracklets import Tracklets, compare_tracklets, pool_tracklets

__all__ = [
    "AffinityInference",
    "Calibration",
    "CorruptedProtocol",
    "EmbeddingSet",
    "ErrorRates",
    "GalleryIndex",
    "KReciprocalReranking",
    "LLCMProtocol",
    "OpenSetMetrics",
    "OwnProtocol",
    "PairDistances",
    "Ranking",
    "RegDBProtocol",
    "RetrievalMetrics",
    "RetrievalProtocol",
    "RetrievalResult",
    "SYSUMM01Protocol",
    "SearchResult",
    "Tracklets",
    "calibrate",
    "compare_pairs",
    "compare_runs",
    "compare_tracklets",
    "compute_error_rates",
    "compute_metrics",
    "compute_open_set_metrics",
    "create_protocols",
    "create_reranking",
    "describe_run",
    "evaluate",
    "exclude_same_camera",
    "exclude_same_location",
    "extract_embeddings",
    "format_results",
    "format_runs",
    "pool_tracklets",
]
