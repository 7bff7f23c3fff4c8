"""Part `meters`: what came of each arrival, as rows of the table and as the ledger tells it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tests.benchmarks.monitoring_rows import Row

_LOOK, _FOLDED = "watch: look", 4


def story(row: Mapping[str, Any]) -> Iterator[str]:
    """What the ledger tells of an arrival."""
    counts = ", ".join(f"{name} {count}" for name, count in row["ledger"].items())
    yield f"**{row['arrival']}.** Ledger rows: {counts}; every chain {'holds' if row['verifies'] else 'IS BROKEN'}."
    yield "\n".join(f"- {line}" for line in _folded(row["story"]))


def _folded(story: Sequence[str]) -> Iterator[str]:
    """Of many looks in a row the first and the last."""
    for is_look, group in groupby(story, key=lambda line: line.startswith(_LOOK)):
        lines = list(group)
        if not is_look or len(lines) < _FOLDED:
            yield from lines
            continue
        yield lines[0]
        yield f"… and {len(lines) - 2} looks more, until"
        yield lines[-1]


def rows(told: Sequence[Mapping[str, Any]], patience_s: float) -> Iterator[Row]:
    """Right before and after, and whether a successor was promoted."""
    for row in told:
        name = row["arrival"]
        (was, _, was_high, images), (now, low, _, _) = row["before"], row["after"]
        promoted = row["champion_after"] != row["champion_before"]
        why = "" if promoted else f"no successor was promoted within {patience_s / 60:.0f} minutes"
        yield Row(f"{name}: right before, of {images} pictures of other sessions", "share", was)
        yield Row(f"{name}: right after", "share", now, {}, "surely more than before", low > was_high,
                  "" if low > was_high else "the intervals of before and after overlap")  # fmt: skip
        yield Row(f"{name}: the first devices then", "share", row["home"][0])
        yield Row(f"{name}: labels given until then", "", row["labels"])
        yield Row(f"{name}: a successor promoted without anybody", "", float(promoted), {}, "yes", promoted, why)
        if "promoted" in row["seconds"]:
            yield Row(f"{name}: from its first picture to the promotion", "s", row["seconds"]["promoted"])
