"""`kedge predict` and `feedback`: ask the service about images, and tell it what the answer should have been."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from flows import terminal
from flows.asking import Correction, OpenService, Row, address, ask, helped, image_files
from flows.terminal import Json
from infra.errors import UserError

_MANY = 16
# A person wants to know soon that nobody answers; but many images should outlast a busy moment or a restart.
_PATIENCE_S, _PATIENCE_FOR_MANY_S = 5.0, 60.0

_Url = Annotated[
    str | None,
    typer.Option(help="The service's address; by default that of the project in this folder.", show_default=False),
]
_Token = Annotated[
    str | None, typer.Option(envvar="KEDGE_TOKEN", help="Bearer token, where one is needed.", show_default=False)
]


def predict_through(open_service: OpenService) -> Callable[..., None]:
    """The command `predict`, which reaches the service through `open_service`."""

    def predict(
        images: Annotated[list[str], typer.Argument(help="Files; folders, for what is in them; - for standard input.")],
        meta: Annotated[
            list[str] | None,
            typer.Option(metavar="NAME=VALUE", help="Metadata of all the images; may be repeated.", show_default=False),
        ] = None,
        identifier: Annotated[
            str | None, typer.Option("--id", help="Your own id for one image.", show_default=False)
        ] = None,
        url: _Url = None,
        token: _Token = None,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object per image and line, for scripts.")] = (
            False
        ),
    ) -> None:
        """
        Ask the running service what images show.

        An image that gets no answer does not stop the others; then the command ends with 1.

        Example: kedge predict photos/ --meta camera=hall-1

        Example: kedge predict card.jpg --json
        """
        metadata = _metadata(meta or [])
        files = image_files(images)
        if identifier is not None and len(files) > 1:
            raise typer.BadParameter(f"--id names one image, and there are {len(files)}")
        where = address(url, token)
        patience_s = _PATIENCE_S if len(files) <= _MANY else _PATIENCE_FOR_MANY_S
        with open_service(where.url, where.token, patience_s) as service:
            rows = ask(service, files, metadata, identifier)
            failed = _as_lines(rows) if as_json else _as_table(_with_a_bar(rows, len(files)))
        if failed:
            raise UserError(f"{failed} of {len(files)} images got no answer.")

    return predict


def feedback_through(open_service: OpenService) -> Callable[..., None]:
    """The command `feedback`, which reaches the service through `open_service`."""

    def feedback(
        identifier: Annotated[str, typer.Argument(metavar="ID", help="Of the answer, as `kedge predict` shows it.")],
        label: Annotated[str, typer.Argument(help="What the image truly shows.")],
        by: Annotated[str, typer.Option(help="Who says so.", show_default=False)] = "",
        url: _Url = None,
        token: _Token = None,
        as_json: Json = False,
    ) -> None:
        """
        Tell the running service what an answer should have been.

        Of several labels for one answer the last counts; all are kept. `kedge labels import` takes many at once.

        Example: kedge feedback 019343a2-6f1e-7c3b-9d64-0f0e6b1f2a11 owl --by Ada
        """
        where = address(url, token)
        with open_service(where.url, where.token, _PATIENCE_S) as service, helped("feedback"):
            notes = service.feedback([Correction(identifier, label, by)])
        if as_json:
            terminal.show_json({"kept": 1, "notes": [dict(note) for note in notes]})
            return
        terminal.out.print(f"Kept: {identifier} is {label}.", highlight=False, markup=False, soft_wrap=True)
        for note in notes:
            terminal.out.print(f"  {note['message']}", style="yellow", highlight=False, markup=False)

    return feedback


def _metadata(given: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"'{text}' should be NAME=VALUE, as in camera=hall-1", param_hint="--meta")
        if name in fields:
            raise typer.BadParameter(f"'{name}' is given twice", param_hint="--meta")
        fields[name] = value
    return fields


def _as_lines(rows: Iterable[Row]) -> int:
    failed = 0
    for row in rows:
        failed += bool(row.code)
        typer.echo(json.dumps(row.to_json(), ensure_ascii=False))
    return failed


def _as_table(rows: Iterable[Row]) -> int:
    from flows.show_answers import show_answers

    got: list[Row] = []
    try:
        got.extend(rows)
    finally:
        # Also where the service went away half-way: what was answered was answered.
        if got:
            show_answers(terminal.out, got)
    return sum(bool(row.code) for row in got)


def _with_a_bar(rows: Iterator[Row], count: int) -> Iterable[Row]:
    if count <= _MANY:
        return rows
    return track(rows, "asking", total=count, console=Console(stderr=True), transient=True)
