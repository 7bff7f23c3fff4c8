"""Our records as a person reads them on a terminal."""

from datetime import datetime

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from flows.status import Status
from infra.clock import now
from models.examples import DataSummary
from models.registry import ModelVersion
from models.rollouts import CANARY, Rollout

_STAGE_WORDS = {"waiting": "undecided and waits for labels", "probation": "on probation"}
_STATE_STYLE = {"champion": "bold green", "refused": "red", "waiting": "yellow", "retired": "dim"}
ACTION_STYLE = {"nothing": "green", "label_first": "yellow", "fix_input": "yellow", "retrain": "bold red"}


def table(*headings: str, title: str | None = None) -> Table:
    """A table in the house's style; headings that begin with '#' are numbers."""
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for heading in headings:
        made.add_column(heading.removeprefix("#"), justify="right" if heading.startswith("#") else "left")
    return made


def ago(at: datetime) -> str:
    """How long ago, in one unit."""
    seconds = (now() - at).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def show_versions(console: Console, versions: tuple[ModelVersion, ...]) -> None:
    """Every version with its state and its scores on the judge images."""
    if not versions:
        console.print("No version yet. `kedge train` makes the first one.")
        return
    console.print(versions[-1].name, style="bold", highlight=False)
    shown = table("#version", "state", "made", "#accuracy", "#precision", "#recall", "gate", "reason")
    for column in shown.columns[:-1]:
        column.no_wrap = True
    for version in versions:
        card = version.scorecard or {}
        scores = [f"{card[name]:.3f}" if name in card else "–" for name in _SCORES]
        gate = str((version.gate or {}).get("outcome", "–"))
        state = Text(version.state, _STATE_STYLE.get(version.state, ""))
        shown.add_row(str(version.version), state, ago(version.created_at), *scores, gate, version.reason)
    console.print(shown)


_SCORES = ("accuracy", "macro_precision", "macro_recall")


def show_data(console: Console, summary: DataSummary) -> None:
    """Counts per class, role and metadata value."""
    console.print(f"{summary.images} images, {len(summary.classes)} classes")
    for title, counts in (("class", summary.classes), ("role", summary.roles), *summary.metadata.items()):
        # A column of names (of files, of sessions) has as many values as images: its size says enough.
        if len(counts) > _MOST_VALUES:
            console.print(f"  {title}: {len(counts)} different values", style="dim")
            continue
        words = " · ".join(f"{name} {count}" for name, count in counts.items())
        console.print(f"  {title}: {words}", highlight=False)


_MOST_VALUES = 30


def show_status(console: Console, status: Status) -> None:
    """One screen: champion, service, last window, last retrain."""
    lines = table("", "")
    lines.show_header = False
    lines.add_row("champion", _champion(status))
    for trial in status.trials:
        lines.add_row(trial.alias, _trial(status, trial))
    for run in status.rollouts:
        words = f"version {run.version} is {_STAGE_WORDS.get(run.stage, f'in {run.stage}')}, since {ago(run.since)}"
        lines.add_row("rollout", Text(words).append(f"\n{run.words}", "dim"))
    lines.add_row("service", _service(status))
    lines.add_row("watcher", _watcher(status))
    lines.add_row("verdict", _verdict(status))
    lines.add_row("next retrain", _decision(status))
    lines.add_row("last window", _window(status))
    lines.add_row("last retrain", _retrain(status))
    lines.add_row("labels", _labels(status))
    console.print(lines)


def _champion(status: Status) -> RenderableType:
    champion = status.champion
    if champion is None:
        return Text("none yet: `kedge train` makes one", "yellow")
    return f"{champion.name}:{champion.version}, since {ago(champion.since)} ({champion.reason})"


def _trial(status: Status, trial: Rollout) -> RenderableType:
    what = "of the predictions" if trial.alias == CANARY else "of the images, unseen"
    words = Text(f"version {trial.version} answers {100 * trial.share:g} % {what}, since {ago(trial.since)}")
    # Two trials share the column of errors: what names this version is about this one.
    about = f"version {trial.version} was refused"
    errors = {worker.rollout_error for worker in status.service.workers if about in (worker.rollout_error or "")}
    for error in sorted(filter(None, errors)):
        words.append(f"\n{error}", "yellow")
    return words


def _labels(status: Status) -> RenderableType:
    labels = status.labels
    if labels is None:
        return Text("unknown: the tables cannot be read", "yellow")
    words = f"{labels.labelled}"
    if labels.orphans:
        words += f"; {labels.orphans} of no prediction in the log"
    if labels.quarantined:
        words += f"; {labels.quarantined} of a class that the champion lacks"
    return words + ("; `kedge labels list` shows them" if labels.orphans or labels.quarantined else "")


def _service(status: Status) -> RenderableType:
    if not status.service.up:
        return Text("not running: `kedge up` starts it", "yellow")
    workers = ", ".join(
        f"{worker.pid} answers with {worker.version or 'no model'}" + (f" ({worker.error})" if worker.error else "")
        for worker in status.service.workers
    )
    return f"up; worker {workers}"


def _watcher(status: Status) -> RenderableType:
    if status.watcher_silent_s is None:
        return Text("has not looked yet", "yellow")
    return f"last look {status.watcher_silent_s:.0f} s ago"


def _verdict(status: Status) -> RenderableType:
    if status.verdict is None:
        return "none yet"
    action = str(status.verdict["action"])
    words = Text(action.replace("_", " "), ACTION_STYLE.get(action, ""))
    for reason in status.verdict["reasons"]:
        words.append(f"\n{reason}", "dim")
    return words


def _decision(status: Status) -> RenderableType:
    decision = status.decision
    if decision is None:
        return "nothing decided yet"
    # People's reasons are among the words: nothing of them is markup.
    words = Text(str(decision["words"]), "" if decision["asks"] else "dim")
    return words.append(f"\n{decision['expected']['words']}", "dim")


def _window(status: Status) -> RenderableType:
    window = status.last_window
    if window is None:
        return "none closed yet"
    words = f"{window.sequence}: {window.counts['predictions']} predictions to version {window.model_version}, "
    words += f"ended {ago(window.ended_at)}"
    if window.verdict is not None:
        words += f"; then the verdict was: {str(window.verdict['action']).replace('_', ' ')}"
    return words


def _retrain(status: Status) -> RenderableType:
    job = status.last_retrain
    if job is None:
        return "none yet"
    words = f"{job.kind} for {job.reason}: {job.state}, asked {ago(job.created_at)}"
    came = job.outcome or {}
    if came.get("version") is not None:
        sent = f"rollout {came['rollout']}: `kedge rollout`" if came.get("rollout") else "not promoted"
        what = str(came.get("words", job.state)) if job.state == "undecided" else sent
        words += f"; version {came['version']}, {'promoted' if came.get('promoted') else what}"
    return words + (f"\n{job.error}" if job.error else "")
