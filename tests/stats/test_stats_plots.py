"""Figures: what is given is what is drawn, intervals always, axes honest, text safe, and the same bytes each time."""

import re

import numpy as np
import pytest

from radfoundry.records import Estimate, InputError
from radfoundry.stats import plots

BAND = {"low": [0.0, 0.4, 0.9], "high": [0.2, 0.9, 1.0]}
AREA = Estimate(0.83, 0.71, 0.92, method="DeLong", n=61)
ROC = {"name": "model", "false_positive_rate": [0.0, 0.3, 1.0], "sensitivity": [0.1, 0.7, 1.0], **BAND}
CALIBRATION = {"name": "model", "predicted": [0.1, 0.5, 0.9], "observed": [0.1, 0.6, 0.95], **BAND, "n": [9, 4, 1]}
FROC = {"name": "model", "false_positives": [0.0, 2.0, 8.0], "sensitivity": [0.1, 0.6, 0.95], **BAND}
SURVIVAL = {"name": "arm", "time": [0.0, 12.0, 30.0], "survival": [1.0, 0.8, 0.5], "low": [1.0, 0.6, 0.3],
            "high": [1.0, 0.9, 0.7], "censored": [20.0], "at_risk": {"time": [0.0, 12.0], "n": [17, 11]}}  # fmt: skip
LEARNING = {
    "name": "model",
    "n": [20, 40, 80],
    "value": [0.6, 0.7, 0.75],
    "low": [0.5, 0.6, 0.7],
    "high": [0.7, 0.8, 0.8],
}
RANKS = [Estimate(1.4, 1.1, 1.9), Estimate(2.6, 2.0, 2.9)]
LIMITS = (Estimate(-5, -6, -4), Estimate(6, 5, 7))

DRAWN = {
    "roc": lambda axes=None: plots.plot_roc([{**ROC, "estimate": AREA}], axes=axes),
    "calibration": lambda axes=None: plots.plot_calibration([CALIBRATION], axes=axes),
    "froc": lambda axes=None: plots.plot_froc([FROC], unit="patient", axes=axes),
    "kaplan-meier": lambda axes=None: plots.plot_kaplan_meier([SURVIVAL], time_unit="months", axes=axes),
    "learning": lambda axes=None: plots.plot_learning_curve([LEARNING], quantity="AUROC", target=0.8, axes=axes),
    "forest": lambda axes=None: plots.plot_forest([{"label": "site A", "estimate": AREA}], axis="AUROC", axes=axes),
    "agreement": lambda axes=None: plots.plot_agreement(
        [1, 2, 3], [1, 2, 4], x_label="true (mL)", y_label="predicted (mL)", axes=axes
    ),
    "bland-altman": lambda axes=None: plots.plot_bland_altman(
        [1, 2, 3], [0.1, -2, 3], bias=Estimate(0.4, -1, 2), agreement_limits=LIMITS, unit="mL", axes=axes
    ),
    "critical": lambda axes=None: plots.plot_critical_difference(
        ["a", "b"], RANKS, difference=0.8, groups=[["a", "b"]], axes=axes
    ),
    "map": lambda axes=None: plots.plot_map([1, 2, 3], [3, 2, 1], ["T1w", "T2w", None], title="sequence", axes=axes),
}


def svg(axes, name="f"):
    return plots.to_svg(plots.figure_of(axes), name=name, alt="words")


@pytest.mark.parametrize("kind", DRAWN)
def test_a_figure_is_the_same_bytes_each_time_and_asks_for_nothing(kind):
    first = svg(DRAWN[kind]())
    assert first == svg(DRAWN[kind]())
    assert "http" not in first and "<metadata" not in first and "<!--" not in first
    assert first.startswith("<svg") and first.endswith("</svg>")


@pytest.mark.parametrize("kind", DRAWN)
def test_axes_given_are_the_axes_drawn_on_and_settings_stay(kind):
    import matplotlib
    from matplotlib.figure import Figure

    before = dict(matplotlib.rcParams)
    axes = Figure().add_subplot()
    assert DRAWN[kind](axes) is axes
    assert axes.has_data()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("kind", [kind for kind in DRAWN if kind not in ("map", "critical")])
def test_axes_are_named(kind):
    axes = DRAWN[kind]()
    assert axes.get_xlabel()
    assert axes.get_ylabel() or kind == "forest"


def test_units_reach_the_axes():
    assert DRAWN["kaplan-meier"]().get_xlabel() == "Time (months)"
    assert DRAWN["bland-altman"]().get_ylabel() == "Difference (mL)"
    assert DRAWN["froc"]().get_xlabel() == "False marks per patient"


@pytest.mark.parametrize("kind", ["roc", "calibration"])
def test_shares_are_drawn_from_zero_to_one_on_a_square(kind):
    axes = DRAWN[kind]()
    assert axes.get_xlim() == (0, 1) and axes.get_ylim() == (0, 1) and axes.get_aspect() == 1


def test_survival_and_sensitivity_start_at_zero():
    assert DRAWN["kaplan-meier"]().get_ylim() == (0, 1)
    assert DRAWN["froc"]().get_ylim() == (0, 1)


def test_the_curve_drawn_is_the_curve_given():
    lines = {line.get_label(): line for line in DRAWN["roc"]().get_lines()}
    curve = lines["model: 0.83 (0.71-0.92)"]
    assert curve.get_xdata().tolist() == ROC["false_positive_rate"]
    assert curve.get_ydata().tolist() == ROC["sensitivity"]


def test_the_band_drawn_is_the_band_given():
    band = DRAWN["roc"]().collections[0].get_paths()[0].vertices
    corners = {(round(float(x), 6), round(float(y), 6)) for x, y in band}
    for x, low, high in zip(ROC["false_positive_rate"], BAND["low"], BAND["high"], strict=True):
        assert {(x, low), (x, high)} <= corners


def test_intervals_of_a_forest_reach_from_low_to_high():
    spans = [line.get_xdata() for line in DRAWN["forest"]().get_lines() if len(line.get_xdata()) == 2]
    assert [AREA.low, AREA.high] in [list(map(float, span)) for span in spans]


def test_a_censored_patient_is_marked_on_the_curve():
    marks = [line for line in DRAWN["kaplan-meier"]().get_lines() if line.get_marker() == "|"]
    # At 20 months the curve stands where its last step, at 12 months, left it.
    assert [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks] == [(20.0, 0.8)]


def test_an_undefined_row_keeps_its_place_and_says_why():
    rows = [{"label": "a", "estimate": AREA}, {"label": "b", "estimate": Estimate.undefined("one class only")}]
    texts = [text.get_text() for text in plots.plot_forest(rows, axis="AUROC", reference=0.5).texts]
    assert texts == ["a", "0.83 (0.71-0.92)", "b", "undefined (one class only)"]


@pytest.mark.parametrize(
    ("draw", "curve"),
    [(plots.plot_roc, ROC), (plots.plot_calibration, CALIBRATION), (plots.plot_froc, FROC)],
)
@pytest.mark.parametrize("column", ["low", "high"])
def test_no_curve_without_its_interval(draw, curve, column):
    with pytest.raises(InputError, match=f"without {column}"):
        draw([{key: value for key, value in curve.items() if key != column}])
    with pytest.raises(InputError, match="differ in length"):
        draw([{**curve, column: [0.1]}])


def test_a_bare_number_is_refused():
    with pytest.raises(InputError, match="not an Estimate"):
        plots.plot_forest([{"label": "a", "estimate": 0.8}], axis="AUROC")
    with pytest.raises(InputError, match="not an Estimate"):
        plots.plot_roc([{**ROC, "estimate": 0.8}])


@pytest.mark.parametrize("draw", [plots.plot_roc, plots.plot_calibration, plots.plot_froc])
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(InputError, match="no curve"):
        draw([])


def test_none_in_a_column_is_a_gap():
    axes = plots.plot_roc([{**ROC, "low": [None, 0.4, 0.9]}])
    assert "nan" not in svg(axes).lower()


def test_many_groups_become_the_commonest_and_others():
    labels = [f"site {index % 10}" for index in range(57)] + [None] * 3
    axes = plots.plot_map(np.arange(60.0), np.arange(60.0), labels, title="site")
    told = [collection.get_label() for collection in axes.collections]
    # Sites 0 to 6 have six points each, 7 to 9 five; six names are kept and every point is drawn.
    assert told[-2:] == ["other (21)", "not known (3)"] and len(told) == 8
    assert sum(len(collection.get_offsets()) for collection in axes.collections) == 60


def test_numbers_colour_a_map_by_a_scale():
    axes = plots.plot_map(np.arange(20.0), np.arange(20.0), list(range(20)), title="age (years)")
    assert axes.collections[0].get_array().tolist() == list(range(20))


def test_hostile_labels_are_plain_text():
    hostile = "<script>$\\frac{$&\"'_"
    text = svg(plots.plot_map([1, 2], [1, 2], [hostile, "_under"], title=hostile))
    assert "<script" not in text and "&lt;script&gt;$\\frac{$&amp;" in text and "_under (1)" in text


def test_two_figures_share_no_id():
    first = set(re.findall(r'\bid="([^"]+)"', svg(DRAWN["roc"](), "a")))
    second = set(re.findall(r'\bid="([^"]+)"', svg(DRAWN["roc"](), "b")))
    assert first and not first & second


def test_colours_differ_in_lightness_on_white():
    """Every colour of the palette keeps a contrast of at least 2 on white (WCAG 2.1), all but two at least 3."""
    from radfoundry.stats.plots_style import PALETTE

    def contrast(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)

    ratios = sorted(contrast(colour) for colour in PALETTE)
    assert ratios[0] >= 2 and ratios[2] >= 3


def test_importing_the_module_does_not_load_matplotlib():
    import subprocess
    import sys

    code = "import sys, radfoundry.stats.plots, radfoundry.web.report; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
