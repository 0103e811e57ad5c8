"""Figures of training and retrieval; the functions return matplotlib figures and need the extra ``viz``."""

from vireid.visualization.attention import grad_cam, plot_maps
from vireid.visualization.bars import plot_bars
from vireid.visualization.curves import plot_curves
from vireid.visualization.distances import plot_distances
from vireid.visualization.embeddings import plot_embeddings, project_embeddings
from vireid.visualization.errors import plot_det, plot_histograms
from vireid.visualization.rankings import plot_rankings

__all__ = [
    "grad_cam",
    "plot_bars",
    "plot_curves",
    "plot_det",
    "plot_distances",
    "plot_embeddings",
    "plot_histograms",
    "plot_maps",
    "plot_rankings",
    "project_embeddings",
]
