"""What the demo measured, what it promised, and the table at its end."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from rich.console import Console

from flows.demo_story import Story
from flows.demo_traffic import Answered, Traffic
from flows.demo_world import NEW_CAMERA, OLD_CAMERAS
from flows.show import table
from flows.workplace import Workplace
from infra import schema
from infra.database import reading
from infra.errors import UserError
from monitoring.watching.silence import LANE as SILENCE

# What success means: the new camera nearly as good as the old ones were, the old ones as good as they were.
_MOST_GAP, _MOST_LOSS = 0.10, 0.02
_STAGES = ("shadow", "canary", "promoting", "probation", "done")


@dataclass(frozen=True)
class Share:
    """How many of some answers were right."""

    right: int
    images: int

    @property
    def value(self) -> float:
        return self.right / self.images if self.images else float("nan")


@dataclass(frozen=True)
class DemoResult:
    """
    What happened, measured by the callers, who know the truth.

    Attributes:
        old_before, old_during, old_after: The old cameras, before the drift, until the promotion, after it.
        new_during, new_after: The new camera.
        seconds_to_alarm: From the first image of the new camera to the first alarm seen.
        seconds_to_promotion: From the same to the promotion seen.
        actions: The verdicts, in the order in which each was first said.
        alarm_lane: Of the first alarm.
        stages: Of the successor's rollout, in their order.
        alarm_window_ok: Whether the first alarm named the window in which the new camera's images began.
    """

    old_before: Share
    old_during: Share
    old_after: Share
    new_during: Share
    new_after: Share
    sent: int
    failed: int
    first_problem: str
    seconds_to_alarm: float
    seconds_to_promotion: float
    actions: tuple[str, ...]
    alarm_lane: str
    alarm_window_ok: bool
    stages: tuple[str, ...]
    version: int
    reports: tuple[str, ...]


def measure(place: Workplace, traffic: Traffic, story: Story) -> DemoResult:
    """Count the answers and read the rows."""
    answered = list(traffic.answered)
    during = [one for one in answered if one.phase in {"drift", "meanwhile", "rollout"} and one.version.endswith(":1")]
    after = [one for one in answered if one.phase == "after"]
    new_during, old_during = _of(during, (NEW_CAMERA,)), _of(during, OLD_CAMERAS)
    first_drifted = min(one.at for one in answered if one.camera == NEW_CAMERA)
    champion = place.registry.champions.current() or 0
    promotion = story.when("promotion", str(champion))
    failed = [one for one in answered if one.problem]
    with reading(place.engine) as connection:
        # On a busy machine the watcher itself may be late; that is told, but no alarm about the traffic.
        drift = schema.alarms.c.lane != SILENCE
        alarms = connection.execute(sa.select(schema.alarms).where(drift).order_by(schema.alarms.c.at)).all()
        windows = connection.execute(sa.select(schema.windows).order_by(schema.windows.c.sequence)).all()
    alarm = story.when("alarm", alarms[0].id) if alarms else None
    # The windows before the drift are full of old cameras: the next one holds the first image of the new camera.
    before = sum(one.phase == "before" and not one.problem for one in answered)
    first_window = before // place.settings.monitor.window + 1
    return DemoResult(
        old_before=_share(_of(answered, OLD_CAMERAS, "before")),
        old_during=_share(old_during),
        old_after=_share(_of(after, OLD_CAMERAS)),
        new_during=_share(new_during),
        new_after=_share(_of(after, (NEW_CAMERA,))),
        sent=len(answered),
        failed=len(failed),
        first_problem=failed[0].problem if failed else "",
        seconds_to_alarm=(alarm or float("nan")) - first_drifted,
        seconds_to_promotion=(promotion or float("nan")) - first_drifted,
        actions=tuple(key for kind, key in story.seen if kind == "action"),
        alarm_lane=alarms[0].lane if alarms else "",
        alarm_window_ok=bool(alarms) and alarms[0].window_sequence == first_window,
        stages=_stages(place, champion),
        version=champion,
        reports=tuple(window.report_key for window in windows if window.report_key),
    )


def _stages(place: Workplace, version: int) -> tuple[str, ...]:
    """As the ledger has them: a stage may have passed between two looks of the story."""
    rows = [row for row in place.ledger.rows("rollouts") if row.facts["version"] == version]
    return tuple(dict.fromkeys(str(row.facts["stage"]) for row in rows))


def check(result: DemoResult) -> None:
    """
    Hold the result against what the demo promises.

    Raises:
        UserError: with every promise that was not kept.
    """
    before = result.old_before.value
    broken = [
        words
        for kept, words in (
            (result.failed == 0, f"{result.failed} requests failed, first: {result.first_problem}"),
            (result.version > 1, "no successor was promoted"),
            (
                result.new_after.value >= before - _MOST_GAP,
                f"the new camera has {result.new_after.value:.3f}, the old ones had {before:.3f} before",
            ),
            (
                result.old_after.value >= before - _MOST_LOSS,
                f"the old cameras fell from {before:.3f} to {result.old_after.value:.3f}",
            ),
            (result.alarm_lane == "gross", f"the first alarm came from the '{result.alarm_lane}' lane, not from gross"),
            (result.alarm_window_ok, "the first alarm did not come from the first window of the new camera"),
            (
                [action for action in result.actions if action != "nothing"][:2] == ["label_first", "retrain"],
                f"the verdicts were {', '.join(result.actions)}; expected label_first, then retrain",
            ),
            (
                result.stages == _STAGES,
                f"the successor went by {', '.join(result.stages)}; expected {', '.join(_STAGES)}",
            ),
            (bool(result.reports), "no Evidently report was written"),
        )
        if not kept
    ]
    if broken:
        raise UserError("The demo ran to its end, but not as promised:\n" + "\n".join(f"  {words}" for words in broken))


def show(console: Console, place: Workplace, result: DemoResult, *, running: bool) -> None:
    """The table at the end, the report files, and the pages to open while everything is `running`."""
    shown = table("accuracy", "#before the drift", "#until the promotion", "#after it", title="What happened")
    shown.add_row("old cameras", _cell(result.old_before), _cell(result.old_during), _cell(result.old_after))
    shown.add_row("new camera", "–", _cell(result.new_during), _cell(result.new_after))
    console.print()
    console.print(shown)
    facts = table("", "#")
    facts.show_header = False
    facts.add_row("requests sent", str(result.sent))
    facts.add_row("requests failed", str(result.failed))
    facts.add_row("first drifted request to alarm", f"{result.seconds_to_alarm:.1f} s")
    facts.add_row("first drifted request to promotion", f"{result.seconds_to_promotion:.1f} s")
    facts.add_row("way of the successor", " → ".join(result.stages))
    facts.add_row("champion now", f"version {result.version}")
    console.print(facts)
    settings = place.settings
    for key in result.reports[-3:]:
        console.print(f"Evidently report: {place.objects.describe()}/{key}", highlight=False, soft_wrap=True)
    if not running:
        console.print("`make demo ARGS=--keep` leaves everything running, to look around in its pages.", style="dim")
        return
    console.print(
        f"Pages: console http://127.0.0.1:{settings.console.port}/ · "
        f"Prefect http://127.0.0.1:{settings.prefect.port}/ · API http://127.0.0.1:{settings.serve.port}/docs",
        highlight=False,
    )


def _of(answered: Sequence[Answered], cameras: Sequence[str], phase: str | None = None) -> list[Answered]:
    return [one for one in answered if one.camera in cameras and phase in {None, one.phase}]


def _share(answered: Sequence[Answered]) -> Share:
    return Share(sum(one.right for one in answered), len(answered))


def _cell(share: Share) -> str:
    return f"{100 * share.value:.1f} %  [dim]of {share.images}[/]"
