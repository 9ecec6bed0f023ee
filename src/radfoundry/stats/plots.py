"""The figures of the house under one roof; each takes plain numbers, draws intervals, and computes nothing."""

from radfoundry.stats.plots_compare import (
    plot_agreement,
    plot_bland_altman,
    plot_critical_difference,
    plot_forest,
    plot_map,
)
from radfoundry.stats.plots_curves import (
    plot_calibration,
    plot_froc,
    plot_kaplan_meier,
    plot_learning_curve,
    plot_roc,
)
from radfoundry.stats.plots_style import figure_of, style, to_svg

__all__ = [
    "figure_of",
    "plot_agreement",
    "plot_bland_altman",
    "plot_calibration",
    "plot_critical_difference",
    "plot_forest",
    "plot_froc",
    "plot_kaplan_meier",
    "plot_learning_curve",
    "plot_map",
    "plot_roc",
    "style",
    "to_svg",
]
