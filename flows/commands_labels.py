"""`kedge labels`: what people said, what to ask them next, and the files by which both travel."""

from pathlib import Path
from typing import Annotated

import typer

from flows import terminal
from flows.terminal import Json
from infra.errors import UserError


def list_labels(
    orphans: Annotated[bool, typer.Option("--orphans", help="Only those of no prediction in the log.")] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Only those of a class that the champion lacks.")
    ] = False,
    last: Annotated[int, typer.Option(help="The newest so many; 0 = all.", min=0)] = 20,
    as_json: Json = False,
) -> None:
    """
    List the labels that count: the last of each answer, the newest first.

    An orphan's prediction may still be on its way to the tables, or its id is mistyped. What is in quarantine is
    kept until a champion has the class.

    Example: kedge labels list --orphans
    """
    from flows.kept_labels import kept_labels
    from flows.show_labels import show_labels

    found = [
        label
        for label in kept_labels(terminal.place())
        if (label.orphan or not orphans) and (label.quarantined or not quarantine)
    ]
    chosen = found[:last] if last else found
    if as_json:
        terminal.show_json([vars(label) for label in chosen])
    elif chosen:
        show_labels(terminal.out, chosen, len(found))
    else:
        terminal.out.print("There are no such labels." if orphans or quarantine else "There are no labels yet.")


def next_labels(
    limit: Annotated[int, typer.Option(help="At most so many; 0 = all.", min=0)] = 20,
    as_json: Json = False,
) -> None:
    """
    Show what to label now and why, with the pictures, and who has answered so far.

    A part of them is drawn by chance alone (labels.audit_share): estimates and the evidence of harm rest on those, so
    label them first, and without looking at the model's answer.

    Example: kedge labels next --limit 10
    """
    from flows.label_export import next_labels as found_next
    from flows.show_labels import show_next

    found = found_next(terminal.place(), limit)
    if as_json:
        terminal.show_json(found)
    else:
        show_next(terminal.out, found)


def export(
    csv: Annotated[
        Path | None, typer.Option("--csv", help="A table to fill in; `kedge labels import` takes it.")
    ] = None,
    label_studio: Annotated[
        Path | None, typer.Option("--label-studio", help="Tasks as JSON; the interface is written beside it as XML.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Copy the pictures into this folder.", show_default=False)
    ] = None,
    image_url: Annotated[
        str | None, typer.Option(help="What picture links begin with, where you serve that folder yourself.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was exported before.")] = False,
    as_json: Json = False,
) -> None:
    """
    Write what to label now into a file, with its pictures.

    What was drawn by chance is exported blind, without the model's answer; the rest has it as a pre-annotation.

    Example: kedge labels export --label-studio tasks.json --images pictures

    Example: kedge labels export --csv to-label.csv
    """
    from flows import label_export
    from flows.show_labels import show_exported

    if (csv is None) == (label_studio is None):
        raise UserError("Nothing was exported: name one file, with --csv or with --label-studio.")
    place = terminal.place()
    if csv is not None:
        done = label_export.export_csv(place, csv, images, again=again)
    else:
        assert label_studio is not None, "one of the two is given"
        done = label_export.export_label_studio(place, label_studio, images, image_url=image_url, again=again)
    if as_json:
        terminal.show_json(done)
    else:
        show_exported(terminal.out, done, own_links=image_url is not None)


def import_labels(
    file: Annotated[Path, typer.Argument(help="CSV with the columns id and label, or an export of Label Studio.")],
    as_json: Json = False,
) -> None:
    """
    Take labels from a file: CSV (id, label, and labelled_by if known), or Label Studio's JSON or JSON-MIN.

    The same labels twice count once. A CSV with an incomplete row is not taken at all; of Label Studio's tasks those
    that cannot be taken are named.

    Example: kedge labels import labels.csv

    Example: kedge labels import project-3-at-2026-11-21.json
    """
    from flows.labels import import_file

    imported = import_file(terminal.place(), file)
    if as_json:
        terminal.show_json(imported)
    else:
        terminal.out.print(imported.words(), highlight=False, markup=False, soft_wrap=True)


def skip(
    ids: Annotated[list[str], typer.Argument(help="Ids of predictions, as `kedge labels next` shows them.")],
    as_json: Json = False,
) -> None:
    """
    Say that nobody can tell what a picture shows; it is not asked for any more.

    Skipped pictures are counted: they may be the hard ones, and estimates say so.

    Example: kedge labels skip 0198f3a2-7c1e-7d53-9d0a-5b8f4f6a2c11
    """
    from monitoring.labelling.rows import skip as skip_now

    place = terminal.place()
    skipped = skip_now(place.engine, place.settings.project.name, ids)
    missing = [one for one in dict.fromkeys(ids) if one not in skipped]
    if as_json:
        terminal.show_json({"skipped": list(skipped), "not_asked": missing})
    elif skipped:
        terminal.out.print(f"{len(skipped)} will not be asked for any more.", highlight=False)
    if missing:
        raise UserError(f"No label is waited for under {', '.join(missing)}. `kedge labels next` shows those that are.")
