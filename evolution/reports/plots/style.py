"""The look of every figure, in reports as in claims: colours, line styles, percent."""

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axis import Axis

# Okabe and Ito's palette, told apart by colour-blind readers; greys for what has no plasticity.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#6A3D9A", "#000000")
GREYS = ("#555555", "#9A9A9A", "#222222", "#C4C4C4")
STYLES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", (0, (4, 1.6)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "D", "s", "^", "v", "P", "X")
DPI = 150
"""Of the PNG files."""

RC: dict[Any, Any] = {
    "axes.prop_cycle": f"cycler('color', {list(PALETTE)})",  # what "C0" to "C8" stand for too
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
}


def strokes(names: Sequence[str], grey: Container[str] = ()) -> dict[str, dict[str, Any]]:
    """How lines of these names are drawn, in this order, so that each shows where others coincide with it.

    Each has a colour of its own, one of the greys if it is among `grey`, another style than its neighbours, and is
    thinner than those below it.
    """
    colours = {shade: iter(shades * len(names)) for shade, shades in ((True, GREYS), (False, PALETTE))}
    return {
        name: {
            "color": next(colours[name in grey]),
            "ls": STYLES[place % len(STYLES)],
            "lw": line_width(place, len(names)),
        }
        for place, name in enumerate(names)
    }


def line_width(place: int, n_lines: int) -> float:
    """Of one of so many lines that may coincide, the first at the bottom."""
    return 2.0 if n_lines == 1 else 3.6 - 2.2 * place / (n_lines - 1)


def percent(axis: "Axis") -> None:
    """Write an axis's shares as the tables do."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
