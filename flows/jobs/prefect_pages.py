"""
What a retrain shows in Prefect's pages: how far it is, its curves, what the gate said, and where there is more.

Over HTTP with a short patience, as `summons` does, and never an error: Prefect may be away while a job goes on.
"""

import base64
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from flows import prefect_environment
from flows.launcher import ProgressLine
from flows.retraining import JobOutcome
from flows.telling import Teller
from infra.settings import Settings
from models.gate_records import CheckRow

_log = logging.getLogger(__name__)
_PATIENCE_S = 3.0
_TELL_EVERY_S = 5.0
_MOST_ROWS = 40


class PagesOfRun:
    """The artifacts of one flow run."""

    def __init__(self, settings: Settings, run_id: str) -> None:
        self._settings, self._run_id = settings, run_id
        self._api = prefect_environment.api_url(settings)
        self._progress_id, self._told = "", 0.0

    def teller(self, inner: Teller) -> Teller:
        """Tells the same as `inner`, and how far training is in Prefect's pages."""
        return _Telling(inner, self)

    def training(self, line: ProgressLine) -> None:
        """How much of what training may take is over, at most; told now and then."""
        share = share_done(line)
        if share is None or time.monotonic() - self._told < _TELL_EVERY_S:
            return
        self._told = time.monotonic()
        if self._progress_id:
            self._send("PATCH", f"/artifacts/{self._progress_id}", {"data": share})
        else:
            self._progress_id = self._make("retrain-progress", "progress", share, "training, at most")

    def end(self, outcome: JobOutcome) -> None:
        """What came of it."""
        if self._progress_id:
            self._send("PATCH", f"/artifacts/{self._progress_id}", {"data": 100.0})
        self._make("gate-report", "markdown", gate_report(outcome, self._settings), outcome.state)
        page = None if outcome.outcome is None else outcome.outcome.report_page
        curves = None if page is None else page.parent / "learning_curves.svg"
        if curves is not None and curves.is_file():
            picture = f"data:image/svg+xml;base64,{base64.b64encode(curves.read_bytes()).decode()}"
            self._make("learning-curves", "image", picture, "loss and scores by epoch, stage after stage")

    def _make(self, key: str, kind: str, data: Any, description: str) -> str:
        body = {"key": key, "type": kind, "data": data, "description": description, "flow_run_id": self._run_id or None}
        return str(self._send("POST", "/artifacts/", body).get("id", ""))

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = httpx.request(method, f"{self._api}{path}", json=body, timeout=_PATIENCE_S)
            answer.raise_for_status()
            document: dict[str, Any] = answer.json() if answer.content else {}
        except (httpx.HTTPError, ValueError) as error:
            _log.warning("Prefect's page of this run lacks a part: %s", error)
            return {}
        return document


class _Telling:
    """A teller that also fills the pages."""

    def __init__(self, inner: Teller, pages: PagesOfRun) -> None:
        self._inner, self._pages = inner, pages
        self.say, self.warn, self.progress, self.trained = inner.say, inner.warn, inner.progress, inner.trained

    def training(self, line: ProgressLine) -> None:
        self._inner.training(line)
        self._pages.training(line)


def share_done(line: ProgressLine) -> float | None:
    """Percent of all epochs there can be; None for a line that tells of none."""
    if line.stage is None or not line.stages or line.epoch is None or not line.epochs:
        return None
    return round(100 * (line.stage + line.epoch / line.epochs) / line.stages, 1)


def gate_report(outcome: JobOutcome, settings: Settings) -> str:
    """The gate's decision as markdown: its words, its checks as a table, and links."""
    return "\n".join(_report_lines(outcome, settings))


def _report_lines(outcome: JobOutcome, settings: Settings) -> Iterator[str]:
    console = f"http://{settings.console.host}:{settings.console.port}/"
    yield f"# {outcome.state}\n\n{outcome.words}\n"
    yield f"job `{outcome.job_id}`, [console]({console})"
    made = outcome.outcome
    if made is None:
        return
    yield f"\n{made.version.title}, report `{made.report_page or made.version.artifact_prefix + '/report.html'}`\n"
    if made.decision.checks:
        yield "| check | on | group | images | loss or value | bound | allowed | result |"
        yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield from (_row(check) for check in made.decision.checks[:_MOST_ROWS])
    if len(made.decision.checks) > _MOST_ROWS:
        yield f"\n… and {len(made.decision.checks) - _MOST_ROWS} more, in the report."


def _row(check: CheckRow) -> str:
    numbers = (_number(check.loss), _number(check.bound), _number(check.margin))
    return f"| {check.name} | {check.scope} | {check.group} | {check.images} | {' | '.join(numbers)} | {check.result} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
