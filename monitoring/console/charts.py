"""The figures of the page, as JSON for the browser; colours are names of the style sheet's variables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import plotly.graph_objects as go
from plotly.io.json import to_json_plotly

_SERIES = tuple(f"var(--series-{number})" for number in range(1, 9))
_PERCENT = ".0%"
PROMOTION, CUT = "promotion", "cut"


@dataclass(frozen=True)
class Mark:
    """A moment to be marked in the charts; `kind` is "promotion", "cut" (another method's), or an alarm's lane."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True)
class Line:
    """One series; `low`, `high` draw a band, `notes` show under the pointer, `joined` bridges gaps."""

    name: str
    at: tuple[datetime, ...]
    values: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    notes: tuple[str, ...] = ()
    joined: bool = True
    dashed: bool = False


def shares(lines: Sequence[Line], marks: Iterable[Mark], limit: Line | None = None, *, from_zero: bool = True) -> str:
    """Shares of 0..1 over time, with a dashed limit."""
    figure = go.Figure()
    for position, line in enumerate(lines):
        _draw(figure, line, _SERIES[position % len(_SERIES)], _PERCENT)
    if limit is not None:
        _draw_limit(figure, limit, _PERCENT)
    shown = [value for line in lines for value in (*line.values, *line.low) if value is not None]
    least = 0.0 if from_zero or not shown else max(0.0, min(shown) - 0.05)
    figure.update_yaxes(tickformat=_PERCENT, range=[least, 1.02])
    return _finished(figure, marks)


def evidence(lines: Sequence[Line], marks: Iterable[Mark], farthest: float) -> str:
    """
    Evidence of one lane's detectors in powers of ten beside the threshold of each: at 0 it alarms.

    farthest: the largest log10 threshold, which is how far below 0 a line can begin.
    """
    figure = go.Figure()
    for position, line in enumerate(lines):
        _draw(figure, line, _SERIES[position % len(_SERIES)], "+.1f")
    at = tuple(moment for line in lines for moment in line.at)
    ends = (min(at), max(at)) if at else ()
    _draw_limit(figure, Line("alarm", ends, (0.0,) * len(ends)), ".0f")
    # Evidence grows without end once a change is plain; what matters is where it crosses the line.
    figure.update_yaxes(range=[-1.1 * farthest, 0.6 * farthest])
    # The list of detectors below the chart is its legend.
    figure.update_layout(showlegend=False)
    return _finished(figure, marks)


def _draw(figure: go.Figure, line: Line, colour: str, number: str) -> None:
    if line.low and line.high:
        for known in _bands(line):
            figure.add_scatter(
                x=[*(at for at, _, _ in known), *(at for at, _, _ in reversed(known))],
                y=[*(high for _, _, high in known), *(low for _, low, _ in reversed(known))],
                fill="toself", fillcolor="var(--guess-band)" if line.dashed else "var(--band)", line={"width": 0},
                hoverinfo="skip", showlegend=False,
            )  # fmt: skip
    figure.add_scatter(
        x=list(line.at),
        y=list(line.values),
        name=line.name,
        mode="lines+markers",
        line={"color": colour, "width": 2, **({"dash": "5px,4px"} if line.dashed else {})},
        marker={"size": 5 if len(line.at) < 60 else 1, "color": colour},  # noqa: PLR2004 - dots that touch are a smear
        connectgaps=line.joined,
        customdata=list(line.notes) or None,
        hovertemplate=f"%{{y:{number}}}"
        + (" · %{customdata}" if line.notes else "")
        + "<extra>%{fullData.name}</extra>",
    )


def _bands(line: Line) -> list[list[tuple[datetime, float, float]]]:
    """The band in one piece, or in one for each stretch between gaps where the line has them, too."""
    pieces: list[list[tuple[datetime, float, float]]] = [[]]
    for at, low, high in zip(line.at, line.low, line.high, strict=True):
        if low is not None and high is not None:
            pieces[-1].append((at, low, high))
        elif not line.joined:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _draw_limit(figure: go.Figure, limit: Line, number: str) -> None:
    figure.add_scatter(
        x=list(limit.at),
        y=list(limit.values),
        name=limit.name,
        mode="lines",
        line={"color": "var(--bad)", "width": 1.5, "dash": "6px,5px"},
        hovertemplate=f"%{{y:{number}}}<extra>%{{fullData.name}}</extra>",
    )


def _finished(figure: go.Figure, marks: Iterable[Mark]) -> str:
    drawn = [at for trace in figure.data for at in trace.x or ()]
    axis = {"gridcolor": "var(--line)", "linecolor": "var(--line)", "tickcolor": "var(--line)", "zeroline": False}
    figure.update_xaxes(**axis, showgrid=False, nticks=8, tickformat=_time_format(drawn), hoverformat="%-d %b %H:%M:%S")
    figure.update_yaxes(**axis, fixedrange=True, nticks=6)
    figure.update_layout(
        template=None,
        margin={"l": 44, "r": 12, "t": 26, "b": 28},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "var(--dim)", "size": 12.5, "family": "Inter, system-ui, sans-serif"},
        hovermode="x unified",
        hoverlabel={"bgcolor": "var(--card)", "bordercolor": "var(--line)", "font": {"color": "var(--ink)"}},
        legend={"orientation": "h", "y": -0.14, "x": 0, "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
        dragmode=False,
        # The reader's choice of series survives a refresh.
        uirevision="kept",
    )
    document = figure.to_dict()
    # Into the finished document: checked one by one by the library, two hundred marks take it ten seconds.
    for mark, named in _placed(marks, drawn):
        shape, text = _drawn_mark(mark)
        document["layout"].setdefault("shapes", []).append(shape)
        if named:
            document["layout"].setdefault("annotations", []).append(text)
    finished: str = to_json_plotly(document)
    return finished


def _drawn_mark(mark: Mark) -> tuple[dict[str, Any], dict[str, Any]]:
    """A line from top to bottom, and its word above."""
    alarm = mark.kind != PROMOTION
    colour = {PROMOTION: "var(--accent)", CUT: "var(--dim)"}.get(mark.kind, "var(--bad)")
    at = mark.at.isoformat()
    line = {"color": colour, "width": 1.2, "dash": "2px,3px" if alarm else "solid"}
    shape = {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "layer": "below", "line": line}
    place = {"x": at, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
    return shape, {**place, "text": mark.text, "font": {"size": 11.5, "color": colour}}


def _time_format(drawn: Sequence[datetime]) -> str:
    """One line per tick: the date only where the chart spans more than a day."""
    span = max(drawn) - min(drawn) if drawn else timedelta(0)
    if span < timedelta(minutes=5):
        return "%H:%M:%S"
    return "%H:%M" if span < timedelta(days=1) else "%-d %b %H:%M" if span < timedelta(days=4) else "%-d %b"


def _placed(marks: Iterable[Mark], drawn: Sequence[datetime]) -> list[tuple[Mark, bool]]:
    """Marks within the chart, each moment once, and whether its text has room beside the one before."""
    if not drawn:
        return []
    first, last = min(drawn), max(drawn)
    # A narrow screen shows six short words beside each other; sixty lines are the most that stay lines.
    room, apart = (last - first) / 6, (last - first) / 60
    moments = {(mark.at, mark.text): mark for mark in marks if first <= mark.at <= last}
    placed: list[tuple[Mark, bool]] = []
    printed: datetime | None = None
    for mark in sorted(moments.values(), key=lambda mark: mark.at):
        if placed and mark.kind != PROMOTION and mark.at - placed[-1][0].at < apart:
            continue
        named = printed is None or mark.kind == PROMOTION or mark.at - printed >= room
        placed.append((mark, named))
        printed = mark.at if named else printed
    return placed
