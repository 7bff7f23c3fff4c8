"""The whole page as one frozen record, from what the tables hold: a pure function."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from infra.settings import Settings
from monitoring.console import (
    audited,
    champion,
    drift,
    evidently,
    gate,
    happenings,
    labelled,
    retrains,
    to_label,
    verdicts,
    words,
)
from monitoring.console.audited import Audited
from monitoring.console.champion import Champion, Version
from monitoring.console.drift import Differences, Lane
from monitoring.console.evidently import Beside
from monitoring.console.gate import Gate
from monitoring.console.happenings import Event, Report, WindowRow
from monitoring.console.labelled import Group
from monitoring.console.retrains import Job, Retrain
from monitoring.console.rows import Rows
from monitoring.console.sheet import Link, Sheet, refresh_s
from monitoring.console.to_label import ToLabel
from monitoring.console.verdicts import Verdict
from monitoring.console.windows import Window, read, readings
from monitoring.evidently_pages.place import project_id
from monitoring.watching.silence import silence


@dataclass(frozen=True)
class Banner:
    tone: str
    title: str
    text: str


@dataclass(frozen=True)
class Step:
    title: str
    command: str
    text: str


@dataclass(frozen=True)
class Tile:
    label: str
    value: str
    under: str


@dataclass(frozen=True)
class Page(Sheet):
    """Everything one page says, in order; `no_…` is said where there is nothing yet, a figure is "" then."""

    banners: tuple[Banner, ...]
    steps: tuple[Step, ...]
    verdict: Verdict
    champion: Champion | None
    tiles: tuple[Tile, ...]
    atypical_figure: str
    no_windows: str
    differences: Differences | None
    evidently: Beside | None
    lanes: tuple[Lane, ...]
    accuracy_figure: str
    accuracy_notes: tuple[str, ...]
    no_labels: str
    subgroups: tuple[Group, ...]
    subgroups_from: int
    no_subgroups: str
    audited: Audited | None
    to_label: ToLabel
    retrain: Retrain | None
    gate: Gate | None
    no_retrain: str
    events: tuple[Event, ...]
    windows: tuple[WindowRow, ...]
    versions: tuple[Version, ...]
    jobs: tuple[Job, ...]
    reports: tuple[Report, ...]


def page(found: Rows, settings: Settings, present: datetime, *, seen_from: str, listening_since: datetime) -> Page:
    """
    The page of one moment.

    seen_from: the host name under which the reader's browser reaches this machine, for links to its other pages.
    listening_since: the watcher counts as silent only for time after this.
    """
    windows = tuple(read(row) for row in found.windows)
    marks = drift.marks(found.alarms, found.promotions)
    newest = windows[-1] if windows else None
    version = found.pointer["version"] if found.pointer else None
    groups = labelled.groups(windows, version)
    looked = found.verdicts[-1] if found.verdicts else None
    return Page(
        project=settings.project.name,
        present=present,
        refresh_s=refresh_s(settings),
        links=_links(settings, seen_from),
        banners=_banners(found, settings, present, listening_since),
        steps=_steps(found, settings),
        verdict=verdicts.newest(found.verdicts, found.verdict_since, found.jobs, newest),
        champion=champion.champion(found, present),
        tiles=_tiles(found, windows, settings, present),
        atypical_figure=drift.atypical_figure(windows, marks),
        no_windows=_no_windows(found, settings),
        differences=drift.differences(newest),
        evidently=evidently.beside(found.windows),
        lanes=drift.lanes(readings(windows, looked), marks, version, looked),
        accuracy_figure=labelled.figure(windows, marks, found.verdicts),
        accuracy_notes=labelled.notes(windows, found.verdicts),
        no_labels=(
            "No labels yet. Send them to /v1/feedback as they become known; "
            "each is matched to its prediction, however late it comes."
        ),
        subgroups=groups,
        subgroups_from=labelled.scale_from(groups),
        no_subgroups=_no_subgroups(settings),
        audited=audited.newest(found),
        to_label=to_label.to_label(found, settings),
        retrain=retrains.newest(found, present),
        gate=gate.of_newest(found.versions),
        no_retrain=_no_retrain(found, settings),
        events=happenings.events(found),
        windows=happenings.window_rows(windows, found.verdicts),
        versions=champion.versions(found),
        jobs=retrains.listed(found),
        reports=happenings.reports(found),
    )


def _links(settings: Settings, host: str) -> tuple[Link, ...]:
    shown = f"[{host}]" if ":" in host else host
    prefect = f"http://{shown}:{settings.prefect.port}"
    if settings.prefect.api_url:
        given = urlsplit(settings.prefect.api_url)
        # A bare name is one that containers know each other by; the reader's browser knows this machine instead.
        bare = given.hostname is None or "." not in given.hostname
        prefect = f"http://{shown}:{given.port or 4200}" if bare else settings.prefect.api_url.removesuffix("/api")
    pages = f"http://{shown}:{settings.monitor.evidently_port}/projects/{project_id(settings.project.name)}"
    return (
        Link("Decisions", "decisions"),
        Link("Service API", f"http://{shown}:{settings.serve.port}/docs"),
        Link("Prefect", prefect),
        *((Link("Evidently", pages),) if settings.monitor.evidently_port else ()),
        Link("Metrics", "metrics"),
        Link("JSON", "api/state.json"),
    )


def _banners(found: Rows, settings: Settings, present: datetime, listening_since: datetime) -> tuple[Banner, ...]:
    banners = []
    looked = found.heartbeats.get("watch")
    silent = silence(looked, listening_since, present, settings.monitor.silent_after_s)
    every = words.duration(timedelta(seconds=settings.monitor.every_s))
    something_to_watch = looked is not None or found.pointer is not None
    if something_to_watch and silent is not None:
        last = f"last looked {words.ago(looked, present)}" if looked else "has never looked"
        text = (
            f"It {last}; a look is expected every {every}. Drift would go unnoticed. "
            "See logs/runner.log, or run `kedge watch` for one look by hand."
        )
        banners.append(Banner("bad", "The watcher is silent.", text))
    elif something_to_watch and looked is None:
        text = "`kedge up` starts it; `kedge watch` takes one look by hand."
        banners.append(Banner("note", "The watcher has not looked yet.", text))
    shipped = found.heartbeats.get("shipper")
    patience = timedelta(seconds=max(60.0, 3 * settings.serve.seal_s))
    if shipped is not None and present - max(shipped, listening_since) > patience:
        text = (
            f"It was last heard of {words.ago(shipped, present)}. Predictions wait in the spool: "
            "they are not lost, but nothing here has seen them yet."
        )
        banners.append(Banner("warn", "The shipper is silent.", text))
    return tuple(banners)


def _steps(found: Rows, settings: Settings) -> tuple[Step, ...]:
    """What a new project needs next; nothing once a model serves and windows close."""
    if found.pointer is not None and found.windows_ever:
        return ()
    train = Step(
        "Train the first model.",
        "kedge train",
        f"It reads {settings.data.manifest.name}, judges what it trained on images kept aside, and promotes it.",
    )
    send = Step(
        "Send images.",
        f"curl --data-binary @image.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:{settings.serve.port}/v1/predict",
        f"Every {settings.monitor.window} predictions close a window; then its signals are drawn here.",
    )
    label = Step(
        "Send labels as they become known.",
        "POST /v1/feedback",
        "Without labels a change can be seen, but not whether it hurts.",
    )
    return (train, send, label) if found.pointer is None else (send, label)


def _tiles(found: Rows, windows: tuple[Window, ...], settings: Settings, present: datetime) -> tuple[Tile, ...]:
    newest = windows[-1] if windows else None
    accuracy = labelled.of_champion(windows, found.pointer["version"] if found.pointer else None)
    interval = f"{words.percent(accuracy.low)} to {words.percent(accuracy.high)} of {words.count(accuracy.labelled)}"
    return (
        Tile("Predictions", words.count(found.predictions), f"in {words.plural(found.windows_ever, 'closed window')}"),
        Tile("Rate", words.rate(drift.rate(windows)), f"windows of {words.count(settings.monitor.window)}"),
        Tile(
            "Last seen",
            words.age(newest.ended_at, present) if newest else words.NOTHING,
            f"end of window {newest.sequence}" if newest else "no window yet",
        ),
        Tile("Labelled accuracy", words.percent(accuracy.value), interval if accuracy.labelled else "no labels yet"),
        Tile(
            "Fresh labels", _fresh_labels(found), f"a retrain needs {words.count(settings.trigger.least_fresh_labels)}"
        ),
        Tile(
            "Open alarms",
            words.count(len(happenings.open_alarms(found))),
            f"last {words.ago(found.alarms[-1]['at'], present)}" if found.alarms else "none so far",
        ),
    )


def _fresh_labels(found: Rows) -> str:
    evidence = found.verdicts[-1]["evidence"] if found.verdicts else None
    labels = evidence.get("labels") if isinstance(evidence, Mapping) else None
    fresh = labels.get("fresh") if isinstance(labels, Mapping) else None
    return words.count(fresh) if isinstance(fresh, int) else words.NOTHING


def _no_windows(found: Rows, settings: Settings) -> str:
    if found.pointer is None:
        return "Nothing is drawn before a model serves: train the first one."
    return f"The first window closes after {settings.monitor.window} predictions and the watcher's next look."


def _no_subgroups(settings: Settings) -> str:
    if not settings.data.subgroups:
        return 'No subgroups are declared. Name metadata columns in kedge.toml, as in data.subgroups = ["camera"].'
    return f"Groups by {', '.join(settings.data.subgroups)} appear with the first window."


def _no_retrain(found: Rows, settings: Settings) -> str:
    if found.pointer is None:
        return "The first training is listed here, with what the gate said."
    when = f"starts by itself where trigger.when holds, {settings.trigger.when}"
    return f"No retrain so far. One {when}; `kedge retrain` starts one now."
