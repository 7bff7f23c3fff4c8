"""The fairness audit as a page for people."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from monitoring.bias import DIFFERS, JUDGED_FROM, BiasReport, GroupBias
from monitoring.performance import Interval
from monitoring.slices import WeakSlices
from monitoring.subgroups.columns import SHOWN_FROM
from monitoring.subgroups.picture import forest
from monitoring.subgroups.rates import ACCURACY, CALIBRATION, FALSE_POSITIVES, PRECISION, RECALL
from monitoring.subgroups.rows import LabelBasis

MOST_PICTURES = 12

_SIDE = 112
_MOST_PIXELS = 64_000_000
_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
)


@dataclass(frozen=True)
class AuditFindings:
    """Everything an audit says: groups, weak slices, and on which labels both rest."""

    report: BiasReport
    slices: WeakSlices
    basis: LabelBasis


def render_audit_html(found: AuditFindings, picture: Callable[[str], bytes | None] = lambda sha256: None) -> str:
    """
    One HTML document that needs nothing else.

    Args:
        found: What the audit says.
        picture: The bytes of an image by its SHA-256; None where it was not kept. At most a dozen are shown.
    """
    page = _PAGES.get_template("audit_page.html")
    return page.render(
        report=found.report,
        slices=found.slices,
        basis=found.basis,
        pictures=_pictures(found.slices, picture),
        differs=worst_first(found.report.groups),
        forests=[(metric, forest(found.report.groups, metric)) for metric in (ACCURACY, RECALL, CALIBRATION)],
        means=(ACCURACY, RECALL, PRECISION, FALSE_POSITIVES),
        calibration=CALIBRATION,
        interval=_interval,
        signed=_signed,
        ratio=_ratio,
        shown=SHOWN_FROM,
        judged=JUDGED_FROM,
    )


def worst_first(groups: Sequence[GroupBias]) -> list[GroupBias]:
    """Those that differ, from what is treated worse than the rest to what is treated better."""
    differing = [group for group in groups if group.verdict == DIFFERS]
    return sorted(differing, key=lambda group: (one.difference.value or 0.0) if (one := group.rate(ACCURACY)) else 0.0)


def _pictures(slices: WeakSlices, picture: Callable[[str], bytes | None]) -> dict[tuple[int, str], str]:
    """A data URI for a dozen examples, by slice and image: the worst of each slice in turn, none of them twice."""
    found: dict[tuple[int, str], str] = {}
    used: set[str] = set()
    longest = max((len(one.examples) for one in slices.found), default=0)
    for place in range(longest):
        for number, one in enumerate(slices.found):
            if place >= len(one.examples) or len(found) >= MOST_PICTURES:
                continue
            sha256 = one.examples[place].image_sha256
            small = thumbnail(picture(sha256)) if sha256 and sha256 not in used else ""
            if small:
                used.add(sha256)
                found[number, sha256] = small
    return found


def thumbnail(content: bytes | None) -> str:
    """A small PNG as a data URI; "" where there is no image or it cannot be read."""
    if content is None:
        return ""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > _MOST_PIXELS:
                return ""
            small = image.convert("RGB")
            small.thumbnail((_SIDE, _SIDE))
    # What an image may be is the sender's choice: none of it may cost the audit.
    except Exception:  # noqa: BLE001 - see above
        return ""
    stream = io.BytesIO()
    small.save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _interval(value: Interval | None) -> str:
    if value is None or value.value is None or value.low is None or value.high is None:
        return "–"
    return f"{100 * value.value:.1f} % ({100 * value.low:.1f} to {100 * value.high:.1f})"


def _signed(value: Interval | None) -> str:
    if value is None or value.value is None or value.low is None or value.high is None:
        return "–"
    return f"{100 * value.value:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"


def _ratio(value: Interval) -> str:
    if value.value is None:
        return "–"
    if value.low is None or value.high is None:
        return f"{value.value:.2f}"
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"
