"""Figures of training and retrieval; the functions return matplotlib figures and need the extra ``viz``."""

from vireid.visualization.curves import plot_curves
from vireid.visualization.rankings import plot_rankings

__all__ = ["plot_curves", "plot_rankings"]
