"""The `kedge` command: reads arguments, calls one function, shows what came of it."""

import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from infra.errors import UserError

app = typer.Typer(
    name="kedge",
    help="Keeps an image classifier true: serves it, notices drift, retrains it, promotes only what is better.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
labels_app = typer.Typer(
    no_args_is_help=True,
    help="Labels that came back for predictions.\n\nExample: kedge labels import labels.csv",
)
app.add_typer(labels_app, name="labels")

# Where the output is no terminal nobody has a width; eighty columns would cut tables.
_out = Console() if sys.stdout.isatty() else Console(width=120)
_INTERRUPTED = 130


class ServerRuntime(StrEnum):
    """What carries the service's one ASGI app."""

    bentoml = "bentoml"
    uvicorn = "uvicorn"


Json = Annotated[bool, typer.Option("--json", help="Write JSON to standard output, for scripts.")]


def main() -> None:
    """Run one command; a UserError becomes one message and its own exit code, Ctrl-C and SIGTERM a clean end."""
    # By default a SIGTERM ends Python at once: the demo would leave everything running that it had started.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            # Typer itself takes Ctrl-C, and hands its code back.
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except UserError as error:
        # Soft: a path that is broken into two lines can be neither clicked nor copied.
        Console(stderr=True).print(f"[bold red]kedge:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        Console(stderr=True).print("[yellow]Stopped.[/] Nothing is half-done; run the same command to go on.")
        sys.exit(_INTERRUPTED)
    except OSError as error:
        if error.filename is None:
            raise
        # A folder that is not there or may not be written, a full disk: no fault of ours, and nothing to trace.
        words = f"{error.filename} cannot be used: {error.strerror}. Expected a path that this user can read and write."
        Console(stderr=True).print(f"[bold red]kedge:[/] {_escape(words)}", highlight=False, soft_wrap=True)
        sys.exit(UserError.exit_code)
    except Exception as error:
        # Wrong usage: Typer's own exceptions know how to show themselves and which code they end with.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        raise


def _terminated(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where the project is to be.")] = Path(),
) -> None:
    """
    Write a kedge.toml with every setting, its default and its unit.

    Example: kedge init meters
    """
    from infra.files import write_atomically
    from infra.settings import FILE_NAME, default_toml

    path = folder / FILE_NAME
    if path.exists():
        raise UserError(f"{path} is there already and was left alone. Edit it, or remove it first.")
    write_atomically(path, default_toml())
    _out.print(f"Wrote {path}. Next: set data.manifest in it, then `kedge data` checks the images.", highlight=False)


@app.command()
def data(as_json: Json = False) -> None:
    """
    Check the manifest and every image in it, and count what there is.

    Example: kedge data --json
    """
    from flows.data import check_data
    from flows.show import show_data
    from flows.status import to_json
    from flows.telling import on_terminal

    with on_terminal(Console(stderr=True)) as teller:
        checked = check_data(_place(), teller)
    if as_json:
        typer.echo(to_json(checked))
        return
    show_data(_out, checked.summary)
    for words in checked.remarks:
        _out.print(f"  {words}", style="yellow", highlight=False)


@app.command()
def train(as_json: Json = False) -> None:
    """
    Train on the manifest, judge, register; promote only when there is no champion yet.

    Example: kedge train
    """
    from flows.first_model import train as train_first

    _train(train_first, as_json=as_json)


@app.command()
def retrain(
    queue: Annotated[bool, typer.Option("--queue", help="Leave the job to the runner of `kedge up`.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "manual",
    as_json: Json = False,
) -> None:
    """
    Fine-tune a successor from the champion on old and newly labelled images; promote it if the gate agrees.

    Example: kedge retrain --reason "new camera in hall 3"
    """
    from flows import retraining
    from flows.summons import call_for_retrain

    if queue:
        place = _place()
        job = retraining.queue_retrain(place, reason)
        call_for_retrain(place.settings, job.id)
        _out.print(f"Job {job.id} is {job.state}; `kedge status` shows how it goes.", highlight=False)
        return
    _train(lambda place, teller: retraining.retrain_here(place, reason, teller), as_json=as_json)


@app.command()
def up() -> None:
    """
    Start everything: Prefect, the service, the shipper, the console and the runner; Ctrl-C stops it all.

    Example: kedge up
    """
    from flows import children, show_up, supervisor, timetable
    from infra import logs
    from infra.settings import load
    from service import commands

    settings = load()
    timetable.check(settings)
    logs.configure("up", settings.storage.home, echo=False)
    command = commands.serve(settings)
    household = children.household(settings, children.service(settings, command.argv, command.env))
    supervisor.up(settings, household, show_up.teller(_out, settings))


@app.command()
def serve(
    runtime: Annotated[ServerRuntime, typer.Option(help="BentoML, or plain uvicorn: the same answers.")] = (
        ServerRuntime.bentoml
    ),
) -> None:
    """
    Serve the champion over HTTP and log its answers, without the watcher and the console.

    Example: kedge serve
    """
    from infra.settings import load
    from service import commands

    settings = load()
    words = f"Serving on http://{settings.serve.host}:{settings.serve.port}; Ctrl-C stops."
    announce = partial(_out.print, words, highlight=False)
    sys.exit(commands.run_serve(settings, runtime=runtime.value, announce=announce))


@app.command()
def watch(
    every: Annotated[float, typer.Option(help="Look again every so many seconds; 0 = once.")] = 0.0,
    as_json: Json = False,
) -> None:
    """
    Look at the traffic once: close the windows that are full, weigh the evidence, say a verdict.

    Example: kedge watch --json
    """
    from flows.show import show_seen
    from flows.status import to_json
    from flows.watching import repeat

    for seen in repeat(_place().settings, every):
        if as_json:
            typer.echo(to_json(seen))
        else:
            show_seen(_out, seen)


@app.command()
def models(as_json: Json = False) -> None:
    """
    List every version with its state and scores.

    Example: kedge models
    """
    from flows.show import show_versions
    from flows.status import to_json

    versions = _place().registry.versions()
    if as_json:
        typer.echo(to_json([vars(version) for version in versions]))
    else:
        show_versions(_out, versions)


@app.command()
def promote(
    version: Annotated[int, typer.Argument(help="The version's number, as `kedge models` lists it.")],
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "by hand",
) -> None:
    """
    Make a version the champion and wait until every serving worker answers with it.

    Example: kedge promote 3 --reason "checked by Ada"
    """
    from flows.promote import promote as promote_version

    place = _place()
    _show_rollout(promote_version(place, version, actor=_person(), reason=reason), place.settings.project.name)


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "by hand",
) -> None:
    """
    Go back to the champion before.

    Example: kedge rollback --reason "wrong on hall 3"
    """
    from flows.promote import roll_back

    place = _place()
    _show_rollout(roll_back(place, actor=_person(), reason=reason), place.settings.project.name)


@labels_app.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(help="CSV with the columns id and label, and labelled_by if known.")],
    as_json: Json = False,
) -> None:
    """
    Take labels from a CSV file; the same file twice counts once.

    Example: kedge labels import labels.csv
    """
    from flows.labels import import_file
    from flows.status import to_json

    imported = import_file(_place(), file)
    if as_json:
        typer.echo(to_json(imported))
    else:
        _out.print(imported.words(), highlight=False)


@app.command()
def audit(
    output: Annotated[Path | None, typer.Option(help="Where to write the HTML report.")] = None,
    as_json: Json = False,
) -> None:
    """
    Report precision and recall per subgroup, with intervals and sizes, from labelled predictions.

    Example: kedge audit --output audit.html
    """
    from flows.audit import audit as audit_now
    from flows.show import show_audit
    from flows.status import to_json

    done = audit_now(_place(), output)
    if as_json:
        typer.echo(to_json(done.report))
    else:
        show_audit(_out, done)


@app.command()
def status(as_json: Json = False) -> None:
    """
    Show how the project stands: champion, service, last window and verdict, last retrain.

    Example: kedge status --json
    """
    from flows.show import show_status
    from flows.status import status as status_now
    from flows.status import to_json

    seen = status_now(_place())
    if as_json:
        typer.echo(to_json(seen))
    else:
        show_status(_out, seen)


@app.command()
def doctor(as_json: Json = False) -> None:
    """
    Check Python, packages, GPU, disk, ports, database, object store and Prefect; say what to do.

    Example: kedge doctor
    """
    from flows.doctor import examine
    from flows.show import show_checks
    from flows.status import to_json

    checks = examine()
    if as_json:
        listed = list(checks)
        typer.echo(to_json([vars(check) for check in listed]))
        well = all(check.state != "fail" for check in listed)
    else:
        well = show_checks(_out, checks)
    if not well:
        sys.exit(1)


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")] = False,
    folder: Annotated[Path, typer.Option(help="The demo's project; made anew each time.")] = Path(".kedge/demo"),
    as_json: Json = False,
) -> None:
    """
    Run the whole loop here, on real digits with a simulated new camera: three to five minutes.

    Example: kedge demo --keep
    """
    from flows.demo import run_demo
    from flows.status import to_json

    result = run_demo(folder, seed=seed, keep=keep, console=Console(stderr=True) if as_json else _out)
    if as_json:
        typer.echo(to_json(result))


def _train(work: Callable[..., Any], *, as_json: bool) -> None:
    from flows.show import show_training
    from flows.status import to_json
    from flows.telling import on_terminal

    place = _place()
    with on_terminal(Console(stderr=True)) as teller:
        outcome = work(place, teller)
    if as_json:
        typer.echo(to_json(outcome))
    else:
        show_training(_out, outcome)
    if outcome.refused:
        sys.exit(3)


def _show_rollout(rollout: Any, name: str) -> None:
    if rollout.workers:
        who = f"{rollout.workers} serving worker(s) answer with it after {rollout.seconds:.1f} s"
    else:
        who = "nobody is serving yet"
    _out.print(f"{name}:{rollout.promotion.version} is champion; {who}.", highlight=False)


def _place() -> Any:
    from flows.workplace import open_workplace

    return open_workplace()


def _person() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


if __name__ == "__main__":
    main()
