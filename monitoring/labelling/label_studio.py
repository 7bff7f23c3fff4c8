"""
Label Studio's files: tasks that it imports, the interface it shows, and its two JSON exports. Pure.

Shapes as in its guide (Import pre-annotated data; Label Studio Task Format; Export annotations), with one set of
choices over one picture.
"""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Of the interface: what is chosen, and what is looked at. The data is called by other names: an export of the short
# kind (JSON-MIN) lays both, and the task's own id, side by side.
CHOICE, PICTURE, IDENTIFIER = "label", "image", "prediction_id"
_MANY_CLASSES = 12


@dataclass(frozen=True)
class Task:
    """
    One picture to label.

    Attributes:
        image: As Label Studio is to load it.
        why: In words, for whoever labels it.
        answer, score: What the model said, shown as chosen already; None for a picture that is to be labelled blind.
    """

    prediction_id: str
    image: str
    why: str
    model: str
    answer: str | None = None
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As Label Studio imports it."""
        data = {PICTURE: self.image, IDENTIFIER: self.prediction_id, "why": self.why}
        if self.answer is None:
            return {"data": data}
        chosen = {
            "id": "answer",
            "from_name": CHOICE,
            "to_name": PICTURE,
            "type": "choices",
            "value": {"choices": [self.answer]},
        }
        found: dict[str, Any] = {"model_version": self.model, "result": [chosen]}
        if self.score is not None:
            found["score"] = self.score
        return {"data": data, "predictions": [found]}


@dataclass(frozen=True)
class Chosen:
    """One label that people gave, with the place of its task in the file, from 1."""

    place: int
    id: str
    label: str
    labelled_by: str


@dataclass(frozen=True)
class Export:
    """
    What an export holds.

    Attributes:
        chosen: One label for each prediction.
        skipped: Ids of tasks that whoever looked at them skipped.
        unanswered: Tasks that nobody has looked at.
        refused: Tasks from which no label can be taken, a sentence each.
    """

    chosen: tuple[Chosen, ...]
    skipped: tuple[str, ...]
    unanswered: int
    refused: tuple[str, ...]


def interface(classes: Sequence[str]) -> str:
    """The labelling configuration: the picture and its classes."""
    layout = ' layout="select"' if len(classes) > _MANY_CLASSES else ""
    choices = "\n".join(f'    <Choice value="{html.escape(name)}"/>' for name in classes)
    return (
        f'<View>\n  <Image name="{PICTURE}" value="${PICTURE}" zoom="true"/>\n'
        f'  <Choices name="{CHOICE}" toName="{PICTURE}" choice="single" required="true"{layout}>\n'
        f"{choices}\n  </Choices>\n</View>\n"
    )


def read_export(document: Any) -> Export:
    """
    The labels of an export, long (JSON) or short (JSON-MIN).

    What several people said of one picture counts once: their common answer, or the one of more than half of them.

    Raises:
        ValueError: it is no list of tasks.
    """
    if not isinstance(document, list) or not all(isinstance(task, dict) for task in document):
        raise ValueError("expected a list of tasks, as Label Studio exports it (JSON or JSON-MIN)")
    reading = _Reading()
    for place, task in enumerate(document, start=1):
        _read_task(reading, place, task)
    return reading.result()


@dataclass
class _Given:
    """What people said of one prediction."""

    place: int
    labels: list[tuple[str, str]] = field(default_factory=list)
    skipped: bool = False
    unreadable: str = ""


@dataclass
class _Reading:
    given: dict[str, _Given] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def of(self, identifier: str, place: int) -> _Given:
        return self.given.setdefault(identifier, _Given(place))

    def result(self) -> Export:
        chosen, skipped, refused = [], [], list(self.refused)
        unanswered = 0
        for identifier, one in self.given.items():
            if one.unreadable:
                refused.append(f"task {one.place} ({identifier}): {one.unreadable}")
            elif one.labels:
                label, votes = Counter(label for label, _ in one.labels).most_common(1)[0]
                if 2 * votes <= len(one.labels):
                    said = ", ".join(f"'{label}'" for label in dict.fromkeys(label for label, _ in one.labels))
                    refused.append(f"task {one.place} ({identifier}): its annotators disagree ({said})")
                else:
                    who = next(name for said, name in reversed(one.labels) if said == label)
                    chosen.append(Chosen(one.place, identifier, label, who))
            elif one.skipped:
                skipped.append(identifier)
            else:
                unanswered += 1
        return Export(tuple(chosen), tuple(skipped), unanswered, tuple(refused))


def _read_task(reading: _Reading, place: int, task: Mapping[str, Any]) -> None:
    data = task.get("data")
    # Of the short kind there is one entry for each annotation, and the data lies beside what was chosen.
    facts = data if isinstance(data, dict) else task
    identifier = facts.get(IDENTIFIER)
    if not isinstance(identifier, str) or not identifier.strip():
        reading.refused.append(f"task {place}: its data has no {IDENTIFIER}, so it is not one of Kedge's")
        return
    given = reading.of(identifier.strip(), place)
    if not isinstance(data, dict):
        if CHOICE in task:
            _take(given, task[CHOICE], task.get("annotator"))
        return
    annotations = task.get("annotations", task.get("completions"))
    if annotations is not None and not isinstance(annotations, list):
        given.unreadable = "its annotations are no list"
        return
    for annotation in annotations or ():
        if not isinstance(annotation, dict):
            given.unreadable = "an annotation is no object"
        elif annotation.get("was_cancelled") or annotation.get("skipped"):
            given.skipped = True
        else:
            _take(given, _choices(annotation.get("result")), annotation.get("completed_by"))


def _choices(result: Any) -> Any:
    """The values chosen in an annotation's results; other kinds of regions are passed over."""
    if not isinstance(result, list):
        return None
    mine = [one for one in result if isinstance(one, dict) and one.get("from_name") == CHOICE]
    return [one["value"] for one in mine if isinstance(one.get("value"), dict)]


def _take(given: _Given, value: Any, who: Any) -> None:
    """A choice may come as its word, as {"choices": [words]}, or as a list of these."""
    words: list[Any] = []
    for one in value if isinstance(value, list) else [value]:
        found = one.get("choices") if isinstance(one, dict) else one
        words += found if isinstance(found, list) else [found]
    words = list(dict.fromkeys(word for word in words if word is not None and word != ""))
    if len(words) == 1 and isinstance(words[0], str):
        given.labels.append((words[0].strip(), _name(who)))
    elif words:
        given.unreadable = f"expected one choice named '{CHOICE}', found {words!r:.80}"


def _name(who: Any) -> str:
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    if isinstance(who, int):
        return f"Label Studio user {who}"
    return who if isinstance(who, str) else ""
