"""What to label now, for a person or a tool: the open requests with their pictures, as a list, a CSV or tasks."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from flows.kept_labels import champion_classes
from flows.label_files import COLUMNS, guarded
from flows.workplace import Workplace
from infra.clock import now
from infra.errors import UserError
from infra.files import write_atomically
from infra.objects import ObjectMissing
from monitoring.labelling.label_studio import Task, interface
from monitoring.labelling.requests import ASKED, OVERDUE, STRATA, LabelRequest
from monitoring.labelling.responses import StratumResponse, responses, why
from monitoring.labelling.rows import not_kept, note_exported, requests
from monitoring.prediction_log import image_key

_WEEK = timedelta(days=7)
_KINDS = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpg"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"RIFF", "webp"))


@dataclass(frozen=True)
class ToLabel:
    """
    One picture that a person is asked about.

    Attributes:
        picture: Where its bytes lie.
        answer: What the model said; None where the label is to be given blind, as the audit's are: whoever sees an
            answer tends to agree with it, and estimates rest on these.
    """

    id: str
    picture: str
    why: str
    stratum: str
    probability: float
    asked_at: str
    overdue: bool
    answer: str | None
    confidence: float | None


@dataclass(frozen=True)
class NextLabels:
    """
    Everything that waits for a label.

    Attributes:
        waiting: How many there are; `requests` may be fewer.
        come: Requests whose label is in the log already, and which the watcher's next look settles.
        gone: Requests whose picture has been deleted since.
        not_kept: Predictions of the last seven days about which nobody could be asked.
    """

    requests: tuple[ToLabel, ...]
    waiting: int
    come: int
    gone: int
    responses: tuple[StratumResponse, ...]
    not_kept: int


@dataclass(frozen=True)
class Exported:
    """What an export wrote; `images` is None where pictures were not copied, `classes` is what the champion knows."""

    file: str
    requests: int
    gone: int
    images: str | None
    classes: tuple[str, ...] = ()
    config: str | None = None


def next_labels(place: Workplace, limit: int = 0) -> NextLabels:
    """What to label now, the audit's first; at most so many, 0 = all."""
    name = place.settings.project.name
    every = requests(place.engine, name)
    waiting, come = _waiting(place, every)
    there = [one for one in waiting if place.objects.exists(image_key(one.image_sha256))]
    chosen = there[:limit] if limit else there
    shown = tuple(_shown(place, one) for one in chosen)
    unseen = not_kept(place.engine, name, now() - _WEEK)
    return NextLabels(shown, len(there), come, len(waiting) - len(there), responses(every), unseen)


def export_csv(place: Workplace, file: Path, images: Path | None, *, again: bool) -> Exported:
    """
    Write a CSV whose column `label` is to be filled in, for `kedge labels import`.

    Raises:
        UserError: the file is there already, or nothing is waiting.
    """
    waiting = _to_export(place, file, again=again)
    copied, gone = _pictures(place, waiting, images)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in copied:
        shown = _shown(place, one.request)
        picture = shown.picture if one.file is None else _beside(file, one.file)
        confidence = "" if shown.confidence is None else f"{shown.confidence:.4f}"
        texts = (shown.id, "", "", picture, shown.answer or "", confidence, shown.why, shown.stratum)
        writer.writerow([*map(guarded, texts), f"{shown.probability:.6g}"])
    write_atomically(file, text.getvalue())
    return _done(place, file, copied, gone, images)


def export_label_studio(
    place: Workplace, file: Path, images: Path | None, *, image_url: str | None, again: bool
) -> Exported:
    """
    Write tasks for Label Studio, its interface beside them (.xml), and copies of the pictures in a folder.

    Args:
        place: The project.
        file: Of the tasks, JSON.
        images: The folder; None = one beside the file.
        image_url: What a picture's link begins with; None = Label Studio's own serving of local files, whose
            document root is the folder that the pictures' folder lies in.
        again: Also what was exported before.

    Raises:
        UserError: the file is there already, nothing is waiting, or there is no champion to name the classes.
    """
    classes = champion_classes(place)
    if not classes:
        raise UserError("There is no champion, so its classes are not known. Train one first: kedge train.")
    waiting = _to_export(place, file, again=again)
    folder = images or file.with_name(f"{file.stem}-images")
    copied, gone = _pictures(place, waiting, folder)
    prefix = image_url if image_url is not None else f"/data/local-files/?d={quote(folder.resolve().name)}/"
    tasks = []
    for one in copied:
        assert one.file is not None, "there is a folder"
        shown = _shown(place, one.request)
        model = f"{place.settings.project.name}:{one.request.model_version}"
        link = f"{prefix}{quote(one.file.name)}"
        tasks.append(Task(shown.id, link, shown.why, model, shown.answer, shown.confidence).to_json())
    config = file.with_suffix(".xml")
    write_atomically(config, interface(classes))
    write_atomically(file, json.dumps(tasks, ensure_ascii=False, indent=1))
    return _done(place, file, copied, gone, folder, config)


@dataclass(frozen=True)
class _Copied:
    request: LabelRequest
    file: Path | None


def _waiting(place: Workplace, every: Sequence[LabelRequest]) -> tuple[list[LabelRequest], int]:
    """What nobody has answered yet, and how many have a label that the watcher has not seen."""
    asked = [one for one in every if one.state in (ASKED, OVERDUE) and one.same_as is None]
    come = place.log.last_labels({one.prediction_id for one in asked})
    found = [one for one in asked if one.prediction_id not in come]
    found.sort(key=lambda one: (STRATA.index(one.stratum), one.predicted_at, one.prediction_id))
    return found, len(asked) - len(found)


def _shown(place: Workplace, request: LabelRequest) -> ToLabel:
    facts = dict(request.facts or {})
    return ToLabel(
        id=request.prediction_id,
        picture=f"{place.objects.describe().rstrip('/')}/{image_key(request.image_sha256)}",
        why=why(request),
        stratum=request.stratum,
        probability=request.probability,
        asked_at=request.asked_at.isoformat(),
        overdue=request.state == OVERDUE,
        answer=None if request.in_audit else facts.get("answer"),
        confidence=None if request.in_audit else facts.get("confidence"),
    )


def _to_export(place: Workplace, file: Path, *, again: bool) -> list[LabelRequest]:
    if file.exists():
        raise UserError(f"{file} is there already, and may hold labels. Name another file, or remove it first.")
    if not file.parent.is_dir():
        raise UserError(f"The folder {file.parent} is not there. Make it first, or name another file.")
    waiting, _ = _waiting(place, requests(place.engine, place.settings.project.name))
    fresh = [one for one in waiting if again or one.exported_at is None]
    if not fresh:
        more = f" {len(waiting)} were exported before; --again exports them once more." if waiting else ""
        raise UserError(f"Nothing is waiting for a label.{more} `kedge watch` asks for labels as predictions come.")
    return fresh


def _pictures(place: Workplace, waiting: Sequence[LabelRequest], folder: Path | None) -> tuple[list[_Copied], int]:
    """Those whose picture is still there, copied where a folder is given; and how many are gone."""
    copied: list[_Copied] = []
    for one in waiting:
        key = image_key(one.image_sha256)
        if folder is None:
            if place.objects.exists(key):
                copied.append(_Copied(one, None))
            continue
        try:
            data = place.objects.get(key)
        except ObjectMissing:
            continue
        file = folder / f"{one.image_sha256}.{_kind(data)}"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, data)
        copied.append(_Copied(one, file))
    if not copied:
        raise UserError(f"The pictures of all {len(waiting)} requests have been deleted (retention.images_days).")
    return copied, len(waiting) - len(copied)


def _kind(data: bytes) -> str:
    return next((kind for start, kind in _KINDS if data.startswith(start)), "img")


def _beside(file: Path, picture: Path) -> str:
    """The picture's path as the file's own folder has it, where it lies below; else the whole path."""
    whole, folder = picture.resolve(), file.parent.resolve()
    return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else str(whole)


def _done(
    place: Workplace, file: Path, copied: Sequence[_Copied], gone: int, images: Path | None, config: Path | None = None
) -> Exported:
    at, ids = now(), [one.request.prediction_id for one in copied]
    note_exported(place.engine, place.settings.project.name, ids, at)
    place.ledger.append("labels", "exported", {"file": file.name, "requests": len(ids)})
    return Exported(
        file=str(file),
        requests=len(ids),
        gone=gone,
        images=None if images is None else str(images),
        classes=champion_classes(place) or (),
        config=None if config is None else str(config),
    )
