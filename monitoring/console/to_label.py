"""The part of the page that asks for labels: which pictures, why, with what probability, and who has answered."""

from dataclasses import dataclass
from ipaddress import ip_address

from infra.settings import Settings
from monitoring.console import words
from monitoring.console.rows import Rows
from monitoring.labelling.requests import ASKED, OVERDUE, STRATA, LabelRequest
from monitoring.labelling.responses import StratumResponse, responses, why

_SHOWN = 12
LEAST_RESPONSE = 0.8
# What a picture may be shown as; it is told by its first bytes, never by what a caller said.
_KINDS = (
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"RIFF", "image/webp"),
)


@dataclass(frozen=True)
class Picture:
    """One that a person is asked about; `href` is "" where none is shown, `said` where it is to be labelled blind."""

    id: str
    href: str
    stratum: str
    why: str
    probability: str
    said: str
    overdue: bool


@dataclass(frozen=True)
class Answering:
    """Of one stratum, who has answered; `tone` is that of a pill."""

    stratum: str
    waiting: int
    settled: str
    rate: str
    tone: str


@dataclass(frozen=True)
class ToLabel:
    """The section; `empty` is said where nothing waits, `notes` below the pictures."""

    waiting: int
    pictures: tuple[Picture, ...]
    answering: tuple[Answering, ...]
    notes: tuple[str, ...]
    empty: str


def to_label(found: Rows, settings: Settings) -> ToLabel:
    """The newest requests, those drawn by chance first; never the model's answer to those."""
    requests = [LabelRequest(**row) for row in found.label_requests]
    waiting = [one for one in requests if one.state in (ASKED, OVERDUE) and one.same_as is None]
    waiting.sort(key=lambda one: (STRATA.index(one.stratum), -one.asked_at.timestamp(), one.prediction_id))
    shown = pictures_are_shown(settings)
    notes = []
    if len(waiting) > _SHOWN:
        notes.append(f"{_SHOWN} of {words.count(len(waiting))}; `kedge labels next --limit 0` lists all.")
    if waiting and not shown:
        notes.append(
            "Pictures are shown only while the console listens on this machine alone (console.host), for it asks "
            "nobody who they are; `kedge labels export` copies them."
        )
    return ToLabel(
        waiting=len(waiting),
        pictures=tuple(_picture(one, shown=shown) for one in waiting[:_SHOWN]),
        answering=tuple(_answering(one) for one in responses(requests)),
        notes=tuple(notes),
        empty=_empty(settings),
    )


def pictures_are_shown(settings: Settings) -> bool:
    """Whether the console can be reached from this machine alone: it has no sign-in, and pictures may show people."""
    host = settings.console.host
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def kind_of(data: bytes) -> str | None:
    """The media type of a picture; None for what is none."""
    return next((kind for start, kind in _KINDS if data.startswith(start)), None)


def _picture(request: LabelRequest, *, shown: bool) -> Picture:
    facts = request.facts or {}
    answer, confidence = facts.get("answer"), facts.get("confidence")
    sure = f" ({words.percent(confidence)})" if isinstance(confidence, float) else ""
    return Picture(
        id=request.prediction_id,
        href=f"to-label/{request.image_sha256}" if shown else "",
        stratum=request.stratum,
        why=why(request),
        probability=f"{request.probability:.3g}",
        said="" if request.in_audit or not answer else f"{answer}{sure}",
        overdue=request.state == OVERDUE,
    )


def _answering(one: StratumResponse) -> Answering:
    settled = f"{words.count(one.answered)} answered, {words.count(one.skipped)} skipped, "
    settled += f"{words.count(one.overdue)} overdue"
    rate = words.percent(one.rate) if one.rate is not None else ""
    return Answering(one.stratum, one.waiting, settled, rate, "warn" if one.rate and one.rate < LEAST_RESPONSE else "")


def _empty(settings: Settings) -> str:
    if settings.labels.per_day <= 0:
        return "Nobody is asked for labels: labels.per_day is 0."
    return (
        f"Nothing waits for a label. Of the predictions that come, about {settings.labels.per_day:g} a day are asked "
        "about (labels.per_day), a part of them drawn by chance."
    )
