"""
`kedge forget`: one prediction, its labels and its picture, wherever copies of them lie.

The request is a row, and every step notes in it that it is done, so that one that was killed is gone on with by
the same command, by `kedge tidy` or by the schedule. Each step can be done twice. While the request is open no shipper
lets a record of it through; at the end row and ledger name a pseudonym whose key is gone (`infra.forgettings`).

A label for the id that comes after that is kept as any label for an unknown id is: it names no picture, and no answer.
"""

import contextlib
import fcntl
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows import pinned
from flows.collecting.manifest import forget_in_manifests
from flows.forgetting import caches, leftovers, pictures, run_folders, spool
from flows.pinned import PARTS
from flows.telling import Teller
from flows.workplace import Workplace
from infra.errors import UserError
from infra.forgettings import Forgetting, ask_to_forget, finish_forgetting, note_step, open_forgettings
from monitoring.blocks.rows import forget_in_blocks
from monitoring.evidently_pages.place import drop_snapshots
from monitoring.forgetting.normals import forget_in_normals
from monitoring.forgetting.pages import (
    drop_contributor,
    drop_reference_image,
    drop_waiting_labels,
    drop_window_pages,
)
from monitoring.forgetting.rows import Traces, erase, traces_of, uses_of_images
from monitoring.labelling.keeping import drop_request, was_exported
from monitoring.prediction_log import image_key

_TRAINING_PARTS = ("train", "select")


@dataclass(frozen=True)
class Forgotten:
    """
    One request that is finished.

    Attributes:
        known: Whether a prediction had the id; labels without one are deleted all the same.
        rows: Deleted, or dropped on their way from the spool, by table.
        images: Deleted.
        copies: Files, pages and caches that were removed or changed.
        left: What could not be removed, a sentence each.
    """

    pseudonym: str
    known: bool
    rows: Mapping[str, int]
    images: int
    copies: int
    left: tuple[str, ...]


def forget(place: Workplace, ids: Sequence[str], teller: Teller, actor: str) -> dict[str, Forgotten]:
    """
    Forget these predictions, and whatever was asked for before and is still open; gives what came of each id.

    Raises:
        UserError: the spool cannot be shipped, or a running training has to end first; the requests stay open.
    """
    asked = {ask_to_forget(place.engine, one, actor).pseudonym: one for one in dict.fromkeys(ids)}
    done = go_on(place, teller, actor)
    return {asked[one.pseudonym]: one for one in done if one.pseudonym in asked}


def go_on(place: Workplace, teller: Teller, actor: str = "kedge") -> list[Forgotten]:
    """
    Do what is left of every open request.

    Raises:
        UserError: as `forget`; what could be done is done.
    """
    with _alone(place, teller):
        waiting = list(open_forgettings(place.engine))
        if not waiting:
            return []
        waiting = _shipped(place, waiting, teller)
        waiting = [_erased(place, one) for one in waiting if one.prediction_id is not None]
        waiting = _shed(place, [one for one in waiting if one.prediction_id is not None], teller)
        done, refusals = [], []
        # Another machine may be at the same requests, and one that it has finished names nobody any more.
        for one in (one for one in waiting if one.prediction_id is not None):
            try:
                done.append(_copies_removed(place, one, teller, actor))
            except run_folders.StillInUse as refusal:
                refusals.append(str(refusal))
    if refusals:
        raise UserError(refusals[0])
    return done


def preview(place: Workplace, identifier: str) -> tuple[Traces, Mapping[str, int]]:
    """What the tables hold of an id now, and how many other predictions show each of its images; changes nothing."""
    traces = traces_of(place.log, identifier)
    mine: dict[str, int] = {}
    for one in traces.answered:
        mine[one.image_sha256] = mine.get(one.image_sha256, 0) + 1
    uses = uses_of_images(place.log, traces.images)
    return traces, {image: uses[image] - mine[image] for image in traces.images}


def _shipped(place: Workplace, waiting: Sequence[Forgetting], teller: Teller) -> list[Forgetting]:
    """Everything that was written before the requests is in the tables, or dropped on the way."""
    new = [one for one in waiting if "spool" not in one.steps]
    if not new:
        return list(waiting)
    teller.say("Bringing what was answered so far to the tables …")
    spool.ship_everything(place, teller)
    others = spool.wait_for_other_machines(place, new, teller)
    noted = {one.id: note_step(place.engine, one.id, "spool", {"others": list(others)}) for one in new}
    return [noted.get(one.id, one) for one in waiting]


def _erased(place: Workplace, one: Forgetting) -> Forgetting:
    """The rows are gone from the tables; what they named is noted first, or nobody would know it after a kill."""
    assert one.prediction_id is not None
    traces = traces_of(place.log, one.prediction_id)
    if "erased" in one.steps and not traces:
        return one
    # Noted again and again until they are gone: a kill in between must neither lose what they named nor count twice.
    one = note_step(place.engine, one.id, "found", _found(place, one.prediction_id, traces, one.steps))
    erase(place.log, traces)
    return note_step(place.engine, one.id, "erased", {"history shed": False})


def _found(place: Workplace, identifier: str, traces: Traces, steps: Mapping[str, Any]) -> dict[str, Any]:
    before = steps.get("found", {})
    images = sorted({*traces.images, *before.get("images", [])})
    holders = run_folders.holders(place, images) if images else []
    trained = {run.version for run in holders if _has(run.parts, _TRAINING_PARTS, images)} - {None}
    judged = {run.version for run in holders if _has(run.parts, set(PARTS) - {*_TRAINING_PARTS}, images)} - {None}
    answered = [[one.at.isoformat(), one.model_version] for one in traces.answered]
    # Rows that are found once the first are gone came later, from the spool of another machine; before that, a kill
    # between deletion and its note leaves fewer to be found than there were.
    together = operator.add if "erased" in steps else max
    earlier, earlier_answered = before.get("rows", {}), before.get("answered", [])
    return {
        "rows": {name: together(count, earlier.get(name, 0)) for name, count in traces.rows.items()},
        "images": images,
        "answered": [*earlier_answered, *(one for one in answered if one not in earlier_answered)],
        "trained": sorted({*before.get("trained", []), *trained}),
        "judged": sorted({*before.get("judged", []), *judged}),
        "exported": before.get("exported", False)
        or was_exported(place.engine, place.settings.project.name, identifier),
        "machines": sorted({*before.get("machines", []), *(pinned.other_machines(place) if images else ())}),
    }


def _has(parts: Mapping[str, frozenset[str]] | None, names: Sequence[str] | set[str], images: Sequence[str]) -> bool:
    return any((parts or {}).get(name, frozenset()) & set(images) for name in names)


def _shed(place: Workplace, waiting: Sequence[Forgetting], teller: Teller) -> list[Forgetting]:
    """Nothing of the rows is left in older files and in the tables' logs; once for all requests together."""
    lacking = [one for one in waiting if not one.steps["erased"]["history shed"]]
    if not lacking:
        return list(waiting)
    for number, table in enumerate(place.log.tables, start=1):
        table.shed_history()
        teller.progress("tables cleaned", number, len(place.log.tables))
    noted = {one.id: note_step(place.engine, one.id, "erased", {"history shed": True}) for one in lacking}
    return [noted.get(one.id, one) for one in waiting]


def _copies_removed(place: Workplace, one: Forgetting, teller: Teller, actor: str) -> Forgotten:
    """Images that nobody else showed, everything made from them, and then the request's own memory."""
    assert one.prediction_id is not None
    found = one.steps["found"]
    others = {image: count for image, count in uses_of_images(place.log, found["images"]).items() if count}
    images = [image for image in found["images"] if image not in others]
    if images:
        run_folders.check_not_running(place, images)
    # First of all, so that no training that begins now finds it.
    for image in images:
        place.objects.delete(image_key(image))
    left = [
        *leftovers.of_trainings(found["trained"], found["judged"], place.settings.project.name),
        *leftovers.of_images(list(others.values())),
        *leftovers.of_machines({*one.steps["spool"]["others"], *found["machines"]}),
        *leftovers.of_exclusions(place, images),
        *leftovers.of_exports(exported=found.get("exported", False)),
        *leftovers.always(),
    ]
    copies = one.steps.get("copies", {}).get("count", 0) + _forget_everywhere(place, one, images)
    one = note_step(place.engine, one.id, "copies", {"count": copies})
    dropped = one.steps.get("dropped", {})
    rows = {name: count + dropped.get(name, 0) for name, count in found["rows"].items()}
    outcome = {
        "known": bool(rows.get("predictions")),
        "rows": rows,
        "images": len(images),
        "images_kept": len(others),
        "copies": copies,
        "left": left,
    }
    row = finish_forgetting(place.engine, one.id, outcome, actor)
    teller.say(f"Forgotten: {row.pseudonym[:12]}…")
    return Forgotten(row.pseudonym, outcome["known"], rows, len(images), copies, tuple(left))


def _forget_everywhere(place: Workplace, one: Forgetting, images: Sequence[str]) -> int:
    assert one.prediction_id is not None
    name, found = place.settings.project.name, one.steps["found"]
    changed = drop_waiting_labels(place.engine, name, one.prediction_id)
    changed += forget_in_blocks(place.objects, name, one.prediction_id)
    changed += forget_in_normals(place.engine, place.objects, name, one.prediction_id)
    changed += drop_request(place.engine, name, one.prediction_id)
    predictions = [(datetime.fromisoformat(at), int(version)) for at, version in found["answered"]]
    pages = drop_window_pages(place.engine, place.objects, name, predictions)
    changed += drop_contributor(place.engine, name, one.prediction_id)
    changed += len(pages) + drop_snapshots(place.settings.storage.home, name, pages)
    changed += pictures.forget_in_audits(place, [one.prediction_id, *images])
    if not images:
        return changed
    labelled = bool(found["rows"].get("labels"))
    holders = run_folders.holders(place, images)
    changed += pictures.forget_in_reports(place, images) if labelled or holders else 0
    changed += forget_in_manifests(place, images) if labelled or holders else 0
    changed += caches.forget_in_caches(place, images, trained=labelled or bool(holders))
    for run in holders:
        for image in images:
            spot = run_folders.place_in_select(run.folder, image) if run.parts is not None else None
            if spot is not None and run.version is not None:
                changed += drop_reference_image(place.engine, place.objects, name, run.version, *spot)
            # The snapshot says where the image stood: each leaves it before the next is looked up.
            changed += run_folders.forget_in_run(run, [image])
    return changed


@contextlib.contextmanager
def _alone(place: Workplace, teller: Teller) -> Iterator[None]:
    """One at a time in this home: two would wait for each other's tables."""
    path = place.settings.storage.home / "forget.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            teller.say("Another process is forgetting; waiting for it …")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
