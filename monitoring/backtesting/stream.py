"""What a replay walks along: every answer of one version in order, with what it should have been and since when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.examples import role_of
from monitoring.reference.coded import CodedRows, coded
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch

Times = NDArray[np.datetime64]
Truths = NDArray[np.bool_]
Rows = NDArray[np.intp]

UNLABELLED = -1
TRAIN, SELECT, JUDGE = "train", "select", "judge"
# A replay leaves nothing behind, so nobody could make use of knowing which group judges.
ROLE_KEY = b"a replay"
_BEFORE_EVERYTHING = np.datetime64("1970-01-01T00:00:00", "us")


@dataclass(frozen=True)
class AskedFor:
    """
    Why a label was asked for that chance did not draw: a candidate waits for it.

    Attributes:
        version: The number of the candidate.
        group, scope: As `models.gate_needs.LabelNeed` has them; `models.gate_records.DIFFERENT` is a group too.
    """

    version: int
    group: str
    scope: str


@dataclass(frozen=True)
class Stream:
    """
    Reference images first, then the log; one row each.

    The reference images stand for the data that the version was trained on: they answer nothing in the replay, but
    train, select and judge beside the labels that came from production.

    Attributes:
        classes: In the order of the probabilities.
        base: So many rows at the beginning are reference images.
        times: When each was answered, ascending within the log.
        batch: What the version logged.
        files: SHA-256 of each picture.
        kept: Whether its bytes were kept, so that a label of it can train.
        truth: Number of the class that it should have been; -1 without a label.
        labelled_at: When that label came; NaT without.
        drawn: Whether chance drew it to be labelled, so that its label may measure.
        groups: Name of the images that each belongs with.
        asked: Rows whose label was asked for on behalf of a candidate, and what for.
    """

    classes: tuple[str, ...]
    base: int
    times: Times
    batch: Batch
    files: tuple[str, ...]
    kept: Truths
    truth: NDArray[np.int64]
    labelled_at: Times
    drawn: Truths
    groups: tuple[str, ...]
    asked: Mapping[int, AskedFor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def began(self) -> np.datetime64:
        return np.datetime64(self.times[self.base], "us")

    @property
    def ended(self) -> np.datetime64:
        return np.datetime64(self.times[-1], "us")

    @cached_property
    def roles(self) -> NDArray[np.object_]:
        """Shape (N,): "train", "select" or "judge", for ever the same of one group."""
        known: dict[str, str] = {}
        for group in self.groups:
            if group not in known:
                known[group] = role_of(group, ROLE_KEY)
        return np.array([known[group] for group in self.groups], dtype=object)

    @cached_property
    def arrivals(self) -> Rows:
        """The labelled rows of the log, in the order in which their labels came."""
        rows = np.flatnonzero(~np.isnat(self.labelled_at))
        rows = rows[rows >= self.base]
        return rows[np.argsort(self.labelled_at[rows], kind="stable")]

    @cached_property
    def can_train(self) -> Truths:
        """Shape (N,): which rows may become examples once their label is there; each picture once."""
        usable = self.kept & (self.truth != UNLABELLED)
        order = np.flatnonzero(usable)
        _, first = np.unique(np.array(self.files, dtype=object)[order].astype(str), return_index=True)
        chosen = np.zeros(len(self), dtype=bool)
        chosen[order[first]] = True
        return chosen

    def with_labels(self, comes: Mapping[int, np.datetime64], asked: Mapping[int, AskedFor]) -> "Stream":
        """
        The same with labels that people were asked for: of each row, when its label comes, and what for.

        A label that would have come sooner still does. Without any label it is this very stream.
        """
        if not comes:
            return self
        labelled_at = self.labelled_at.copy()
        for row, at in comes.items():
            # NaT, where nobody would have labelled it, is never the sooner one.
            labelled_at[row] = np.fmin(labelled_at[row], at)
        return replace(self, labelled_at=labelled_at, asked={**self.asked, **asked})

    def known_at(self, moment: np.datetime64) -> Truths:
        """Shape (N,): which rows could be examples at that moment; nothing of the future is among them."""
        arrived: Truths = self.labelled_at <= moment
        return arrived & self.can_train


def stream_of(
    profile: ReferenceProfile,
    batch: Batch,
    *,
    times: Times,
    files: Sequence[str],
    kept: Truths,
    truth: NDArray[np.int64],
    labelled_at: Times,
    drawn: Truths,
    groups: Sequence[str],
) -> Stream:
    """The log's rows behind the reference images of the version that answered them; as `Stream`, without those."""
    plain = profile.plain
    numbers = {label: number for number, label in enumerate(profile.classes)}
    base = len(plain)
    names = [f"reference image {number}" for number in range(base)]
    started = np.full(base, _BEFORE_EVERYTHING)
    return Stream(
        classes=profile.classes,
        base=base,
        times=np.concatenate([started, times]),
        batch=_behind(plain, batch),
        files=(*names, *files),
        kept=np.concatenate([np.ones(base, dtype=bool), kept]),
        truth=np.concatenate([[numbers.get(label, UNLABELLED) for label in profile.truth[:base]], truth]).astype(
            np.int64
        ),
        labelled_at=np.concatenate([started, labelled_at]),
        drawn=np.concatenate([np.ones(base, dtype=bool), drawn]),
        groups=(*names, *groups),
    )


def part(stream: Stream, rows: slice) -> Batch:
    """Some consecutive rows of the log's columns."""
    return stream.batch.take(np.arange(rows.start, rows.stop))


def answered(batch: Batch, probabilities: NDArray[np.float64], classes: Sequence[str]) -> Batch:
    """The same pictures as another model answers them."""
    labels = tuple(classes[number] for number in probabilities.argmax(axis=1).tolist())
    return replace(batch, probabilities=probabilities, labels=labels)


def _behind(first: Batch, second: Batch) -> Batch:
    names = sorted({*first.column_names, *second.column_names})
    columns = {name: coded([*first.column(name), *second.column(name)]) for name in names}
    return Batch(
        statistics=np.concatenate([first.statistics, second.statistics]).astype(np.float32),
        probabilities=np.concatenate([first.probabilities, second.probabilities]).astype(np.float64),
        embedding=np.concatenate([first.embedding, second.embedding]).astype(np.float32),
        labels=coded([*first.labels, *second.labels]),
        metadata=CodedRows(len(first) + len(second), columns),
    )
