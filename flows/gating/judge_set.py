"""Which images judge: the old ones that are not worn, the recent ones, and what each of them counts for."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flows.collecting.snapshot import PRODUCTION, Snapshot
from flows.gating.readings import REPLACED, STREAM, Readings, readings
from flows.gating.wear import Aged, still_judging, to_retire
from flows.workplace import Workplace
from models.examples import Example
from models.gate_records import DIFFERENT, OLD
from monitoring.labelling.requests import GATE, LabelRequest
from monitoring.labelling.rows import requests

_CLASS = "class="


@dataclass(frozen=True)
class JudgeImages:
    """
    Images of one scope.

    Attributes:
        asked_for: Of each, the group whose comparison it was labelled for; "" = all.
        by_chance: Of each, whether its label was asked for without regard to any model's answer to it. What people
            volunteer is mostly what the champion got wrong, and there any other model looks better.
    """

    examples: tuple[Example, ...] = ()
    asked_for: tuple[str, ...] = ()
    by_chance: tuple[bool, ...] = ()

    def of_classes(self, classes: Container[str]) -> "JudgeImages":
        """Those whose label is one of these."""
        rows = [row for row, one in enumerate(self.examples) if one.label in classes]
        return JudgeImages(
            tuple(self.examples[row] for row in rows),
            tuple(self.asked_for[row] for row in rows),
            tuple(self.by_chance[row] for row in rows),
        )

    def with_those(self, other: "JudgeImages") -> "JudgeImages":
        """These, then the others."""
        return JudgeImages(
            self.examples + other.examples, self.asked_for + other.asked_for, self.by_chance + other.by_chance
        )


@dataclass(frozen=True)
class JudgeSet:
    """
    What one reading looks at.

    Attributes:
        before: The readings so far.
        retired: Old images that judge no more.
    """

    old: JudgeImages
    recent: JudgeImages
    before: Readings
    retired: int


def judge_set(place: Workplace, snapshot: Snapshot, candidate: int | None = None) -> JudgeSet:
    """
    The judge images of a snapshot as they count now; replaces the oldest of them where they are worn.

    candidate: The version that is judged, where it has a number. What was labelled because another one answers it
    differently from the champion is left out: of this one's answers it is no fair sample.
    """
    asked = _asked(place)
    moved = [one for one in snapshot.judge_recent if _asked_scope(asked, one) == OLD]
    recent = [one for one in snapshot.judge_recent if _asked_scope(asked, one) != OLD]
    before = readings(place.ledger)
    old = (*snapshot.judge_old, *moved)
    aged = _aged(place, old) if before.rows else [Aged(one, None) for one in old]
    if until := to_retire(aged, before.retired_until, before.since_replaced, before.began):
        before = _replace(place, before, aged, until)
    active = still_judging(aged, before.retired_until)
    random = place.settings.monitor.feedback_is_random
    return JudgeSet(
        old=_images(active, asked, candidate, random=random),
        recent=_images(recent, asked, candidate, random=random),
        before=before,
        retired=len(old) - len(active),
    )


def _asked(place: Workplace) -> Mapping[str, LabelRequest]:
    """By picture, the request that says most about why it was labelled."""
    found: dict[str, LabelRequest] = {}
    for one in requests(place.engine, place.settings.project.name):
        other = found.get(one.image_sha256)
        if other is None or one.in_audit or (one.stratum == GATE and not other.in_audit):
            found[one.image_sha256] = one
    return found


def _images(
    examples: Sequence[Example], asked: Mapping[str, LabelRequest], candidate: int | None, *, random: bool
) -> JudgeImages:
    kept = []
    for one in examples:
        group = _asked_group(asked, one)
        if group == DIFFERENT and str(_gate_facts(asked, one).get("version")) != str(candidate):
            continue
        # Drawn among answers of one class and labelled as another, it is no fair sample of any.
        if not group.startswith(_CLASS) or group == f"{_CLASS}{one.label}":
            kept.append((one, group, random or _by_chance(asked, one)))
    if not kept:
        return JudgeImages()
    chosen, groups, chance = zip(*kept, strict=True)
    return JudgeImages(chosen, groups, chance)


def _request(asked: Mapping[str, LabelRequest], example: Example) -> LabelRequest | None:
    return asked.get(str(example.image).rpartition("/")[2]) if example.source == PRODUCTION else None


def _gate_facts(asked: Mapping[str, LabelRequest], example: Example) -> Mapping[str, str]:
    one = _request(asked, example)
    # Drawn by chance as well, it counts as any image does.
    return {} if one is None or one.in_audit or one.stratum != GATE else dict((one.facts or {}).get("gate") or {})


def _asked_group(asked: Mapping[str, LabelRequest], example: Example) -> str:
    group = _gate_facts(asked, example).get("group", "")
    return "" if group == "overall" else group


def _asked_scope(asked: Mapping[str, LabelRequest], example: Example) -> str:
    return _gate_facts(asked, example).get("scope", "")


def _by_chance(asked: Mapping[str, LabelRequest], example: Example) -> bool:
    if example.source != PRODUCTION:
        return True
    one = _request(asked, example)
    return one is not None and (one.in_audit or one.stratum == GATE)


def _aged(place: Workplace, examples: Sequence[Example]) -> list[Aged]:
    first: dict[str, datetime] = {}
    for image, at in place.log.labelled().select("image_sha256", "labelled_at").iter_rows():
        first[image] = min(at, first.get(image, at))
    return [
        Aged(one, first.get(str(one.image).rpartition("/")[2]) if one.source == PRODUCTION else None)
        for one in examples
    ]


def _replace(place: Workplace, before: Readings, aged: Sequence[Aged], until: Mapping[str, str]) -> Readings:
    retired_until = {**before.retired_until, **until}
    gone = Counter(
        one.example.label
        for one in aged
        if before.retired_until.get(one.example.label, "") < one.age <= until.get(one.example.label, "")
    )
    facts = {"readings": before.since_replaced, "images": dict(sorted(gone.items())), "retired_until": retired_until}
    place.ledger.append(STREAM, REPLACED, facts)
    return readings(place.ledger)
