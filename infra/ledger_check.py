"""Whether the ledger is whole: every stream's chain, and every stream against the heads exported before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from infra.errors import UserError
from infra.ledger import Ledger, LedgerRow, StreamHead
from infra.ledger_heads import STREAM, HeadsExport, exports, exports_noted
from infra.objects import ObjectStore


class LedgerBroken(UserError):
    """Rows of the ledger were changed, taken away or cut off, or an export of its heads was."""


@dataclass(frozen=True)
class Break:
    """One thing that does not fit; `sequence` is the row it begins at, 0 where it is about an export."""

    stream: str
    sequence: int
    words: str


@dataclass(frozen=True)
class StreamCheck:
    """
    One stream.

    Attributes:
        hash: Of its newest row; "" where it has none.
        exported_rows: As many as the newest export saw; 0 where it is in none.
    """

    stream: str
    rows: int
    hash: str
    exported_rows: int
    breaks: tuple[Break, ...]


@dataclass(frozen=True)
class LedgerCheck:
    """
    The whole ledger.

    Attributes:
        exports: The heads that it was held against, oldest first.
        export_breaks: What is wrong with these themselves.
    """

    streams: tuple[StreamCheck, ...]
    exports: tuple[HeadsExport, ...]
    export_breaks: tuple[Break, ...]

    @property
    def breaks(self) -> tuple[Break, ...]:
        """Everything that does not fit."""
        return (*(one for stream in self.streams for one in stream.breaks), *self.export_breaks)

    @property
    def rows(self) -> int:
        """Rows of all streams together."""
        return sum(stream.rows for stream in self.streams)

    def insist(self) -> None:
        """
        Raises:
            LedgerBroken: something does not fit; the message says what, and what to do.
        """
        if self.breaks:
            raise LedgerBroken(
                f"The ledger is broken: {' '.join(one.words for one in self.breaks)} Put back the database, or the "
                "export, from a backup that is newer; if it was changed knowingly, "
                '`kedge ledger export --begins-anew "WHY"` says so from now on.'
            )


def check(ledger: Ledger, objects: ObjectStore, elsewhere: Sequence[HeadsExport] = ()) -> LedgerCheck:
    """
    Walk every stream and hold it against the exports in the object store.

    elsewhere: exports that were kept in another place, such as a file that an auditor brings.
    """
    # The exports first: rows that are written while the streams are walked are in none of them.
    stored = exports(objects)
    noted = exports_noted(ledger.engine)
    anew = max((one.number for one in stored if one.begins_anew), default=0)
    held = tuple(one for one in (*stored, *elsewhere) if one.number >= anew)
    names = {head.stream for head in ledger.heads()} | {head.stream for one in held for head in one.streams}
    return LedgerCheck(
        streams=tuple(check_stream(name, ledger.walk(name), held) for name in sorted(names)),
        exports=held,
        export_breaks=(*_exports_chained(stored), *_exports_missing(stored, noted), *_unlike(stored, elsewhere)),
    )


def check_stream(stream: str, rows: Iterable[LedgerRow], held: Sequence[HeadsExport]) -> StreamCheck:
    """One stream: its chain, and its rows where an export saw them as the newest."""
    seen = [(one, head) for one in held for head in one.streams if head.stream == stream]
    expected: dict[int, list[tuple[HeadsExport, StreamHead]]] = {}
    for one, head in seen:
        expected.setdefault(head.rows, []).append((one, head))
    breaks: list[Break] = []
    previous: LedgerRow | None = None
    try:
        for row in rows:
            if not row.follows(previous) and not breaks:
                breaks.append(_misfit(row, previous))
            others = [one for one, head in expected.get(row.sequence, ()) if head.hash != row.hash]
            if others and not any(one.sequence == row.sequence for one in breaks):
                words = f"{row.reference} is not the row that {others[0].title} saw."
                breaks.append(Break(stream, row.sequence, words))
            previous = row
    except (ValueError, TypeError) as error:
        place = 1 if previous is None else previous.sequence + 1
        breaks.append(Break(stream, place, f"{stream}#{place} cannot be read: {error}."))
    newest = 0 if previous is None else previous.sequence
    cut = [(one, head) for one, head in seen if head.rows > newest]
    if cut:
        one, head = cut[-1]
        words = f"{stream} ends at row {newest}, but {one.title} saw {head.rows}: its end was cut off."
        breaks.append(Break(stream, newest + 1, words))
    last = "" if previous is None else previous.hash
    return StreamCheck(stream, newest, last, seen[-1][1].rows if seen else 0, tuple(breaks))


def _misfit(row: LedgerRow, previous: LedgerRow | None) -> Break:
    expected = 1 if previous is None else previous.sequence + 1
    if row.sequence > expected:
        missing = f"{row.stream}#{expected}"
        missing += "" if row.sequence == expected + 1 else f" to #{row.sequence - 1}"
        return Break(row.stream, expected, f"{missing} is missing.")
    words = f"{row.reference} ({row.kind}, {row.at:%Y-%m-%d %H:%M}) does not fit the row before it: one was changed."
    return Break(row.stream, row.sequence, words)


def _exports_chained(stored: Sequence[HeadsExport]) -> list[Break]:
    breaks = []
    before: HeadsExport | None = None
    for one in stored:
        expected, previous = (1, "") if before is None else (before.number + 1, before.sha256)
        if one.number > expected:
            breaks.append(Break(STREAM, 0, f"The export before {one.title} ({one.key}) is missing."))
        elif (one.number, one.previous) != (expected, previous):
            words = f"{one.title} ({one.key}) does not follow the one before it: one of them was changed."
            breaks.append(Break(STREAM, 0, words))
        before = one
    return breaks


def _exports_missing(stored: Sequence[HeadsExport], noted: Sequence[HeadsExport]) -> list[Break]:
    """What the ledger says was exported is there as it was; the newest may be on its way."""
    there: Mapping[str, HeadsExport] = {one.key: one for one in stored}
    breaks = []
    for place, one in enumerate(noted):
        found = there.get(one.key)
        if found is not None and found.sha256 != one.sha256:
            breaks.append(Break(STREAM, 0, f"{one.title} ({one.key}) is not what was exported: it was changed."))
        elif found is None and place < len(noted) - 1:
            breaks.append(Break(STREAM, 0, f"{one.title} ({one.key}) was exported, and is not there any more."))
    return breaks


def _unlike(stored: Sequence[HeadsExport], elsewhere: Sequence[HeadsExport]) -> list[Break]:
    """A copy kept elsewhere is one of the exports, or they were made anew behind its back."""
    known = {one.number: one.sha256 for one in stored}
    return [
        Break(STREAM, 0, f"{one.title}, as kept in {one.key}, is not the one in the object store.")
        for one in elsewhere
        if known.get(one.number) != one.sha256
    ]
