"""The gate's comparisons as a forest plot: each loss with what is not ruled out, beside the margin it must stay in."""

from collections.abc import Sequence
from pathlib import Path

from models.gate_records import OLD, CheckRow, GateDecision
from models.plot_style import BLUE, FAINT, GREEN, INK, ORANGE, PAGE_INCHES, drawing, shortened

_MOST = 40
_COLOURS = {"passed": GREEN, "failed": ORANGE, "undecided": BLUE, "noted": FAINT}
_MARKS = {"passed": "o", "failed": "X", "undecided": "D", "noted": "s"}
_WORDS = {"passed": "passed", "failed": "failed", "undecided": "undecided", "noted": "too few images to judge"}
_ORDER = {"failed": 0, "undecided": 1, "passed": 2, "noted": 3}
_ROW_INCHES, _EDGE_INCHES = 0.27, 1.3


def draw_forest(decision: GateDecision, path: Path) -> bool:
    """
    Draw it, as SVG or PNG by the suffix; False, and nothing is drawn, where nothing was compared.

    Floors are left out: they are no losses. Groups too small to object are left out as well, and past forty rows those
    that passed with most to spare.
    """
    rows = shown(decision.checks)
    if not rows:
        return False
    with drawing((PAGE_INCHES, _EDGE_INCHES + _ROW_INCHES * len(rows)), path) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=FAINT, linewidth=1.0)
        told = set()
        for place, one in enumerate(rows):
            colour, mark = _COLOURS.get(one.result, INK), _MARKS.get(one.result, "o")
            axes.plot([100 * one.loss, 100 * one.bound], [place] * 2, color=colour, linewidth=1.7, alpha=0.8)
            axes.plot([100 * one.bound] * 2, [place - 0.18, place + 0.18], color=colour, linewidth=1.4, alpha=0.8)
            label = None if one.result in told else _WORDS.get(one.result, one.result)
            axes.plot(100 * one.loss, place, mark, color=colour, label=label, linestyle="none")
            told.add(one.result)
            margin = None if "margin" in told else "margin: what must be ruled out"
            axes.plot([100 * one.margin] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=2.0, label=margin)
            told.add("margin")
        names = [f"{_name(one)}  (n = {one.images})" for one in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("loss against the champion in points, up to what the test does not rule out; left of 0: better")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.2)
    return True


def shown(checks: Sequence[CheckRow]) -> list[CheckRow]:
    """The comparisons that a picture shows, the overall ones first, then what speaks most against the candidate."""
    compared = [one for one in checks if not one.name.endswith("floor") and one.status != "listed"]
    compared.sort(key=lambda one: (_ORDER.get(one.result, 3), one.margin - one.bound))
    return sorted(compared[:_MOST], key=lambda one: one.group != "overall")


def _name(one: CheckRow) -> str:
    group = "" if one.group == "overall" else f" {one.group}"
    scope = "" if one.scope == OLD else f", {one.scope}"
    return shortened(f"{one.name}{group}{scope}", 44)
