"""`kedge data --label-errors`: labels that the other images contradict, as a table, as a page to look at, as a CSV."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.collecting.from_manifest import excluded_images, manifest_examples
from flows.collecting.from_production import production_examples
from flows.collecting.images import content_of, read_image
from flows.fingerprints import fingerprints_of
from flows.telling import Teller
from flows.workplace import Workplace
from infra.errors import UserError
from infra.files import write_atomically
from models.evaluation import evaluate
from models.examples import Example, classes_of
from models.images import decode
from models.label_errors import score_labels
from models.near_duplicates import joined, near_pairs
from models.runtime import Runtime

_THUMB_PIXELS = 160
_COLUMNS = ("image", "label", "suggested", "quality", "role", "source")


@dataclass(frozen=True)
class Suspect:
    """
    An image whose label is likely wrong.

    Attributes:
        image: As the manifest names it; of a production image its key in the object store.
        quality: Probability of the label, by a classifier that never saw the image or its like, 0..1.
        role: train or select.
        source: manifest or production.
    """

    image: str
    label: str
    suggested: str
    quality: float
    role: str
    source: str


@dataclass(frozen=True)
class LabelErrors:
    """
    What was examined, and what looks wrong.

    Attributes:
        model: Title of the version whose embeddings were used.
        examined: Images that were looked at: all that train or select. Judge images are the gate's alone.
        untold: Of these, how many cannot be told about: every image of their class lies in one group.
        suspects: The worst first.
    """

    model: str
    examined: int
    untold: int
    suspects: tuple[Suspect, ...]


def find_label_errors(place: Workplace, teller: Teller) -> LabelErrors:
    """
    Rank the labels of the images that train and select by how strongly the others contradict them.

    Raises:
        UserError: there is no champion whose embeddings could be compared, or nothing to compare.
    """
    champion = place.registry.champion()
    if champion is None:
        raise UserError(
            "Likely label errors are found by what a model sees in the images, and there is no model yet. "
            "Run `kedge train` first (a few wrong labels do little harm), then this again."
        )
    runtime = Runtime.open(place.registry.fetch(champion.version, place.fetched))
    examples = _examined(place, tuple(runtime.artifact.classes))
    if not examples:
        raise UserError("There is no image that trains or selects, so there is no label to examine.")
    teller.say(f"Comparing {len(examples)} images by what {champion.title} sees in them …")
    # The labels play no part in what the model sees, and some may be of classes that it does not know.
    unlabelled = [replace(example, label=runtime.artifact.classes[0]) for example in examples]
    seen = evaluate(
        runtime, unlabelled, lambda one: read_image(place, one), lambda done, of: teller.progress("images", done, of)
    )
    classes = classes_of(examples)
    labels = np.array([classes.index(example.label) for example in examples], dtype=np.intp)
    scores = score_labels(labels, seen.embeddings, _groups(place, examples), place.settings.train.seed)
    suspects = tuple(
        Suspect(
            image=_name(place, examples[number]),
            label=examples[number].label,
            suggested=classes[scores.suggested[number]],
            quality=round(float(scores.quality[number]), 4),
            role=examples[number].split,
            source=examples[number].source,
        )
        for number in scores.suspects.tolist()
    )
    return LabelErrors(champion.title, len(examples), scores.untold, suspects)


def write_suspects(errors: LabelErrors, path: Path, most: int | None = None) -> None:
    """
    A CSV of the suspects, the worst `most` where given.

    Delete the rows whose label is right; then `data.exclude` may name the file.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows([getattr(suspect, column) for column in _COLUMNS] for suspect in errors.suspects[:most])
    write_atomically(path, text.getvalue())


def write_sheet(place: Workplace, errors: LabelErrors, path: Path, most: int = 30) -> None:
    """One HTML page with the worst suspects as pictures; it needs no other file."""
    cells = "".join(
        f'<figure><img src="{_picture(place, suspect)}" alt=""><figcaption><b>{escape(suspect.label)}</b> → '
        f"{escape(suspect.suggested)} ({suspect.quality:.2f})<br><small>{escape(suspect.image)}</small></figcaption>"
        "</figure>"
        for suspect in errors.suspects[:most]
    )
    heading = f"{len(errors.suspects)} of {errors.examined} labels look wrong to {errors.model}"
    note = "Given label → what the other images suggest (probability of the given label). The worst come first."
    write_atomically(path, _PAGE.format(heading=escape(heading), note=escape(note), cells=cells))


def _examined(place: Workplace, classes: Sequence[str]) -> list[Example]:
    """Everything that would train or select, also what contradicts its copy: that is what is looked for."""
    production, _ = production_examples(place, classes)
    excluded = excluded_images(place)
    every = [*manifest_examples(place), *(one.example for one in production)]
    return [example for example in every if example.split != "judge" and example.image not in excluded]


def _groups(place: Workplace, examples: Sequence[Example]) -> NDArray[np.intp]:
    """Sessions, joined where they share a picture or nearly so: it would answer for itself otherwise."""
    contents = [content_of(example) for example in examples]
    order = np.argsort(contents, kind="stable").tolist()
    same = [(one, other) for one, other in pairwise(order) if contents[one] == contents[other]]
    distance = place.settings.data.near_duplicate_distance
    near: list[tuple[int, int]] = []
    if distance:
        readers = {
            content: partial(read_image, place, example) for content, example in zip(contents, examples, strict=True)
        }
        known = fingerprints_of(place.settings, readers)
        near = near_pairs([known[content] for content in contents], distance).tolist()
    pairs = np.array([*same, *near], dtype=np.intp).reshape(-1, 2)
    return joined([example.group for example in examples], pairs)


def _name(place: Workplace, example: Example) -> str:
    folder = _folder(place)
    if isinstance(example.image, Path) and example.image.is_relative_to(folder):
        return example.image.relative_to(folder).as_posix()
    return str(example.image)


def _folder(place: Workplace) -> Path:
    manifest = place.settings.data.manifest
    return manifest if manifest.is_dir() else manifest.parent


def _picture(place: Workplace, suspect: Suspect) -> str:
    data = (
        (_folder(place) / suspect.image).read_bytes()
        if suspect.source == "manifest"
        else place.objects.get(suspect.image)
    )
    image = Image.fromarray(decode(data, least_side=_THUMB_PIXELS).pixels)
    image.thumbnail((_THUMB_PIXELS, _THUMB_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{heading}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 1rem }}
figure {{ margin: 0; overflow-wrap: anywhere }}
img {{ height: 160px; max-width: 100%; object-fit: contain; background: #eee }}
small {{ color: #666 }}
</style>
<h1>{heading}</h1><p>{note}</p><main>{cells}</main></html>
"""
