"""Labels that people were asked for, as rows: asked, answered, overdue or skipped; and the plans that asked."""

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from infra.ledger import append_within
from infra.secret_keys import secret_key
from models.prediction import Label, Prediction
from monitoring.labelling.budget import Counted
from monitoring.labelling.requests import ANSWERED, ASKED, OVERDUE, SKIPPED, LabelRequest
from monitoring.labels import POLICY
from monitoring.prediction_log import PredictionLog

_REQUESTS, _PLANS = schema.label_requests, schema.label_plans
_KEY = "label audit"
_ROLES = "roles"  # as flows.workplace calls it
_KEY_BYTES = 32
# After so long nobody is waited for any more.
_AWAITED = timedelta(days=90)
# What a prediction that is still to be answered can be in: a person may answer late, or after all.
OPEN = (ASKED, OVERDUE, SKIPPED)


@dataclass(frozen=True)
class Answer:
    """A request that has an answer now: the label that counts, and the prediction it is about."""

    request: LabelRequest
    label: Label
    prediction: Prediction


@dataclass(frozen=True)
class LabelPlan:
    """
    What one look asks for; `row` goes to the table of plans.

    Attributes:
        not_kept: New predictions that cannot be asked about, because their picture was not kept.
    """

    requests: tuple[LabelRequest, ...]
    not_kept: int
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Labelling:
    """What one look does about labels that people are asked for; `planned` is None where nothing new was looked at."""

    planned: LabelPlan | None = None
    answered: tuple[Answer, ...] = ()


def answers(engine: sa.Engine, log: PredictionLog, name: str) -> tuple[Answer, ...]:
    """Requests whose label has come since the last look, in the order in which the labels came."""
    since = now() - _AWAITED
    asked = requests(engine, name, OPEN)
    waiting = {one.prediction_id: one for one in asked if one.same_as is None and one.predicted_at >= since}
    found = _last_labels(log, waiting.values())
    predictions = log.predictions_by_id(found)
    return tuple(
        Answer(waiting[one.id], one, predictions[one.id])
        for one in sorted(found.values(), key=lambda label: label.sequence)
        if one.id in predictions
    )


def write_labels(connection: sa.Connection, name: str, labelling: Labelling, overdue_days: float) -> None:
    """Within the look's transaction: new requests, answers that have come, and requests that are overdue by now."""
    if labelling.planned is not None:
        _insert(connection, labelling.planned)
    for one in labelling.answered:
        _settle(connection, name, one)
    limit = now() - timedelta(days=overdue_days)
    late = (_REQUESTS.c.name == name) & (_REQUESTS.c.state == ASKED) & (_REQUESTS.c.asked_at < limit)
    connection.execute(_REQUESTS.update().where(late).values(state=OVERDUE))


def requests(engine: sa.Engine, name: str, states: Iterable[str] = ()) -> tuple[LabelRequest, ...]:
    """Every request of the model, or those in one of the states, in the order in which their predictions came."""
    wanted = tuple(states)
    query = sa.select(_REQUESTS).where(_REQUESTS.c.name == name)
    if wanted:
        query = query.where(_REQUESTS.c.state.in_(wanted))
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(_REQUESTS.c.predicted_at, _REQUESTS.c.prediction_id)).mappings()
        return tuple(LabelRequest(**row) for row in rows)


def is_waiting(engine: sa.Engine, name: str, image_sha256: str) -> bool:
    """Whether somebody is asked what this picture shows."""
    mine = (_REQUESTS.c.name == name) & (_REQUESTS.c.image_sha256 == image_sha256)
    query = sa.select(sa.literal(1)).where(mine, _REQUESTS.c.state.in_((ASKED, OVERDUE))).limit(1)
    with reading(engine) as connection:
        return connection.execute(query).first() is not None


def skip(engine: sa.Engine, name: str, ids: Sequence[str]) -> tuple[str, ...]:
    """Note that nobody can say what these pictures show; gives the ids that were waiting for an answer."""
    with writing(engine) as connection:
        mine = (_REQUESTS.c.name == name) & _REQUESTS.c.prediction_id.in_(ids)
        waiting = mine & _REQUESTS.c.state.in_((ASKED, OVERDUE))
        found = tuple(connection.execute(sa.select(_REQUESTS.c.prediction_id).where(waiting)).scalars())
        alike = (_REQUESTS.c.name == name) & _REQUESTS.c.same_as.in_(found) & _REQUESTS.c.state.in_((ASKED, OVERDUE))
        connection.execute(_REQUESTS.update().where(waiting | alike).values(state=SKIPPED))
    return found


def note_exported(engine: sa.Engine, name: str, ids: Sequence[str], at: datetime) -> None:
    """Note that these requests were handed out in a file."""
    with writing(engine) as connection:
        mine = (_REQUESTS.c.name == name) & _REQUESTS.c.prediction_id.in_(ids)
        connection.execute(_REQUESTS.update().where(mine).values(exported_at=at))


def not_kept(engine: sa.Engine, name: str, since: datetime) -> int:
    """Predictions of the plans since then that nobody could be asked about, because their picture was not kept."""
    query = sa.select(sa.func.sum(_PLANS.c.not_kept)).where(_PLANS.c.name == name, _PLANS.c.at >= since)
    with reading(engine) as connection:
        return int(connection.execute(query).scalar() or 0)


def audit_answers(engine: sa.Engine, name: str, since: datetime) -> int:
    """Answers since then to requests that the audit sample drew."""
    query = sa.select(sa.func.count()).where(
        _REQUESTS.c.name == name,
        _REQUESTS.c.state == ANSWERED,
        _REQUESTS.c.in_audit.is_(True),
        _REQUESTS.c.same_as.is_(None),
        _REQUESTS.c.answered_at >= since,
    )
    with reading(engine) as connection:
        return int(connection.execute(query).scalar() or 0)


def audit_key(engine: sa.Engine) -> bytes:
    """The secret by which predictions are drawn, made once: nobody can choose an id that is never asked about."""
    return secret_key(engine, _KEY, lambda: secrets.token_bytes(_KEY_BYTES))


def role_key(engine: sa.Engine) -> bytes:
    """The secret by which groups of images have their roles; empty while none was drawn: then nothing was trained."""
    query = sa.select(schema.keys.c.value).where(schema.keys.c.name == _ROLES)
    with reading(engine) as connection:
        found = connection.execute(query).scalar()
    return b"" if found is None else bytes.fromhex(found)


def newest_plan(engine: sa.Engine, name: str) -> Mapping[str, Any] | None:
    """The row of the last plan; None before the first."""
    query = sa.select(_PLANS).where(_PLANS.c.name == name).order_by(_PLANS.c.sequence.desc()).limit(1)
    with reading(engine) as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def plans_since(engine: sa.Engine, name: str, since: datetime) -> list[Counted]:
    """How many predictions each of these plans saw."""
    columns = (_PLANS.c.at, _PLANS.c.predictions, _PLANS.c.period_s)
    query = sa.select(*columns).where(_PLANS.c.name == name, _PLANS.c.at > since)
    with reading(engine) as connection:
        return [Counted(*row) for row in connection.execute(query)]


def asked_since(engine: sa.Engine, name: str, since: datetime) -> int:
    """Requests since then for which a person had to look."""
    query = sa.select(sa.func.count()).where(
        _REQUESTS.c.name == name, _REQUESTS.c.asked_at >= since, _REQUESTS.c.same_as.is_(None)
    )
    with reading(engine) as connection:
        return int(connection.execute(query).scalar() or 0)


def asked_images(engine: sa.Engine, name: str, images: Sequence[str]) -> dict[str, str]:
    """Pictures among these that were asked about before, with the id of that request."""
    columns = (_REQUESTS.c.image_sha256, _REQUESTS.c.prediction_id)
    query = sa.select(*columns).where(_REQUESTS.c.name == name, _REQUESTS.c.same_as.is_(None))
    wanted = set(images)
    with reading(engine) as connection:
        return {image: identifier for image, identifier in connection.execute(query) if image in wanted}


def _last_labels(log: PredictionLog, waiting: Iterable[LabelRequest]) -> dict[str, Label]:
    """The label that counts for each of them, by id; those without one are left out."""
    listed, frame = list(waiting), log.labels.scan()
    if frame is None or not listed:
        return {}
    # No label is older than its prediction, but clocks differ.
    first_day = (min(one.predicted_at for one in listed) - timedelta(days=1)).date().isoformat()
    mine = frame.filter((pl.col("date") >= first_day) & pl.col("id").is_in([one.prediction_id for one in listed]))
    last = mine.sort("sequence", "spool", "segment", "position").unique("id", keep="last")
    rows = last.select("id", "label", "at", "labelled_by", "sequence").collect().iter_rows(named=True)
    return {row["id"]: Label(**row) for row in rows}


def _insert(connection: sa.Connection, planned: LabelPlan) -> None:
    connection.execute(_PLANS.insert().values(**planned.row))
    for request in planned.requests:
        mine = (_REQUESTS.c.name == request.name) & (_REQUESTS.c.prediction_id == request.prediction_id)
        # An id of a caller's own may be used again, and was asked about then.
        if connection.execute(sa.select(sa.literal(1)).where(mine)).first() is None:
            values = {**asdict(request), "facts": dict(request.facts or {})}
            connection.execute(_REQUESTS.insert().values(**values))
    _copy_answers(connection, planned.row["name"])
    if planned.requests:
        strata = Counter(request.stratum for request in planned.requests)
        facts = {"plan": planned.row["sequence"], "policy": POLICY, "asked": dict(strata)}
        append_within(connection, "labels", "asked", facts)


def _settle(connection: sa.Connection, name: str, one: Answer) -> None:
    mine = (_REQUESTS.c.name == name) & (_REQUESTS.c.prediction_id == one.request.prediction_id)
    values = {"state": ANSWERED, "label": one.label.label, "answered_at": one.label.at}
    connection.execute(_REQUESTS.update().where(mine, _REQUESTS.c.state.in_(OPEN)).values(**values))
    alike = (_REQUESTS.c.name == name) & (_REQUESTS.c.same_as == one.request.prediction_id)
    connection.execute(_REQUESTS.update().where(alike, _REQUESTS.c.state.in_(OPEN)).values(**values))


def _copy_answers(connection: sa.Connection, name: str) -> None:
    """Requests for a picture that was asked about before have its answer, where there is one already."""
    first = _REQUESTS.alias()
    query = (
        sa.select(_REQUESTS.c.prediction_id, first.c.state, first.c.label, first.c.answered_at)
        .join(first, (first.c.name == _REQUESTS.c.name) & (first.c.prediction_id == _REQUESTS.c.same_as))
        .where(_REQUESTS.c.name == name, _REQUESTS.c.state == ASKED, first.c.state.in_((ANSWERED, SKIPPED)))
    )
    for identifier, state, label, answered_at in connection.execute(query).all():
        mine = (_REQUESTS.c.name == name) & (_REQUESTS.c.prediction_id == identifier)
        values = {"state": state, "label": label, "answered_at": answered_at}
        connection.execute(_REQUESTS.update().where(mine).values(**values))
