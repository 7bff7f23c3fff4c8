"""What people say an answer should have been: checked for form, kept whatever it says, durable before the answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from infra.clock import now
from infra.settings_sections import ServeSettings
from models.prediction import Label
from service.access import limited_body
from service.errors import Refusal
from service.records import encode_label
from service.segments import LABEL, Frame
from service.sequence import next_sequence
from service.spool import SpoolFull
from service.worker import Worker, spool_folder

_MOST_LABELS = 10_000
_MOST_TEXT = 128
_FIELDS = {"id", "label", "labelled_by"}


@dataclass(frozen=True)
class Given:
    """One label as a caller gave it."""

    id: str
    label: str
    labelled_by: str


@dataclass(frozen=True)
class Note:
    """Something to know about a label that was kept."""

    id: str
    code: str
    message: str

    def to_json(self) -> dict[str, str]:
        return {"id": self.id, "code": self.code, "message": self.message}


@dataclass(frozen=True)
class Kept:
    """The labels as they were kept, and what is to be said about some of them."""

    labels: Sequence[Label]
    notes: Sequence[Note]


async def read_labels(request: Request, serve: ServeSettings) -> Sequence[Given]:
    """
    Read one label or a list of them.

    Raises:
        Refusal: 400 where the body is not of this form, 413 where it is too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", ""):
        raise Refusal(415, "unsupported_media_type", f"the body is '{kind}'; send application/json")
    body = b"".join([chunk async for chunk in limited_body(request, int(serve.most_body_mb * 1_000_000))])
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "bad_feedback", f"the body is not JSON: {error}") from error
    items = value if isinstance(value, list) else [value]
    if not 0 < len(items) <= _MOST_LABELS:
        raise Refusal(400, "bad_feedback", f"found {len(items)} labels; send 1 to {_MOST_LABELS:,}")
    return [_given(item, place) for place, item in enumerate(items)]


def keep_labels(worker: Worker, given: Sequence[Given]) -> Kept:
    """
    Write the labels to the spool and wait for the disk; unknown ids and classes are kept like any other.

    Raises:
        Refusal: 503, the disk is full; nothing was kept.
    """
    folder = spool_folder(worker.settings)
    try:
        labels = [Label(one.id, one.label, now(), one.labelled_by, next_sequence(folder)) for one in given]
        worker.spool.write([Frame(LABEL, encode_label(label)) for label in labels], durable=True)
    except SpoolFull as error:
        raise Refusal(503, "log_full", "the disk has no room to keep labels; send them again later") from error
    model = worker.live.current
    known = set(model.runtime.artifact.classes) if model else None
    notes = [_unknown(label) for label in labels if known is not None and label.label not in known]
    worker.metrics.labels(len(labels) - len(notes), len(notes))
    return Kept(labels, notes)


def _given(item: Any, place: int) -> Given:
    if not isinstance(item, dict) or not {"id", "label"} <= set(item) or not set(item) <= _FIELDS:
        raise Refusal(
            400, "bad_feedback", f'label {place} should be {{"id", "label", "labelled_by"?}}; found {_short(item)}'
        )
    labelled_by = item.get("labelled_by")
    texts = (item["id"], item["label"], "" if labelled_by is None else labelled_by)
    for text in texts:
        if not isinstance(text, str) or len(text) > _MOST_TEXT or not text.isprintable():
            raise Refusal(
                400, "bad_feedback", f"label {place}: {_short(text)} is no text of up to {_MOST_TEXT} characters"
            )
    if not texts[0] or not texts[1].strip():
        raise Refusal(400, "bad_feedback", f"label {place} has an empty id or label")
    return Given(*texts)


def _unknown(label: Label) -> Note:
    return Note(
        label.id, "unknown_class", f"the model has no class '{label.label}'; the label is kept until it has one"
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}…"  # noqa: PLR2004 - enough to recognise it
