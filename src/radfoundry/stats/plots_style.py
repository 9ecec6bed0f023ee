"""One look for every figure, and figures as SVG text that comes out the same byte for byte each time."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

from radfoundry.records import Estimate, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common colour vision. Yellow is left
# out because it cannot be read on white; every series also differs in dash and marker for grey print.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (6, 1.5)), (0, (3, 1.5, 1, 1.5, 1, 1.5)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#767676"
INK = "#1b1f24"
WIDTH_IN = 4.5
LABEL_LIMIT = 48

SETTINGS: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "figure.dpi": 96.0,
    "savefig.facecolor": "white",
    # Text stays text: it can be searched, read aloud and enlarged, and labels may hold any character.
    "svg.fonttype": "none",
    "text.parse_math": False,
}


@contextmanager
def style() -> Generator[None]:
    """Everything drawn inside the block has the house look; settings outside it stay as they were."""
    import matplotlib

    settings: Any = dict(SETTINGS)
    with matplotlib.rc_context(settings):
        yield


def new_axes(*, width_in: float = WIDTH_IN, height_in: float = 4.0) -> Axes:
    """Empty axes in a figure of their own, outside pyplot's global list; call inside `style()`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    return figure.add_subplot()


def figure_of(axes: Axes) -> Figure:
    """The whole figure that some axes belong to, for saving."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise InputError("the axes belong to no figure", remedy="draw on axes that are part of a figure")
    return figure


def legend(axes: Axes, *, own: bool) -> None:
    """A legend below the axes, where it never hides data; inside them when the figure is the caller's."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    if own:
        figure_of(axes).legend(handles, labels, loc="outside lower left", alignment="left", handlelength=2.6)
    else:
        axes.legend(handles, labels, loc="best", handlelength=2.6)


def label_of(text: Any) -> str:
    """A name short enough for a legend; a leading underscore would hide it from matplotlib's legend."""
    flat = " ".join(str(text).split())
    short = flat if len(flat) <= LABEL_LIMIT else flat[: LABEL_LIMIT - 1].rstrip() + "…"
    return "\u200b" + short if short.startswith("_") else short


def estimate_of(value: Any) -> Estimate:
    """An Estimate from itself or from its plain dictionary; a bare number is refused."""
    if isinstance(value, Estimate):
        return value
    if isinstance(value, Mapping) and "value" in value:
        return Estimate.from_dict(value)
    raise InputError(
        f"{value!r} is not an Estimate", remedy="give value, low, high, method and n", finding="bare-number"
    )


def columns(curve: Mapping[str, Any], names: Sequence[str], *, where: str) -> tuple[np.ndarray, ...]:
    """Equally long float columns of a curve; None reads as NaN. Refuses a missing, short or wrong column."""
    found = []
    for name in names:
        if name not in curve:
            raise InputError(f"a curve without {name}", where=where, remedy=f"give {', '.join(names)}")
        try:
            found.append(np.asarray(curve[name], dtype=float))
        except (TypeError, ValueError):
            raise InputError(f"{name} is not a list of numbers", where=where) from None
    lengths = {name: column.shape for name, column in zip(names, found, strict=True)}
    if len(set(lengths.values())) != 1 or found[0].ndim != 1:
        told = ", ".join(f"{name} {shape}" for name, shape in lengths.items())
        raise InputError(f"columns differ in length: {told}", where=where, remedy="give one value per point")
    return tuple(found)


def limits(*arrays: np.ndarray, margin: float = 0.05) -> tuple[float, float]:
    """A common range that holds every finite value with a little room on both sides."""
    joined = np.concatenate([np.asarray(array, dtype=float).ravel() for array in arrays])
    finite = joined[np.isfinite(joined)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    room = margin * (high - low) or 0.5 * max(abs(high), 1.0)
    return low - room, high + room


def number(value: float) -> str:
    """A tick or legend number without trailing zeros.

    >>> number(0.25), number(1200.0)
    ('0.25', '1200')
    """
    return "undefined" if math.isnan(value) else f"{value:.6g}"


def to_svg(figure: Figure, *, name: str, alt: str) -> str:
    """The figure as inline SVG with a text alternative, identical on every call.

    `name` (letters, digits, hyphens) keeps the ids of several figures on one page apart. The result
    refers to nothing outside itself and carries no date.
    """
    buffer = io.StringIO()
    with style():
        import matplotlib

        matplotlib.rcParams["svg.hashsalt"] = "radfoundry"
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="([^"]+)"', head)
    # Only markup inside tags is touched: a label that reads like an id stays as it was written.
    body = re.sub(r"<[^>]*>", lambda match: _prefixed(match.group(), name), body)
    width = figure.get_size_inches()[0]
    # matplotlib's style rule would apply to the whole page that holds the figure.
    body = body.replace("*{stroke", f"#{name} *{{stroke", 1)
    opening = f'<svg id="{name}" viewBox="{box.group(1) if box else ""}" role="img" aria-labelledby="{name}-alt"'
    return f'{opening} style="width:{width * 96:.0f}px"><title id="{name}-alt">{escape(alt)}</title>{body}'


def _prefixed(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'xlink:href="#', f'href="#{name}-', tag)
    return tag.replace("url(#", f"url(#{name}-")
