"""`kedge labels import`: labels from a file, straight into the tables, whether or not the service runs."""

import csv
from dataclasses import dataclass
from pathlib import Path

from flows.workplace import Workplace
from infra.clock import now
from infra.errors import UserError
from infra.files import sha256_of
from models.prediction import Label

_NAMED = 5


@dataclass(frozen=True)
class Imported:
    """
    What an import came to.

    Attributes:
        labels: Labels taken.
        orphans: How many of them name a prediction that is not in the log (yet): kept, and joined when it comes.
        repeated: Whether this very file had been imported before; then nothing was added.
    """

    file: str
    labels: int
    orphans: int
    repeated: bool

    def words(self) -> str:
        if self.repeated:
            return f"{self.file} was imported before; nothing was added."
        more = f"; {self.orphans} name predictions that are not in the log yet" if self.orphans else ""
        return f"Imported {self.labels} labels from {self.file}{more}."


def import_file(place: Workplace, file: Path) -> Imported:
    """
    Append the file's labels, once for the same content.

    Raises:
        UserError: the file or a column is missing, or rows are incomplete; then nothing is imported.
    """
    labels = _read(file)
    # The content is the identity: the same file under another name is still the same delivery.
    fresh = place.log.append_labels(f"import-{sha256_of(file)[:16]}", 1, list(enumerate(labels)))
    known = place.log.predictions_by_id(label.id for label in labels)
    place.ledger.append("labels", "imported", {"file": file.name, "labels": len(labels), "new": fresh})
    orphans = sum(label.id not in known for label in labels)
    return Imported(str(file), len(labels), orphans, repeated=not fresh)


def _read(file: Path) -> list[Label]:
    if not file.is_file():
        raise UserError(f"{file} is not there. Expected a CSV file with the columns id and label.")
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, strict=True)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{file} cannot be read as CSV in UTF-8: {error}. Save it as UTF-8 and close every quote."
        ) from error
    missing = {"id", "label"} - set(columns)
    if missing:
        found = ", ".join(columns) or "none"
        raise UserError(f"{file} lacks the column(s) {', '.join(sorted(missing))}; its columns are: {found}.")
    rows = [{name: (value or "").strip() for name, value in row.items() if name} for row in rows]
    incomplete = [str(number) for number, row in enumerate(rows, start=2) if not row["id"] or not row["label"]]
    if incomplete or not rows:
        where = f"rows {', '.join(incomplete[:_NAMED])}" if incomplete else "it has no rows"
        raise UserError(f"{file} was not imported: every row needs an id and a label ({where}).")
    at = now()
    start = int(at.timestamp() * 1_000_000)
    return [
        Label(row["id"], row["label"], at, row.get("labelled_by", ""), start + index) for index, row in enumerate(rows)
    ]
