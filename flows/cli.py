"""The `kedge` command: reads arguments, calls one function, shows what came of it."""

import signal
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from flows import (
    commands_audit,
    commands_drill,
    commands_jobs,
    commands_keeping,
    commands_labels,
    commands_performance,
    commands_predict,
    commands_rollout,
    commands_tokens,
    commands_training,
    commands_versions,
    terminal,
)
from flows.asking import Service
from flows.backtest import commands_backtest
from flows.classes import commands_classes
from flows.gating import commands_gate
from flows.history import commands_history, commands_ledger
from flows.terminal import Json
from infra.errors import Interrupted, UserError

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
    help="Labels: what to ask people for, and what came back for predictions.\n\nExample: kedge labels next",
)
app.add_typer(labels_app, name="labels")
token_app = typer.Typer(
    no_args_is_help=True,
    help="Bearer tokens: who may ask what of the service.\n\nExample: kedge token create hall-3 --role predict",
)
app.add_typer(token_app, name="token")
rollout_app = typer.Typer(invoke_without_command=True, callback=commands_rollout.rollout)
app.add_typer(rollout_app, name="rollout")
models_app = typer.Typer(invoke_without_command=True, callback=commands_history.models)
app.add_typer(models_app, name="models")
classes_app = typer.Typer(invoke_without_command=True, callback=commands_classes.classes)
app.add_typer(classes_app, name="classes")
jobs_app = typer.Typer(invoke_without_command=True, callback=commands_jobs.jobs)
app.add_typer(jobs_app, name="jobs")
ledger_app = typer.Typer(
    no_args_is_help=True,
    help="The ledger: what was seen, decided and done, in chained rows.\n\nExample: kedge ledger verify",
)
app.add_typer(ledger_app, name="ledger")

_INTERRUPTED = 130


class ServerRuntime(StrEnum):
    """What carries the service's one ASGI app."""

    bentoml = "bentoml"
    uvicorn = "uvicorn"


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
    except Interrupted as stop:
        words = f"[yellow]Stopped.[/] {terminal.escaped(str(stop))}"
        Console(stderr=True).print(words, highlight=False, soft_wrap=True)
        sys.exit(stop.exit_code)
    except UserError as error:
        # Soft: a path that is broken into two lines can be neither clicked nor copied.
        Console(stderr=True).print(
            f"[bold red]kedge:[/] {terminal.escaped(str(error))}", highlight=False, soft_wrap=True
        )
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        Console(stderr=True).print("[yellow]Stopped.[/] Nothing is half-done; run the same command to go on.")
        sys.exit(_INTERRUPTED)
    except OSError as error:
        if error.filename is None:
            raise
        # A folder that is not there or may not be written, a full disk: no fault of ours, and nothing to trace.
        words = f"{error.filename} cannot be used: {error.strerror}. Expected a path that this user can read and write."
        Console(stderr=True).print(f"[bold red]kedge:[/] {terminal.escaped(words)}", highlight=False, soft_wrap=True)
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
    terminal.out.print(
        f"Wrote {path}. Next: set data.manifest in it, then `kedge data` checks the images.", highlight=False
    )


def _service(url: str, token: str, patience_s: float) -> Service:
    from service.client import Client

    return Client(url, token, patience_s=patience_s)


app.command()(commands_training.data)
app.command()(commands_training.train)
app.command()(commands_training.retrain)


@app.command()
def up() -> None:
    """
    Start everything: Prefect, the service, the shipper, the console, the runner and the painter of Evidently's pages,
    which are served too; Ctrl-C stops it all.

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
    household = children.household(settings, children.service(settings, command.argv, command.env, command.stop_s))
    supervisor.up(settings, household, show_up.teller(terminal.out, settings))


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
    announce = partial(terminal.out.print, words, highlight=False)
    sys.exit(commands.run_serve(settings, runtime=runtime.value, announce=announce))


@app.command()
def watch(
    every: Annotated[float, typer.Option(help="Look again every so many seconds; 0 = once.")] = 0.0,
    accept_as_normal: Annotated[
        str | None,
        typer.Option(help="Do not look; take the present as the new normal, for this reason.", metavar="WHY"),
    ] = None,
    resolved: Annotated[
        str | None,
        typer.Option(help="Do not look; what raised the alarms was put right, as this says.", metavar="WHY"),
    ] = None,
    as_json: Json = False,
) -> None:
    """
    Look at the traffic once: close the windows that are full, weigh the evidence, say a verdict.

    A person's word begins the evidence anew: `--accept-as-normal` with a profile of what came since the change,
    `--resolved` beside the same profile.

    Example: kedge watch --json
    """
    from flows.show_watch import show_seen
    from flows.watching import repeat
    from flows.words_on_alarms import say

    if accept_as_normal is not None or resolved is not None:
        say(accept_as_normal, resolved, as_json=as_json)
        return
    for seen in repeat(terminal.place().settings, every):
        if as_json:
            terminal.show_json(seen)
        else:
            show_seen(terminal.out, seen, whole=every <= 0)


jobs_app.command()(commands_jobs.show)
jobs_app.command()(commands_jobs.cancel)
models_app.command()(commands_history.history)
models_app.command()(commands_gate.compare)
classes_app.command()(commands_classes.add)
app.command()(commands_gate.gate)
app.command()(commands_gate.judge)
ledger_app.command()(commands_ledger.show)
ledger_app.command()(commands_ledger.verify)
ledger_app.command()(commands_ledger.export)
app.command()(commands_history.explain)
app.command()(commands_versions.promote)
app.command()(commands_versions.rollback)
rollout_app.command()(commands_rollout.start)
rollout_app.command()(commands_rollout.stop)
rollout_app.command()(commands_rollout.gallery)
app.command()(commands_drill.drill)
app.command()(commands_rollout.shadow)
app.command()(commands_rollout.canary)
app.command()(commands_rollout.compare)
app.command()(commands_predict.predict_through(_service))
app.command()(commands_predict.feedback_through(_service))
labels_app.command("next")(commands_labels.next_labels)
labels_app.command("export")(commands_labels.export)
labels_app.command("import")(commands_labels.import_labels)
labels_app.command("skip")(commands_labels.skip)
labels_app.command("list")(commands_labels.list_labels)
app.command()(commands_performance.performance)
app.command()(commands_backtest.backtest)
app.command()(commands_audit.audit)
app.command()(commands_keeping.tidy)
app.command()(commands_keeping.forget)
token_app.command()(commands_tokens.create)
token_app.command("list")(commands_tokens.list_tokens)
token_app.command()(commands_tokens.revoke)


@app.command()
def status(as_json: Json = False) -> None:
    """
    Show how the project stands: champion, service, last window and verdict, last retrain.

    Example: kedge status --json
    """
    from flows.show import show_status
    from flows.status import status as status_now

    seen = status_now(terminal.place())
    if as_json:
        terminal.show_json(seen)
    else:
        show_status(terminal.out, seen)


@app.command()
def doctor(as_json: Json = False) -> None:
    """
    Check Python, packages, GPU, disk, ports, database, object store and Prefect; say what to do.

    Example: kedge doctor
    """
    from flows.doctor import examine
    from flows.show_checks import show_checks

    checks = examine()
    if as_json:
        listed = list(checks)
        terminal.show_json([vars(check) for check in listed])
        well = all(check.state != "fail" for check in listed)
    else:
        well = show_checks(terminal.out, checks)
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

    result = run_demo(folder, seed=seed, keep=keep, console=Console(stderr=True) if as_json else terminal.out)
    if as_json:
        terminal.show_json(result)


if __name__ == "__main__":
    main()
