"""The fairness audit as a page for people."""

from pathlib import Path

import jinja2

from monitoring.bias import JUDGED_FROM, SHOWN_FROM, BiasReport
from monitoring.performance import Interval

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
)


def render_audit_html(report: BiasReport) -> str:
    """One HTML document that needs nothing else."""
    page = _PAGES.get_template("audit_page.html")
    return page.render(report=report, interval=_interval, signed=_signed, shown=SHOWN_FROM, judged=JUDGED_FROM)


def _interval(value: Interval | None) -> str:
    if value is None or value.value is None or value.low is None or value.high is None:
        return "-"
    return f"{100 * value.value:.1f} % ({100 * value.low:.1f} to {100 * value.high:.1f})"


def _signed(value: Interval | None) -> str:
    if value is None or value.value is None or value.low is None or value.high is None:
        return "-"
    return f"{100 * value.value:+.1f} points ({100 * value.low:+.1f} to {100 * value.high:+.1f})"
