"""A version on trial beside the champion: what each answered, how surely, how fast, and how often rightly. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from monitoring.performance import Interval, share

FEW = 30  # below so many images an interval is too wide to lean on
_MOST_DISAGREEMENTS = 10


@dataclass(frozen=True)
class ClassCount:
    """How often a class was answered."""

    label: str
    predictions: int


@dataclass(frozen=True)
class Side:
    """
    What one version answered.

    Attributes:
        classes: The most frequent first.
        mean_confidence: 0..1; None without predictions.
        forward_ms_median, forward_ms_p95: Milliseconds of the forward pass, of its whole batch; None where none
            was measured.
        labelled: Predictions of which somebody said what they show; `right` of them were answered so.
        accuracy: Of the labelled ones, with its Wilson interval.
    """

    version: int
    predictions: int
    classes: tuple[ClassCount, ...]
    mean_confidence: float | None
    forward_ms_median: float | None
    forward_ms_p95: float | None
    labelled: int
    right: int
    accuracy: Interval


@dataclass(frozen=True)
class Pairs:
    """Labelled images that both versions answered: who was right."""

    both: int
    only_champion: int
    only_trial: int
    neither: int


@dataclass(frozen=True)
class Disagreement:
    """Images that the champion called one thing and the version on trial another."""

    champion_label: str
    trial_label: str
    predictions: int


@dataclass(frozen=True)
class GroupComparison:
    """
    One subgroup, or all together.

    Attributes:
        column: Metadata column; "overall" for all, and then `value` is empty.
        few: Fewer than 30 images on either side: shown, but nothing to lean on.
        few_labels: The same of labelled images.
        agreement: Share of images that both answered alike, with its Wilson interval; None for a canary, where no
            image is answered by both, as `pairs` and (empty) `disagreements`.
        disagreements: The ten most frequent.
    """

    column: str
    value: str
    champion: Side
    trial: Side
    few: bool
    few_labels: bool
    agreement: Interval | None = None
    pairs: Pairs | None = None
    disagreements: tuple[Disagreement, ...] = ()

    @property
    def title(self) -> str:
        """The group as people name it."""
        return f"{self.column}={self.value}" if self.value else self.column


@dataclass(frozen=True)
class Comparison:
    """
    A champion beside a version on trial.

    Attributes:
        alias: "canary" or "shadow".
        groups: In the order of the columns as configured and of their values.
        left_out: Images that the shadow answered beside another version than this champion, and that count nowhere.
    """

    alias: str
    champion_version: int
    version: int
    overall: GroupComparison
    groups: tuple[GroupComparison, ...]
    left_out: int = 0


def compare_shadow(
    rows: pl.DataFrame | None, champion_version: int, version: int, subgroups: Sequence[str] = ()
) -> Comparison:
    """Compare two answers to the same images; `rows` as `log.trials.shadow_rows` gives them."""
    given = _EMPTY_PAIRS if rows is None else rows
    paired = given.filter(pl.col("champion_version") == champion_version)

    def compare(column: str, value: str, part: pl.DataFrame) -> GroupComparison:
        return _paired(column, value, part, champion_version, version)

    overall, groups = _by_group(paired, subgroups, compare)
    return Comparison("shadow", champion_version, version, overall, groups, given.height - paired.height)


def compare_canary(
    rows: pl.DataFrame | None, champion_version: int, version: int, subgroups: Sequence[str] = ()
) -> Comparison:
    """Compare answers to different images, drawn by chance; `rows` as `log.trials.answer_rows` gives them."""

    def compare(column: str, value: str, part: pl.DataFrame) -> GroupComparison:
        champion = _side(champion_version, part.filter(pl.col("model_version") == champion_version))
        trial = _side(version, part.filter(pl.col("model_version") == version))
        return GroupComparison(column, value, champion, trial, *_few(champion, trial))

    overall, groups = _by_group(_EMPTY_ANSWERS if rows is None else rows, subgroups, compare)
    return Comparison("canary", champion_version, version, overall, groups)


_ANSWER = {"label": pl.String, "confidence": pl.Float32, "forward_ms": pl.Float32}
_CONTEXT = {"metadata": pl.String, "true_label": pl.String}
_EMPTY_ANSWERS = pl.DataFrame(schema={"model_version": pl.Int32, **_ANSWER, **_CONTEXT})
_EMPTY_PAIRS = pl.DataFrame(
    schema={"champion_version": pl.Int32, **{f"champion_{name}": kind for name, kind in _ANSWER.items()},
            "version": pl.Int32, **_ANSWER, **_CONTEXT}
)  # fmt: skip

_Compare = Callable[[str, str, pl.DataFrame], GroupComparison]


def _by_group(
    rows: pl.DataFrame, subgroups: Sequence[str], compare: _Compare
) -> tuple[GroupComparison, tuple[GroupComparison, ...]]:
    groups = [compare(column, value, part) for column, value, part in _parts(rows, subgroups)]
    return compare("overall", "", rows), tuple(groups)


def _parts(rows: pl.DataFrame, subgroups: Sequence[str]) -> Iterator[tuple[str, str, pl.DataFrame]]:
    if not subgroups:
        return
    # Images without the column belong to none of its groups.
    said = rows["metadata"].str.json_decode(pl.Struct(dict.fromkeys(subgroups, pl.String)))
    for column in subgroups:
        values = said.struct.field(column)
        for value in sorted(set(values.drop_nulls()) - {""}):
            yield column, value, rows.filter(values == value)


def _paired(column: str, value: str, rows: pl.DataFrame, champion_version: int, version: int) -> GroupComparison:
    theirs = rows.select(
        label="champion_label", confidence="champion_confidence", forward_ms="champion_forward_ms",
        true_label="true_label",
    )  # fmt: skip
    champion, trial = _side(champion_version, theirs), _side(version, rows)
    agreeing = int((rows["label"] == rows["champion_label"]).sum())
    return GroupComparison(
        column,
        value,
        champion,
        trial,
        *_few(champion, trial),
        agreement=share(agreeing, rows.height),
        pairs=_pairs(rows),
        disagreements=_disagreements(rows),
    )


def _pairs(rows: pl.DataFrame) -> Pairs:
    known = rows.filter(pl.col("true_label").is_not_null())
    champion, trial = known["champion_label"] == known["true_label"], known["label"] == known["true_label"]
    counts = (champion & trial, champion & ~trial, ~champion & trial, ~champion & ~trial)
    return Pairs(*(int(count.sum()) for count in counts))


def _disagreements(rows: pl.DataFrame) -> tuple[Disagreement, ...]:
    apart = rows.filter(pl.col("label") != pl.col("champion_label"))
    counted = apart.group_by("champion_label", "label").len()
    ordered = counted.sort("len", "champion_label", "label", descending=[True, False, False])
    return tuple(Disagreement(*row) for row in ordered.head(_MOST_DISAGREEMENTS).iter_rows())


def _side(version: int, rows: pl.DataFrame) -> Side:
    known = rows.filter(pl.col("true_label").is_not_null())
    right = int((known["label"] == known["true_label"]).sum())
    classes = rows.group_by("label").len().sort("len", "label", descending=[True, False])
    return Side(
        version=version,
        predictions=rows.height,
        classes=tuple(ClassCount(*row) for row in classes.iter_rows()),
        mean_confidence=_number(rows["confidence"].mean()),
        forward_ms_median=_number(rows["forward_ms"].median()),
        forward_ms_p95=_number(rows["forward_ms"].quantile(0.95, "linear")),
        labelled=known.height,
        right=right,
        accuracy=share(right, known.height),
    )


def _few(champion: Side, trial: Side) -> tuple[bool, bool]:
    """Of images and of labels."""
    few = min(champion.predictions, trial.predictions) < FEW
    return few, min(champion.labelled, trial.labelled) < FEW


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
