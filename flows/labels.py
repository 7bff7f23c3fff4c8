"""`kedge labels import`: labels from a file, straight into the tables, whether or not the service runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.kept_labels import champion_classes
from flows.label_files import Given, read_file
from flows.workplace import Workplace
from infra.clock import now
from infra.files import sha256_of
from models.prediction import Label
from monitoring.label_rows import skip

_NAMED = 5


@dataclass(frozen=True)
class Imported:
    """
    What an import came to.

    Attributes:
        labels: Labels taken.
        orphans: How many of them name a prediction that is not in the log (yet): kept, and joined when it comes.
        repeated: Whether this very file had been imported before; then nothing was added.
        unknown_class: How many of them name a class that the champion lacks: kept in quarantine until one has it.
        known: Labels that were there already, word for word; they were not added again.
        skipped: Requests that people skipped, which are not waited for any more.
        unanswered: Rows or tasks without a label.
        refused: What could not be taken, a sentence each.
    """

    file: str
    labels: int
    orphans: int
    repeated: bool
    unknown_class: int = 0
    known: int = 0
    skipped: int = 0
    unanswered: int = 0
    refused: tuple[str, ...] = ()

    def words(self) -> str:
        if self.repeated:
            return f"{self.file} was imported before; nothing was added."
        parts = (
            (self.orphans, "name predictions that are not in the log yet"),
            (self.unknown_class, "name a class that the champion lacks, and wait for one that has it"),
            (self.known, "were known already"),
            (self.skipped, "were skipped by a person, and are not asked for any more"),
            (self.unanswered, "have no label yet"),
            (len(self.refused), "were refused"),
        )
        more = "".join(f"; {count} {words}" for count, words in parts if count)
        named = "".join(f"\n  {sentence}" for sentence in self.refused[:_NAMED])
        rest = f"\n  … and {len(self.refused) - _NAMED} more" if len(self.refused) > _NAMED else ""
        return f"Imported {self.labels} labels from {self.file}{more}.{named}{rest}"


def import_file(place: Workplace, file: Path) -> Imported:
    """
    Append the file's labels, once for the same content; a label that an id has already is not added again.

    Raises:
        UserError: the file cannot be read, or rows are incomplete; then nothing is imported.
    """
    given = read_file(file)
    labels = _labels(given.labels)
    last = place.log.last_labels({label.id for label in labels})
    # Of several rows for one id the last counts; only what would change something is written.
    newest = {label.id: label for label in labels}
    fresh = [one for one in newest.values() if one.id not in last or not _same(last[one.id], one)]
    # The content is the identity: the same file under another name is still the same delivery.
    app = f"import-{sha256_of(file)[:16]}"
    repeated = bool(labels) and place.log.labels.newest(app) is not None
    if fresh and not repeated:
        place.log.append_labels(app, 1, list(enumerate(fresh)))
    # Each time: an import that was broken off may have come no further than the labels.
    skipped = skip(place.engine, place.settings.project.name, given.skipped)
    taken = [] if repeated else fresh
    known = place.log.predictions_by_id(label.id for label in taken)
    classes = champion_classes(place)
    imported = Imported(
        file=str(file),
        labels=len(labels) if repeated else len(taken),
        orphans=sum(label.id not in known for label in taken),
        repeated=repeated,
        unknown_class=0 if classes is None else sum(label.label not in classes for label in taken),
        known=0 if repeated else len(newest) - len(taken),
        skipped=len(skipped),
        unanswered=given.unanswered,
        refused=given.refused,
    )
    facts = {"file": file.name, "labels": len(labels), "new": bool(taken), "refused": len(given.refused)}
    place.ledger.append("labels", "imported", facts)
    return imported


def _labels(given: Sequence[Given]) -> list[Label]:
    at = now()
    start = int(at.timestamp() * 1_000_000)
    return [Label(one.id, one.label, at, one.labelled_by, start + index) for index, one in enumerate(given)]


def _same(one: Label, other: Label) -> bool:
    return (one.label, one.labelled_by) == (other.label, other.labelled_by)
