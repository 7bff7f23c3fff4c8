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
from monitoring.labelling.rows import skip

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
        unknown_classes: Those classes: a slip of the pen looks like a new class.
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
    unknown_classes: tuple[str, ...] = ()

    def words(self) -> str:
        if self.repeated:
            return f"{self.file} was imported before; nothing was added."
        lacked = ", ".join(self.unknown_classes[:_NAMED]) + (", …" if len(self.unknown_classes) > _NAMED else "")
        parts = (
            (self.orphans, "with an id that is not in the log yet"),
            (self.unknown_class, f"of a class that the champion lacks ({lacked}), kept until one has it"),
            (self.known, "known already"),
            (self.skipped, "skipped by a person, and not asked for any more"),
            (self.unanswered, "without a label yet"),
            (len(self.refused), "refused"),
        )
        more = "".join(f"; {count} {words}" for count, words in parts if count)
        named = "".join(f"\n  {sentence}" for sentence in self.refused[:_NAMED])
        rest = f"\n  … and {len(self.refused) - _NAMED} more" if len(self.refused) > _NAMED else ""
        return (
            f"Imported {self.labels} {'label' if self.labels == 1 else 'labels'} from {self.file}{more}.{named}{rest}"
        )


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
    lacked = [] if classes is None else [label.label for label in taken if label.label not in classes]
    imported = Imported(
        file=str(file),
        labels=len(labels) if repeated else len(taken),
        orphans=sum(label.id not in known for label in taken),
        repeated=repeated,
        unknown_class=len(lacked),
        known=0 if repeated else len(newest) - len(taken),
        skipped=len(skipped),
        unanswered=given.unanswered,
        refused=given.refused,
        unknown_classes=tuple(sorted(set(lacked))),
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
