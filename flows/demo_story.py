"""What the demo sees happening in the rows while it waits, told as a timeline."""

import time
from dataclasses import dataclass, field

import sqlalchemy as sa
from rich.console import Console

from flows.workplace import Workplace
from infra import schema
from infra.database import reading
from infra.jobs import jobs
from models.rollout_runs import runs

_STYLE = {
    "alarm": "bold red",
    "verdict": "yellow",
    "retrain": "cyan",
    "rollout": "magenta",
    "promotion": "bold green",
    "step": "bold",
}


@dataclass
class Story:
    """
    Tells each new alarm, verdict, job state, stage of a rollout and promotion once, with the seconds since the start.

    Attributes:
        seen: What has been told: kind and key to the monotonic second of its telling.
    """

    place: Workplace
    console: Console
    started: float = field(default_factory=time.monotonic)
    seen: dict[tuple[str, str], float] = field(default_factory=dict)
    last_action: str = ""

    def tell(self, kind: str, words: str) -> None:
        """One line of the timeline."""
        seconds = time.monotonic() - self.started
        self.console.print(f"[dim]{seconds:6.1f} s[/]  [{_STYLE[kind]}]{kind:<9}[/] {words}", highlight=False)

    def look(self) -> None:
        """Tell what is new in the rows."""
        with reading(self.place.engine) as connection:
            alarms = connection.execute(sa.select(schema.alarms).order_by(schema.alarms.c.at)).all()
            verdicts = connection.execute(sa.select(schema.verdicts).order_by(schema.verdicts.c.sequence)).all()
        for alarm in alarms:
            where = f"window {alarm.window_sequence}" if alarm.window_sequence else "labels"
            self._once("alarm", alarm.id, f"{alarm.lane} lane, {alarm.detector} ({where})")
        for verdict in verdicts:
            key = str(verdict.sequence)
            if ("verdict", key) in self.seen:
                continue
            self.seen["verdict", key] = time.monotonic()
            if verdict.action != self.last_action:
                reason = verdict.reasons[0] if verdict.reasons else ""
                self.tell("verdict", f"[bold]{verdict.action.replace('_', ' ')}[/] – {_plain(reason)}")
                self.last_action = verdict.action
                self.seen.setdefault(("action", verdict.action), time.monotonic())
        for job in reversed(jobs(self.place.engine)):
            if job.kind == "retrain":
                words = f"{job.state}, asked for because of {job.reason}"
                if job.error:
                    words += f": {_plain(job.error)}"
                self._once("retrain", f"{job.id} {job.state}", words)
        for run in reversed(runs(self.place.engine, self.place.settings.project.name)):
            key = f"{run.sequence} {run.stage}"
            self._once("rollout", key, f"version {run.version}, [bold]{run.stage}[/] – {_plain(run.words)}")
        for promotion in self.place.registry.champions.history():
            words = f"version {promotion.version} is champion ({_plain(promotion.reason)})"
            self._once("promotion", str(promotion.version), words)

    def when(self, kind: str, key: str | None = None) -> float | None:
        """The monotonic second at which the first such thing was told; None while it was not."""
        times = [at for (seen_kind, seen_key), at in self.seen.items() if seen_kind == kind and key in {None, seen_key}]
        return min(times) if times else None

    def _once(self, kind: str, key: str, words: str) -> None:
        if (kind, key) not in self.seen:
            self.seen[kind, key] = time.monotonic()
            self.tell(kind, words)


def _plain(words: str) -> str:
    return words.replace("[", "\\[")
