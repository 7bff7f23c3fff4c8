"""The audit as a picture: every group's difference from the rest, with its interval."""

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

from monitoring.bias import HIDDEN, GroupBias
from monitoring.performance import Interval
from monitoring.short_names import short

_LINE, _TOP, _LEFT, _WIDTH, _RIGHT = 26, 34, 265, 400, 165
_MOST_NAME = 36
_STEPS = (0.05, 0.1, 0.2, 0.5, 1.0)


def forest(groups: Sequence[GroupBias], metric: str) -> Markup:
    """
    A forest plot as inline SVG: a line a group, the rest's value at zero; "" where no group has a difference.

    Every line carries its figures as text, so that nothing is said by colour or place alone.
    """
    shown = [(group, one.difference) for group in groups if group.verdict != HIDDEN and (one := group.rate(metric))]
    shown = [(group, between) for group, between in shown if between.value is not None and between.low is not None]
    if not shown:
        return Markup()
    reach = max(max(abs(between.low or 0), abs(between.high or 0)) for _, between in shown)
    end = next((step for step in _STEPS if step >= reach), 1.0)
    height = _TOP + _LINE * len(shown) + 8
    said = f"{escape(metric)}: difference of each group from the rest, in points"
    parts = [
        f'<svg class="forest" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" role="img" aria-label="{said}">',
        *_axis(end, height),
        *(line for place, (group, between) in enumerate(shown) for line in _line(group, between, end, place)),
        "</svg>",
    ]
    return Markup("".join(parts))  # noqa: S704 - every word from outside was escaped above


def _axis(end: float, height: int) -> list[str]:
    found = []
    for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
        x = _x(share * end, end)
        kind = "zero" if share == 0 else "grid"
        points = f"{100 * share * end:+g}" if share else "like the rest"
        found.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{height - 4}"/>')
        found.append(f'<text class="tick" x="{x:.1f}" y="{_TOP - 16}">{points}</text>')
    return found


def _line(group: GroupBias, between: Interval, end: float, place: int) -> list[str]:
    assert between.value is not None
    assert between.low is not None
    assert between.high is not None
    y = _TOP + _LINE * place + _LINE / 2
    kind = group.verdict.split()[0]
    low, high, at = (_x(value, end) for value in (between.low, between.high, between.value))
    name = short(group.name, _MOST_NAME)
    said = f"{100 * between.value:+.1f} ({100 * between.low:+.1f} to {100 * between.high:+.1f})"
    return [
        f'<g class="{kind}"><title>{escape(group.name)}: {said} points, {escape(group.verdict)}</title>',
        f'<text class="name" x="{_LEFT - 12}" y="{y + 4:.1f}">{escape(name)}</text>',
        f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<circle cx="{at:.1f}" cy="{y:.1f}" r="4.5"/>',
        f'<text class="said" x="{_LEFT + _WIDTH + 10}" y="{y + 4:.1f}">{said}</text></g>',
    ]


def _x(value: float, end: float) -> float:
    return _LEFT + _WIDTH * (max(-end, min(end, value)) + end) / (2 * end)
