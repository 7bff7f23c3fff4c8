"""What production gives: predictions that somebody labelled, each picture once."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flows.collecting.snapshot import PRODUCTION
from flows.workplace import Workplace, role_key
from models.examples import Example, with_roles
from monitoring.incoming.lost_pictures import lost_pictures
from monitoring.prediction_log import image_key


@dataclass(frozen=True)
class Labelled:
    """
    A labelled production image.

    Attributes:
        labelled_at: When it was first labelled, under whichever prediction; what counts for being fresh.
        labels_until: When its newest label was given.
    """

    example: Example
    labelled_at: datetime
    labels_until: datetime


def production_examples(place: Workplace, classes: Sequence[str]) -> tuple[list[Labelled], Counter[str]]:
    """
    Labelled predictions, each picture once, and how many cannot be used and why.

    Labels of people who are not trusted do not count, nor do pictures of a source that was broken then. An image whose
    class the model does not know, or whose bytes were not kept, cannot train or judge it. One that was sent more than
    once has the role of its first sending, under whatever group it comes again; with different labels it is not used
    at all.
    """
    left_out: Counter[str] = Counter()
    rows_of: dict[str, list[dict[str, Any]]] = defaultdict(list)
    broken = lost_pictures(place.log, place.engine, place.settings.project.name, place.settings.data.source)
    for row in _trusted(place, left_out):
        if row["id"] in broken:
            left_out[f"of input that was broken ({broken[row['id']]})"] += 1
        elif row["true_label"] not in classes:
            left_out["class unknown to the model"] += 1
        elif not row["image_kept"] or not place.objects.exists(image_key(row["image_sha256"])):
            left_out["image not kept"] += 1
        else:
            rows_of[row["image_sha256"]].append(row)
    first_sent = place.log.first_metadata(list(rows_of))
    usable = []
    for content, rows in rows_of.items():
        if len({row["true_label"] for row in rows}) > 1:
            left_out["sent more than once, with different labels"] += len(rows)
            continue
        if len(rows) > 1:
            left_out["sent more than once"] += len(rows) - 1
        metadata = {name: str(value) for name, value in first_sent[content].items()}
        group = metadata.get(place.settings.data.group, "") or content
        label = rows[0]["true_label"]
        example = Example(image_key(content), label, metadata=metadata, group=group, source=PRODUCTION)
        times = [row["labelled_at"] for row in rows]
        usable.append(Labelled(example, min(times), max(times)))
    roles = with_roles((one.example for one in usable), role_key(place.engine))
    return [replace(one, example=example) for one, example in zip(usable, roles, strict=True)], left_out


def _trusted(place: Workplace, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """The labelled predictions, by labels of those who are trusted; counts the others."""
    untrusted = place.settings.data.untrusted_labellers
    found = place.log.labelled(without=untrusted)
    if untrusted and (others := place.log.labelled(columns=("id",)).height - found.height):
        left_out["labelled by nobody who is trusted"] += others
    return found.iter_rows(named=True)
