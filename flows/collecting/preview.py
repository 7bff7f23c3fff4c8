"""`kedge retrain --dry-run`: what would train, select and judge, and what would be left out; nothing is done."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from flows.collecting.collect import retrain_snapshot
from flows.collecting.snapshot import PRODUCTION, Snapshot
from flows.workplace import Workplace
from infra.errors import UserError
from models.artifact import read_artifact


@dataclass(frozen=True)
class PartPreview:
    """
    One part of a training's images.

    Attributes:
        production: Of its images those that callers sent.
        classes: Class to its number of images.
    """

    images: int
    production: int
    classes: Mapping[str, int]


@dataclass(frozen=True)
class Preview:
    """
    A retrain as it would begin now.

    Attributes:
        champion: What it would start from, and be compared with.
        parts: "train", "select", "judge_old" and "judge_recent".
        fresh_select: Of those that select, images labelled since the champion's training.
        left_out: How many labelled images would not be used, by reason.
    """

    champion: str
    parts: Mapping[str, PartPreview]
    fresh_select: int
    left_out: Mapping[str, int]
    remarks: tuple[str, ...]
    fingerprint: str


def preview_retrain(place: Workplace) -> Preview:
    """
    Collect as a retrain would, and stop there. No model answers a judge image.

    Raises:
        UserError: there is no champion, or the manifest cannot be used.
    """
    champion = place.registry.champion()
    if champion is None:
        raise UserError("There is no champion to retrain from. `kedge train` makes the first model.")
    artifact = read_artifact(place.registry.fetch(champion.version, place.fetched))
    snapshot: Snapshot = retrain_snapshot(place, champion, artifact.classes)
    parts = {name: getattr(snapshot, name) for name in ("train", "select", "judge_old", "judge_recent")}
    return Preview(
        champion=champion.title,
        parts={
            name: PartPreview(
                len(examples),
                sum(one.source == PRODUCTION for one in examples),
                dict(sorted(Counter(one.label for one in examples).items())),
            )
            for name, examples in parts.items()
        },
        fresh_select=snapshot.fresh_select,
        left_out=snapshot.left_out,
        remarks=snapshot.remarks,
        fingerprint=snapshot.fingerprint,
    )
