"""`kedge tidy` and `kedge forget`: what is kept, and what is not kept any more."""

from typing import Annotated, Any

import typer
from rich.console import Console

from flows import terminal
from flows.terminal import Json
from infra.errors import UserError

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def tidy(dry_run: DryRun = False, as_json: Json = False) -> None:
    """
    Merge the tables' small files, delete what is past its time (section retention), go on with requests to forget.

    `kedge up` does it by itself, as retention.cron says.

    Example: kedge tidy --dry-run
    """
    from flows.telling import on_terminal
    from flows.tidying import tidy as tidy_now

    place = terminal.place()
    with on_terminal(Console(stderr=True)) as teller:
        done = tidy_now(place, teller, dry_run=dry_run)
    if as_json:
        terminal.show_json(done)
        return
    for words in done.words():
        terminal.out.print(words, highlight=False, markup=False, soft_wrap=True)


def forget(
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Id of a prediction; may be given again.", show_default=False)
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show the requests so far, by pseudonym.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """
    Forget a prediction: its rows, its labels, its picture, and every copy that was made of them.

    Killed or cut short, the same command goes on, and so does `kedge tidy`. What cannot be removed is listed.

    Example: kedge forget --id 0198f3a2-7c1e-7d53-9d0a-5b8f4f6a2c11
    """
    place = terminal.place()
    if listed:
        _show_requests(place, as_json=as_json)
        return
    if not ids or not all(ids):
        raise UserError("Nothing was forgotten: name a prediction with --id; `kedge forget --list` shows the requests.")
    if dry_run:
        _show_preview(place, ids, as_json=as_json)
        return
    from flows.forget import forget as forget_now
    from flows.telling import on_terminal

    with on_terminal(Console(stderr=True)) as teller:
        done = forget_now(place, ids, teller, terminal.person())
    if as_json:
        terminal.show_json(done)
    else:
        for identifier, one in done.items():
            _show_forgotten(identifier, one)
    unknown = [identifier for identifier, one in done.items() if not one.known]
    if unknown:
        raise UserError(
            f"No prediction has the id {_quoted(unknown)}; labels for it, if there were any, are deleted. "
            "Expected an id as the answer to a prediction had it."
        )


def _show_forgotten(identifier: str, one: Any) -> None:
    rows = ", ".join(f"{count} of {name}" for name, count in one.rows.items())
    words = f"{identifier}: deleted {rows} (rows), {one.images} pictures, {one.copies} copies and cached parts."
    terminal.out.print(words, highlight=False, markup=False, soft_wrap=True)
    terminal.out.print(f"  From now on it is only {one.pseudonym} in the ledger.", style="dim", highlight=False)
    terminal.out.print("  What cannot be removed:", highlight=False)
    for sentence in one.left:
        terminal.out.print(f"  - {sentence}", highlight=False, markup=False, soft_wrap=True)


def _show_preview(place: Any, ids: list[str], *, as_json: bool) -> None:
    from flows.forget import preview

    found = {identifier: preview(place, identifier) for identifier in ids}
    if as_json:
        documents = {
            identifier: {"rows": traces.rows, "images": others} for identifier, (traces, others) in found.items()
        }
        terminal.show_json(documents)
        return
    for identifier, (traces, others) in found.items():
        rows = ", ".join(f"{count} of {name}" for name, count in traces.rows.items())
        shared = sum(count > 0 for count in others.values())
        words = f"{identifier}: would delete {rows} (rows) and {len(others) - shared} pictures; {shared} pictures "
        words += "would stay, for other predictions show them. Nothing was changed; what still lies in the spool is "
        terminal.out.print(f"{words}not counted.", highlight=False, markup=False, soft_wrap=True)


def _show_requests(place: Any, *, as_json: bool) -> None:
    from flows.show import ago, table
    from infra.forgettings import all_forgettings

    requests = all_forgettings(place.engine)
    if as_json:
        names = ("pseudonym", "state", "created_at", "finished_at")
        outcomes = [one.steps.get("outcome") for one in requests]
        terminal.show_json(
            [
                {**{name: getattr(one, name) for name in names}, "outcome": outcome}
                for one, outcome in zip(requests, outcomes, strict=True)
            ]
        )
        return
    if not requests:
        terminal.out.print("Nobody has asked to be forgotten.")
        return
    shown = table("pseudonym", "state", "asked", "finished", "#rows", "#pictures")
    for one in requests:
        outcome = one.steps.get("outcome", {})
        finished = "–" if one.finished_at is None else ago(one.finished_at)
        counts = [str(sum(outcome["rows"].values())), str(outcome["images"])] if outcome else ["–", "–"]
        shown.add_row(one.pseudonym[:16], one.state, ago(one.created_at), finished, *counts)
    terminal.out.print(shown)


def _quoted(ids: list[str]) -> str:
    return ", ".join(f"'{one}'" for one in ids)
