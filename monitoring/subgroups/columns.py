"""Which subgroups there are: the values of the configured columns, and the pairs of values of two of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from monitoring.quality.labelled import Codes, LabelledAnswers

SHOWN_FROM = 30
OTHER = "other"
# Between two columns, and between the two values, of an intersection.
CROSS = " x "

_MOST_VALUES = 1_000
_FEW_VALUES = 20
_LEAST_IN_LARGE_VALUES = 0.5
_MOST_SMALL_LISTED = 10


@dataclass(frozen=True)
class Division:
    """
    A column, or two columns crossed: every image that says it lies in exactly one part.

    Attributes:
        column: "camera", or "camera x site".
        values: Of the parts; the last may be "other", which pools those with fewer than 30 images.
        part: (N,), the part's number; -1 where an image does not say it.
        pooled: How many values "other" pools; 0 where there is none.
    """

    column: str
    values: tuple[str, ...]
    part: Codes
    pooled: int = 0

    @property
    def sizes(self) -> Codes:
        """Images of each part."""
        found: Codes = np.bincount(self.part[self.part >= 0], minlength=len(self.values))
        return found


@dataclass(frozen=True)
class Divided:
    """Every division, and in sentences what was not divided."""

    divisions: tuple[Division, ...]
    notes: tuple[str, ...]


def divided(rows: LabelledAnswers, columns: Sequence[str]) -> Divided:
    """
    Each column by its values, and each pair of columns by the pairs that occur.

    A column that names nearly every image singly is an identifier and is refused; small values are pooled. A pair
    of which every value has only one partner repeats its columns and is left out.
    """
    whole: list[Division] = []
    notes: list[str] = []
    for column in dict.fromkeys(columns):
        values = rows.values(column)
        counts = Counter(values[values != ""].tolist())
        refusal = _refusal(column, counts)
        if refusal:
            notes.append(refusal)
        elif counts:
            whole.append(_division(column, values, counts, most_small=_MOST_SMALL_LISTED))
        elif len(rows):
            notes.append(f"No labelled answer says its {column}.")
    crossed = [made for pair in combinations(whole, 2) if (made := _crossed(rows, *pair)) is not None]
    return Divided((*whole, *crossed), (*notes, *map(_pooled_words, filter(_pools, [*whole, *crossed]))))


def _refusal(column: str, counts: Counter[str]) -> str:
    images = sum(counts.values())
    large = sum(count for count in counts.values() if count >= SHOWN_FROM)
    if len(counts) <= _FEW_VALUES or (len(counts) <= _MOST_VALUES and large >= _LEAST_IN_LARGE_VALUES * images):
        return ""
    return (
        f"{column} is no subgroup: it has {len(counts):,} different values among {images:,} labelled images, and "
        f"{large:,} of them lie in values with at least {SHOWN_FROM}. An identifier cannot be audited; "
        "name a coarser column in data.subgroups."
    )


def _division(column: str, values: NDArray[np.object_], counts: Counter[str], *, most_small: int) -> Division:
    small = [value for value, count in counts.items() if count < SHOWN_FROM]
    pooled = set(small) if len(small) > most_small else set()
    kept = sorted(counts.keys() - pooled)
    number = {value: place for place, value in enumerate(kept)}
    number |= dict.fromkeys(pooled, len(kept))
    part = np.array([number.get(value, -1) for value in values], dtype=np.intp)
    return Division(column, (*kept, OTHER) if pooled else tuple(kept), part, len(pooled))


def _crossed(rows: LabelledAnswers, first: Division, second: Division) -> Division | None:
    both = (first.part >= 0) & (second.part >= 0)
    pairs = Counter(zip(first.part[both].tolist(), second.part[both].tolist(), strict=True))
    if not pairs or _repeats(pairs):
        return None
    names = np.full(len(rows), "", dtype=object)
    names[both] = [
        f"{first.values[one]}{CROSS}{second.values[other]}"
        for one, other in zip(first.part[both].tolist(), second.part[both].tolist(), strict=True)
    ]
    counts = Counter(names[both].tolist())
    return _division(f"{first.column}{CROSS}{second.column}", names, counts, most_small=0)


def _repeats(pairs: Iterable[tuple[int, int]]) -> bool:
    """Whether one column says nothing beyond the other: every value of it occurs with one value of the other only."""
    seen = list(pairs)
    return len(seen) == len({one for one, _ in seen}) or len(seen) == len({other for _, other in seen})


def _pools(division: Division) -> bool:
    return division.pooled > 0


def _pooled_words(division: Division) -> str:
    images = int(division.sizes[-1])
    return (
        f"{division.column}: {division.pooled} values with fewer than {SHOWN_FROM} labelled images each "
        f'({images} images in all) are pooled as "{OTHER}".'
    )
