"""How every plot looks: light, calm, and told apart by shape as well as by colours that the colour-blind can tell."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito (2008).
BLUE, ORANGE, GREEN, SKY = "#0072B2", "#D55E00", "#007E5C", "#56B4E9"
INK, FAINT, LINE = "#24292F", "#59636E", "#D8DEE4"
# Wide enough for a page, at a size that needs no scaling.
PAGE_INCHES = 10.0

_LONGEST, _FEWEST_TENTHS = 26, 3
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": LINE,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "the same plot is the same file",
    # A label is a name that somebody gave: a dollar sign in it is no formula.
    "text.parse_math": False,
}


@contextmanager
def drawing(inches: tuple[float, float], path: Path) -> Iterator[Figure]:
    """A figure to draw on; at the end it is written to `path`, as SVG or PNG by its suffix."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():  # type: ignore[arg-type]
        # The font that text is measured with lacks some scripts; whoever shows the file brings fonts that have them.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        # No pyplot: it keeps figures, and may look for a screen.
        figure = Figure(figsize=inches, layout="constrained")
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".svg":
            figure.savefig(path, metadata={"Date": None, "Creator": None})
        else:
            figure.savefig(path, dpi=150)


def shortened(label: str, longest: int = _LONGEST) -> str:
    """A name that fits beside an axis; nameless is said to be so."""
    flat = " ".join(label.split()) or "(none)"
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


def share_axis(axes: Axes, lowest: float = 0.0) -> None:
    """A horizontal axis of shares, in percent, with room for marks at its ends."""
    axes.set_xlim(lowest - 0.02 * (1 - lowest), 1 + 0.02 * (1 - lowest))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %" if 0 <= round(value, 6) <= 1 else "")
    axes.grid(axis="y", visible=False)


def round_below(values: Sequence[float]) -> float:
    """Where a percent axis may begin so that it holds all values: a multiple of 10 %, but 0 when near it."""
    lowest = min(values, default=0.0)
    tenths = int(lowest * 10 - 1e-9)
    return tenths / 10 if tenths >= _FEWEST_TENTHS else 0.0
