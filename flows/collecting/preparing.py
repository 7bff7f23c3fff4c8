"""The run directory of an order: made anew, or found as a job that was broken off left it."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from flows.collecting.collect import first_snapshot, retrain_snapshot
from flows.collecting.images import read_image
from flows.collecting.run_folder import write_run_dir
from flows.collecting.snapshot import Snapshot, keep_snapshot, kept_snapshot
from flows.input_size import chosen_size
from flows.orders import SUCCESSOR, Order
from flows.plans import first_plan, successor_plan
from flows.telling import Teller
from flows.workplace import Workplace
from models.artifact import read_artifact
from models.registry import ModelVersion
from models.training.plan import TrainingPlan, read_plan, write_plan


def prepared(place: Workplace, order: Order, champion: ModelVersion | None, teller: Teller) -> Snapshot:
    """
    Fill the run directory with images, plan and start weights, or find it filled: then the job goes on there.

    Raises:
        UserError: the data cannot be used.
    """
    kept = kept_snapshot(order.run_dir)
    parent = None if champion is None else champion.version
    # Begun from another champion, it would be judged against one that it never met: then it starts anew.
    if kept is not None and order.kind == SUCCESSOR and read_plan(order.run_dir).parent_version == parent:
        teller.say(f"Going on in {order.run_dir}.")
        return kept
    if order.kind == SUCCESSOR and champion is not None:
        folder = place.registry.fetch(champion.version, place.fetched, with_weights=True)
        artifact = read_artifact(folder, with_weights=True)
        # Sorted, as everywhere; the champion's weights find their rows of the head by the class's name.
        classes = tuple(sorted({*artifact.classes, *order.new_classes}))
        snapshot = retrain_snapshot(place, champion, classes)
        plan = successor_plan(place.settings, artifact, champion.version, order.reason, order.shift)
        plan = replace(plan, classes=classes)
        start = folder / "model.safetensors"
    else:
        snapshot, plan = _first(place, order, teller)
        start = None
        if kept == snapshot and read_plan(order.run_dir) == plan:
            teller.say(f"Going on in {order.run_dir}: data and settings are the same.")
            return kept
    _begin(place, order.run_dir, snapshot, plan, start)
    words = f"{len(snapshot.train)} images train ({snapshot.fresh} of them newly labelled), "
    words += f"{len(snapshot.select)} select, {len(snapshot.judge_old) + len(snapshot.judge_recent)} judge."
    teller.say(words + "".join(f" {count} left out: {why}." for why, count in snapshot.left_out.items()))
    for remark in snapshot.remarks:
        teller.warn(f"{remark}.")
    return snapshot


def is_as_begun(place: Workplace, order: Order, teller: Teller) -> bool:
    """
    Whether a training from the manifest that was broken off would begin with the same images and settings again.

    Raises:
        UserError: the data cannot be used.
    """
    kept = kept_snapshot(order.run_dir)
    return kept is not None and (kept, read_plan(order.run_dir)) == _first(place, order, teller)


def _first(place: Workplace, order: Order, teller: Teller) -> tuple[Snapshot, TrainingPlan]:
    snapshot = first_snapshot(place)
    size = _image_size(place, snapshot, teller)
    return snapshot, first_plan(place.settings, snapshot.classes, order.reason, size)


def _image_size(place: Workplace, snapshot: Snapshot, teller: Teller) -> int:
    """Pixels a side of a first model's images; 0 = as the settings say."""
    if place.settings.model.image_size:
        return 0
    size = chosen_size(place.settings.model.backbone, snapshot.train, partial(read_image, place))
    if size.words:
        teller.say(size.words)
    return size.pixels


def _begin(place: Workplace, run_dir: Path, snapshot: Snapshot, plan: TrainingPlan, start: Path | None) -> None:
    """Fill the run directory; the snapshot comes last, and by it a whole one is known."""
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    if start is not None:
        shutil.copyfile(start, run_dir / "start.safetensors")
    write_run_dir(place, snapshot, run_dir)
    write_plan(plan, run_dir)
    keep_snapshot(snapshot, run_dir)
