"""
A candidate of the replay about which the gate is undecided: what it waits for, what is asked, and what has come.

What is asked and what counts is told by the code that asks and counts in production. Who answers is another matter: a
log holds no label that nobody gave, so only a replay of known truths can have a labeller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Protocol

import numpy as np

from models.gate_needs import LabelNeed
from monitoring.backtesting.champion_rows import champion_batch, moment
from monitoring.backtesting.replayed_model import ReplayedModel
from monitoring.backtesting.stream import JUDGE, ROLE_KEY, AskedFor, Rows, Stream, Truths
from monitoring.backtesting.trigger import Seen
from monitoring.labelling.awaited import Awaited
from monitoring.labelling.requests import ANSWERED, ASKED, GATE, LabelRequest
from monitoring.labelling.unasked import Unasked, serving
from monitoring.labelling.waiting import CLASS, Waiting, attainable, came, wanted
from monitoring.labelling.waiting import Seen as Unlabelled
from monitoring.labels import Wanted
from monitoring.signals import atypical


class Labeller(Protocol):
    """People who answer what is asked for a waiting candidate, `per_day` of it."""

    @property
    def per_day(self) -> float: ...

    def __call__(self, asked: Wanted, since: np.datetime64, now: np.datetime64) -> Mapping[int, np.datetime64]:
        """By place among what is asked, the pictures that they take on now, and when the label of each will come."""


@dataclass(frozen=True)
class Undecided:
    """
    A candidate that waits.

    Attributes:
        needs: The labels that would decide.
        collected_at: Labels given later are news to its first judgement.
        asked_until: People were asked about what was answered until then.
        until: Then it is judged with what has come.
        most_labels: That people can give by then; infinite where nobody is asked: who knows what comes by itself.
    """

    model: ReplayedModel
    needs: tuple[LabelNeed, ...]
    collected_at: np.datetime64
    asked_until: np.datetime64
    until: np.datetime64
    most_labels: float = np.inf


def asked(stream: Stream, waits: Undecided, seen: Seen, labeller: Labeller | None) -> Stream:
    """The stream with the labels that people will give of what was answered since the last look."""
    if labeller is None:
        return stream
    rows, left = _askable(stream, seen), _left(stream, waits)
    if not left or not len(rows):
        return stream
    asks = wanted(Waiting(waits.model.number, left), _unlabelled(stream, waits, seen, rows), ROLE_KEY)
    if asks is None:
        return stream
    comes = labeller(asks, waits.asked_until, seen.now)
    purposes = {place: asks.purposes[place] for place in comes}
    return stream.with_labels(
        {int(rows[place]): at for place, at in comes.items()},
        {int(rows[place]): AskedFor(**one) for place, one in purposes.items() if one},  # type: ignore[arg-type] # as `wanted` writes them
    )


def come(stream: Stream, waits: Undecided, now: np.datetime64, *, random: bool) -> tuple[Awaited, ...]:
    """
    Of each need, what has come by now: labels that were asked for, and others by chance.

    random: Whether chance drew all that people hand in.
    """
    mine, beside = _requests(stream, waits, now), _unasked(stream, waits, now, random=random)
    return tuple(Awaited(need, came(mine, waits.model.number, need) + serving(beside, need)) for need in waits.needs)


def _askable(stream: Stream, seen: Seen) -> Rows:
    """Rows of the look that chance did not draw, that nobody has labelled yet, and that somebody could label."""
    rows = np.arange(seen.begin, seen.end)
    return rows[~stream.drawn[rows] & stream.can_train[rows] & ~(stream.labelled_at[rows] <= seen.now)]


def _unlabelled(stream: Stream, waits: Undecided, seen: Seen, rows: Rows) -> Unlabelled:
    batch = stream.batch.take(rows)
    shadow = np.nan_to_num(waits.model.probabilities(stream, rows), nan=-1.0).argmax(axis=1)
    return Unlabelled(
        ids=[str(row) for row in rows.tolist()],
        groups=[stream.groups[row] for row in rows.tolist()],
        answers=[stream.classes[number] for number in seen.answer[rows].tolist()],
        shadow=[stream.classes[number] for number in shadow.tolist()],
        drifted=_drifted(seen, rows),
        columns={name: list(batch.column(name)) for name in batch.column_names},
    )


def _drifted(seen: Seen, rows: Rows) -> Truths:
    """Atypical in any channel; production looks at those that have alarmed, which only the watcher knows."""
    scored = atypical(seen.model.reduction.profile, champion_batch(seen, rows))
    atypical_in = [np.nan_to_num(found) > 0 for found in scored.values()]
    return np.asarray(np.any(atypical_in, axis=0), dtype=np.bool_)


def _left(stream: Stream, waits: Undecided) -> tuple[LabelNeed, ...]:
    """What people were not yet asked about; a label that is on its way counts as what it was asked for."""
    mine = [_answered(one) for one in _requests(stream, waits, waits.asked_until)]
    found = []
    for need in attainable(waits.needs, waits.most_labels):
        labels = need.labels - came(mine, waits.model.number, need)
        if labels > 0:
            different = None if need.different is None else ceil(labels * need.different / need.labels)
            found.append(replace(need, labels=labels, different=different))
    return tuple(found)


def _answered(request: LabelRequest) -> LabelRequest:
    group = str(dict(request.facts or {})["gate"]["group"])
    return replace(request, state=ANSWERED, label=group.removeprefix(CLASS))


def _requests(stream: Stream, waits: Undecided, now: np.datetime64) -> Sequence[LabelRequest]:
    """What was asked on the candidate's behalf, as production keeps it."""
    return [_request(stream, row, one, now) for row, one in stream.asked.items() if one.version == waits.model.number]


def _request(stream: Stream, row: int, one: AskedFor, now: np.datetime64) -> LabelRequest:
    has_come = bool(stream.labelled_at[row] <= now)
    return LabelRequest(
        name="",
        prediction_id=str(row),
        predicted_at=moment(stream.times[row]),
        asked_at=moment(stream.times[row]),
        model_version=0,
        stratum=GATE,
        probability=1.0,
        uniform_probability=0.0,
        in_audit=False,
        policy="replay",
        state=ANSWERED if has_come else ASKED,
        label=stream.classes[stream.truth[row]] if has_come else None,
        facts={"gate": asdict(one)},
    )


def _unasked(stream: Stream, waits: Undecided, now: np.datetime64, *, random: bool) -> Sequence[Unasked]:
    new = stream.known_at(now) & (stream.labelled_at > waits.collected_at) & (stream.roles == JUDGE)
    new &= np.ones(len(stream), dtype=bool) if random else stream.drawn
    rows = [row for row in np.flatnonzero(new).tolist() if row not in stream.asked]
    return [
        Unasked(stream.classes[stream.truth[row]], {k: str(v) for k, v in stream.batch.metadata[row].items()})
        for row in rows
    ]
