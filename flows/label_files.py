"""Files that hold labels: CSV, of a person's own or filled in after `kedge labels export`; and Label Studio's JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import UserError
from monitoring.labelling.label_studio import IDENTIFIER, read_export

# Written by `kedge labels export`; its rows may wait for their label, and its texts are guarded (see `guarded`).
COLUMNS = ("id", "label", "labelled_by", "image", "answer", "confidence", "why", "stratum", "probability")
_NAMED = 5
_MOST_TEXT = 128
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True)
class Given:
    """One label as a file gives it."""

    id: str
    label: str
    labelled_by: str


@dataclass(frozen=True)
class LabelFile:
    """
    What a file holds.

    Attributes:
        skipped: Ids that a person looked at and could not name.
        unanswered: Rows or tasks that are still without a label.
        refused: What cannot be taken, a sentence each.
    """

    labels: tuple[Given, ...]
    skipped: tuple[str, ...] = ()
    unanswered: int = 0
    refused: tuple[str, ...] = ()


def read_file(file: Path) -> LabelFile:
    """
    The labels of a file, by its content: JSON where it begins with a bracket, else CSV.

    Raises:
        UserError: the file is not there, or is neither; or a row of a CSV file is incomplete.
    """
    if not file.is_file():
        raise UserError(f"{file} is not there. Expected a CSV file with the columns id and label.")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(_unreadable(file, error)) from error
    if file.suffix.lower() == ".json" or text.lstrip().startswith(("[", "{")):
        return _read_json(file, text)
    return _read_csv(file, text)


def guarded(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula; `unguarded` gives it back."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def unguarded(text: str) -> str:
    return text.removeprefix("'")


def _read_json(file: Path, text: str) -> LabelFile:
    try:
        found = read_export(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as an export of Label Studio: {error}.") from error
    kept, refused = [], list(found.refused)
    for one in found.chosen:
        fault = _fault(one.id, one.label, one.labelled_by)
        if fault:
            refused.append(f"task {one.place}: {fault}")
        else:
            kept.append(Given(one.id, one.label, one.labelled_by))
    return LabelFile(tuple(kept), found.skipped, found.unanswered, tuple(refused))


def _read_csv(file: Path, text: str) -> LabelFile:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=_delimiter(text))
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        # A row may go over several lines; a person looks for it by the one it ends in.
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(_unreadable(file, error)) from error
    # An export of Label Studio numbers its tasks in a column called id.
    key = IDENTIFIER if IDENTIFIER in columns else "id"
    missing = {"id", "label"} - set(columns) - ({"id"} if key == IDENTIFIER else set())
    if missing:
        found = ", ".join(columns) or "none"
        raise UserError(f"{file} lacks the column(s) {', '.join(sorted(missing))}; its columns are: {found}.")
    exported = "stratum" in columns
    return _checked(file, [(line, _given(row, key, exported=exported)) for line, row in rows], exported=exported)


def _given(row: dict[str, str], key: str, *, exported: bool) -> Given:
    texts = [(row.get(name) or "").strip() for name in (key, "label", "labelled_by")]
    return Given(*(unguarded(text) if exported else text for text in texts))


def _checked(file: Path, rows: Sequence[tuple[int, Given]], *, exported: bool) -> LabelFile:
    """All rows, or none: half a file imported is worse than none."""
    filled = [(line, one) for line, one in rows if one.label or not (exported and one.id)]
    incomplete = [str(line) for line, one in filled if not one.id or not one.label]
    if incomplete or not rows:
        where = f"rows {', '.join(incomplete[:_NAMED])}" if incomplete else "it has no rows"
        raise UserError(f"{file} was not imported: every row needs an id and a label ({where}).")
    faults = [f"row {line}: {fault}" for line, one in filled if (fault := _fault(one.id, one.label, one.labelled_by))]
    if faults:
        raise UserError(f"{file} was not imported: {'; '.join(faults[:_NAMED])}.")
    return LabelFile(tuple(one for _, one in filled), unanswered=len(rows) - len(filled))


def _fault(*texts: str) -> str:
    for text in texts:
        if len(text) > _MOST_TEXT or not text.isprintable():
            return f"{text[:40]!r} is no text of up to {_MOST_TEXT} printable characters"
    return ""


def _delimiter(text: str) -> str:
    """The comma, unless the first line has none: spreadsheets of some countries write semicolons."""
    first = text.partition("\n")[0]
    return next((mark for mark in (",", ";", "\t") if mark in first), ",")


def _unreadable(file: Path, error: Exception) -> str:
    return f"{file} cannot be read as CSV in UTF-8: {error}. Save it as UTF-8 and close every quote."
