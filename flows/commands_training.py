"""`kedge data`, `train` and `retrain`: from images to a model."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows import terminal
from flows.terminal import Json


class Strategy(StrEnum):
    """As `train.strategy`."""

    auto = "auto"
    head = "head"
    staged = "staged"
    full = "full"
    layerwise = "layerwise"
    surgical = "surgical"
    scratch = "scratch"


class Augmentation(StrEnum):
    """As `train.augmentation`."""

    none = "none"
    light = "light"
    medium = "medium"
    strong = "strong"


def data(
    manifest: Annotated[
        Path | None, typer.Argument(metavar="FOLDER|MANIFEST", help="Instead of data.manifest.", show_default=False)
    ] = None,
    label_errors: Annotated[
        bool, typer.Option("--label-errors", help="Rank the labels that the other images contradict; needs a champion.")
    ] = False,
    snapshot: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION|JOB", help="Check that what trained it is still there, as it was.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --snapshot: write those images there once more.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """
    Check the manifest and every image in it, and count what there is.

    Example: kedge data photos/

    Example: kedge data --label-errors

    Example: kedge data --snapshot 3 --out trained-on/
    """
    from flows.data import check_data
    from flows.overrides import Overrides
    from flows.telling import on_terminal

    if out is not None and snapshot is None:
        raise typer.BadParameter("--out goes with --snapshot")
    place = terminal.place(Overrides(data=manifest))
    if snapshot is not None:
        _snapshot(place, snapshot, out, as_json=as_json)
        return
    if label_errors:
        _label_errors(place, as_json=as_json)
        return
    with on_terminal(Console(stderr=True)) as teller:
        checked = check_data(place, teller)
    if as_json:
        terminal.show_json(checked)
        return
    from flows.show import show_data

    show_data(terminal.out, checked.summary)
    for words in checked.remarks:
        terminal.out.print(f"  {words}", style="yellow", highlight=False, markup=False)


def _snapshot(place: Any, name: str, out: Path | None, *, as_json: bool) -> None:
    from flows.collecting.show import show_verified
    from flows.collecting.verifying import recreate, snapshot_named, verify
    from flows.telling import on_terminal

    of, manifest = snapshot_named(place, name)
    with on_terminal(Console(stderr=True)) as teller:
        verified = verify(place, of, manifest, teller)
    if as_json:
        terminal.show_json(verified)
    else:
        show_verified(terminal.out, verified)
    if out is not None:
        count = recreate(place, manifest, out)
        words = f"{out} has the {count} images, with a manifest.csv."
        Console(stderr=True).print(words, highlight=False, markup=False, soft_wrap=True)
    if not verified.reproducible:
        sys.exit(1)


def _label_errors(place: Any, *, as_json: bool) -> None:
    from flows.label_errors import find_label_errors, write_sheet, write_suspects
    from flows.show_training import show_label_errors
    from flows.telling import on_terminal

    with on_terminal(Console(stderr=True)) as teller:
        found = find_label_errors(place, teller)
    folder = place.settings.storage.home / "label-errors"
    write_suspects(found, folder / "suspects.csv")
    write_sheet(place, found, folder / "suspects.html")
    if as_json:
        terminal.show_json(found)
    else:
        show_label_errors(terminal.out, found, folder)


def train(
    images: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER|MANIFEST",
            help="A folder with one folder per class, or a manifest; instead of data.manifest.",
            show_default=False,
        ),
    ] = None,
    strategy: Annotated[
        Strategy | None,
        typer.Option(metavar="NAME", help=f"How to fine-tune: {', '.join(Strategy)}.", show_default=False),
    ] = None,
    budget_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Training stops itself after so many minutes.", show_default=False)
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="auto, timm, none (from scratch) or a .safetensors file.", show_default=False),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=0, help="Pixels a side; 0 = by network and images.", show_default=False)
    ] = None,
    augmentation: Annotated[
        Augmentation | None,
        typer.Option(metavar="NAME", help=f"How images are varied: {', '.join(Augmentation)}.", show_default=False),
    ] = None,
    show_augmentations: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Draw what training would see into this file, and end.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """
    Train on a folder or a manifest, judge, register; promote only when there is no champion yet.

    Without kedge.toml every setting has its default; an option goes before the setting of its name.

    Example: kedge train

    Example: kedge train photos/ --budget-minutes 10
    """
    from flows.overrides import Overrides

    overrides = Overrides(
        data=images,
        strategy=None if strategy is None else strategy.value,
        budget_minutes=budget_minutes,
        weights=weights,
        image_size=image_size,
        augmentation=None if augmentation is None else augmentation.value,
    )
    if show_augmentations is not None:
        from flows.augmentations import draw_augmentations

        drawn = draw_augmentations(terminal.place(overrides), show_augmentations)
        words = f"{show_augmentations} shows {drawn}; nothing was trained."
        terminal.out.print(words, highlight=False, markup=False, soft_wrap=True)
        return
    from flows.first_model import train as train_first

    _train(train_first, overrides, as_json=as_json)


def retrain(
    queue: Annotated[bool, typer.Option("--queue", help="Leave the job to the runner of `kedge up`.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "manual",
    forecast: Annotated[
        bool | None,
        typer.Option(
            "--forecast/--no-forecast",
            help="Try a tenth first, and spare a training whose gain the gate could not see.",
            show_default="only where no person asked",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would train, judge and be left out, and end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """
    Fine-tune a successor from the champion on old and newly labelled images; send it out if the gate agrees.

    Where too few labelled images are there to know (exit code 3), it waits unseen beside the champion until the labels
    have come that it asks for.

    An earlier version that surely knows the new images better returns instead, unless trigger.regimes is off.

    Example: kedge retrain --reason "new camera in hall 3"

    Example: kedge retrain --dry-run
    """
    from flows import retraining
    from flows.summons import call_for_retrain

    if dry_run:
        _dry_run(as_json=as_json)
        return
    if queue:
        place = terminal.place()
        job = retraining.queue_retrain(place, reason, forecast=forecast)
        call_for_retrain(place.settings, job.id)
        if as_json:
            terminal.show_json(job)
            return
        words = f"Job {job.id} is {job.state}; `kedge jobs show {job.id}` shows how it goes."
        if job.reason != reason:
            words += f" It was asked for before, for {job.reason}, and there is one at a time: this wish adds nothing."
        terminal.out.print(words, highlight=False, markup=False, soft_wrap=True)
        return
    _train(lambda place, teller: retraining.retrain_here(place, reason, teller, forecast=forecast), as_json=as_json)


def _dry_run(*, as_json: bool) -> None:
    from flows.collecting.preview import preview_retrain
    from flows.collecting.show import show_preview

    preview = preview_retrain(terminal.place())
    if as_json:
        terminal.show_json(preview)
    else:
        show_preview(terminal.out, preview)


def _train(work: Callable[..., Any], overrides: Any = None, *, as_json: bool) -> None:
    from flows.show_training import show_training
    from flows.telling import on_terminal

    place = terminal.place(overrides)
    with on_terminal(Console(stderr=True), place.settings.train.budget_minutes) as teller:
        outcome = work(place, teller)
    if as_json:
        terminal.show_json(outcome)
    else:
        show_training(terminal.out, outcome, place.settings)
    if outcome.refused or outcome.waits:
        sys.exit(3)
