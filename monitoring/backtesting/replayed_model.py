"""The models of a replay: the one that really answered, and those that a policy would have made."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from models.gate_needs import OVERALL
from models.gate_records import DIFFERENT, OLD, Answers
from models.replayed_head import LinearHead, fit_linear_head
from monitoring.backtesting.stream import JUDGE, SELECT, TRAIN, Rows, Stream, Truths, answered
from monitoring.labelling.waiting import CLASS
from monitoring.reference.build import judged_errors
from monitoring.reference.coded import CodedRows
from monitoring.reference.fit import columns_of, fit
from monitoring.reference.profile import CATEGORY, IDENTIFIER, ReferenceProfile
from monitoring.reference.reduced import Reduction, reduction
from monitoring.watching.batch import Floats

OLDEST = np.datetime64("1970-01-02T00:00:00", "us")


@dataclass(frozen=True)
class ReplayedModel:
    """
    A model, and what the watcher compares its traffic with.

    Attributes:
        number: 0 is the one that really answered; the others count up.
        head: None for that one, whose answers are those that were logged.
        profile: Its reference.
        labels_until: Labels that came later are new to it.
        train_images: So many taught it.
    """

    number: int
    head: LinearHead | None
    profile: ReferenceProfile
    labels_until: np.datetime64
    train_images: int = 0

    @cached_property
    def reduction(self) -> Reduction:
        return reduction(self.profile)

    def probabilities(self, stream: Stream, rows: Rows | slice) -> Floats:
        """What it says of these rows, (n, classes)."""
        if self.head is None:
            logged: Floats = stream.batch.probabilities[rows]
            return logged
        return self.head.probabilities(stream.batch.embedding[rows])


@dataclass(frozen=True)
class JudgeRows:
    """Images that only judge: `old` were known when the champion was made, `recent` came since."""

    old: Rows
    recent: Rows


def first_model(stream: Stream, profile: ReferenceProfile) -> ReplayedModel:
    """The version whose answers were logged; every label of the log is new to it."""
    # In a replay the versions have numbers of their own.
    return ReplayedModel(0, None, replace(profile, version=0), OLDEST, stream.base)


def retrained(
    stream: Stream, champion: ReplayedModel, number: int, moment: np.datetime64, subgroups: tuple[str, ...] = ()
) -> ReplayedModel | None:
    """
    What a retrain at this moment makes: the head, fitted anew to old images and to every label that had come by then.

    None where those show fewer than two classes.
    """
    known = stream.known_at(moment)
    train, select = (np.flatnonzero(known & (stream.roles == role)) for role in (TRAIN, SELECT))
    vectors, truth = stream.batch.embedding, stream.truth
    head = fit_linear_head(vectors[train], truth[train], vectors[select], truth[select], len(stream.classes))
    if head is None:
        return None
    sets = [answers_of(stream, head, rows) for rows in _judge_rows(stream, champion, known)]
    held_out = np.flatnonzero(known & _is_fair(stream) & (stream.roles != TRAIN))
    profile = _profile(stream, head, held_out, train, champion.profile, number, judged_errors(sets, subgroups))
    return ReplayedModel(number, head, profile, moment, len(train))


def judge_rows(
    stream: Stream, champion: ReplayedModel, moment: np.datetime64, candidate: int | None = None
) -> JudgeRows:
    """What could judge at this moment; candidate: the number of the model that is judged, where labels were asked."""
    return JudgeRows(*_judge_rows(stream, champion, stream.known_at(moment), candidate))


def answers_of(stream: Stream, model: LinearHead | ReplayedModel, rows: Rows, *, random: bool = False) -> Answers:
    """As the gate takes them; random: whether chance drew all labels, and not only those that say so."""
    if isinstance(model, ReplayedModel):
        found = model.probabilities(stream, rows)
    else:
        found = model.probabilities(stream.batch.embedding[rows])
    return Answers(
        fingerprint=f"{len(rows)} rows of the replay",
        classes=stream.classes,
        truth=stream.truth[rows],
        answer=found.argmax(axis=1).astype(np.int64),
        confidence=found.max(axis=1, initial=0.0),
        groups=tuple(stream.groups[row] for row in rows.tolist()),
        metadata=tuple(stream.batch.metadata[row] for row in rows.tolist()),
        asked_for=tuple(_asked_group(stream, row) for row in rows.tolist()) if stream.asked else (),
        by_chance=tuple(random or bool(stream.drawn[row]) or row in stream.asked for row in rows.tolist()),
    )


def _judge_rows(
    stream: Stream, champion: ReplayedModel, known: Truths, candidate: int | None = None
) -> tuple[Rows, Rows]:
    judging = known & _is_fair(stream, candidate) & (stream.roles == JUDGE)
    old = stream.labelled_at <= champion.labels_until
    for row, one in stream.asked.items():
        old[row] |= one.scope == OLD
    return np.flatnonzero(judging & old), np.flatnonzero(judging & ~old)


def _is_fair(stream: Stream, candidate: int | None = None) -> Truths:
    """
    Shape (N,): False of rows whose label was asked for in a way that makes them no sample for this candidate.

    They were answered differently by another, or drawn among answers of a class and turned out to be of another class.
    """
    fair = np.ones(len(stream), dtype=bool)
    for row, one in stream.asked.items():
        if one.group == DIFFERENT:
            fair[row] = one.version == candidate
        elif one.group.startswith(CLASS):
            fair[row] = one.group == f"{CLASS}{stream.classes[stream.truth[row]]}"
    return fair


def _asked_group(stream: Stream, row: int) -> str:
    """The comparison in which alone a row counts; "" = all."""
    one = stream.asked.get(row)
    return "" if one is None or one.group == OVERALL else one.group


def _profile(
    stream: Stream,
    head: LinearHead,
    rows: Rows,
    taught: Rows,
    before: ReferenceProfile,
    number: int,
    errors: dict[str, tuple[int, int]],
) -> ReferenceProfile:
    """Of images that did not teach it, as in production; fewer of them, since none are distorted to have more."""
    vectors = stream.batch.embedding[rows].astype(np.float64)
    seen = answered(replace(stream.batch.take(rows), embedding=vectors), head.probabilities(vectors), stream.classes)
    return fit(
        seen,
        [stream.classes[label] for label in stream.truth[rows].tolist()],
        version=number,
        classes=stream.classes,
        rounds=1,
        judged_errors=errors,
        columns=columns_of(
            list(seen.metadata),
            list(stream.batch.metadata.take(taught) if isinstance(stream.batch.metadata, CodedRows) else ()),
            frozenset(name for name, column in before.columns.items() if column.kind == CATEGORY),
            frozenset(name for name, column in before.columns.items() if column.kind == IDENTIFIER),
        ),
    )
