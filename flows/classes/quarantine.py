"""Labels of classes that the champion lacks: they wait, and are counted by what they could do."""

from collections import Counter
from dataclasses import dataclass

from flows.collecting.from_manifest import manifest_examples
from flows.collecting.from_production import production_examples
from flows.kept_labels import champion_classes
from flows.workplace import Workplace
from infra.errors import UserError
from models.examples import LEAST_IMAGES_PER_CLASS, Example


@dataclass(frozen=True)
class ClassCount:
    """
    One class and the labelled images that bear it, each picture once, by the role that each has for ever.

    Attributes:
        known: Whether the champion answers it.
        labels: That name it, usable or not: an image may be gone, or labelled otherwise as well.
    """

    name: str
    known: bool
    labels: int
    train: int
    select: int
    judge: int

    @property
    def images(self) -> int:
        return self.train + self.select + self.judge

    @property
    def lacks(self) -> str:
        """What is missing before a model can learn it, in words; "" where nothing is."""
        if self.images < LEAST_IMAGES_PER_CLASS:
            return f"{LEAST_IMAGES_PER_CLASS - self.images} more labelled images"
        empty = [role for role, count in (("train", self.train), ("select", self.select)) if not count]
        return f"an image whose role is to {' and one to '.join(empty)}" if empty else ""


def class_counts(place: Workplace) -> tuple[ClassCount, ...]:
    """
    Every class that the champion knows or that anybody named, those in quarantine last, the most frequent first.

    Raises:
        UserError: there is no champion, so nothing is unknown to it.
    """
    known = champion_classes(place)
    if known is None:
        raise UserError("There is no champion, so its classes are not known. `kedge train` makes the first model.")
    labels = place.log.labels_by_class()
    production, _ = production_examples(place, tuple({*known, *labels}))
    manifest = manifest_examples(place) if place.settings.data.manifest.exists() else ()
    roles = Counter(_role(one) for one in (*manifest, *(one.example for one in production)))
    names = {*known, *labels, *(label for label, _ in roles)}
    found = [
        ClassCount(
            name=name,
            known=name in known,
            labels=labels.get(name, 0),
            train=roles[name, "train"],
            select=roles[name, "select"],
            judge=roles[name, "judge"],
        )
        for name in names
    ]
    return tuple(sorted(found, key=lambda one: (not one.known, 0 if one.known else -one.images, one.name)))


def _role(example: Example) -> tuple[str, str]:
    return example.label, example.split
