"""Labels that serve a waiting candidate although nobody asked for them on its behalf: of audits, or handed in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from models.examples import role_of
from models.gate_needs import OVERALL, LabelNeed
from models.gate_records import RECENT
from monitoring.labelling.requests import GATE, LabelRequest
from monitoring.prediction_log import PredictionLog

_COLUMNS = ("id", "image_sha256", "true_label", "labelled_at")


@dataclass(frozen=True)
class Unasked:
    """A picture that judges, and was first labelled after the candidate's data were collected."""

    label: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Whose:
    """
    Which labels of the log count.

    Attributes:
        since: Labels given later.
        group: Column of the metadata whose images share a role; "" = each picture alone.
        without: People whose labels do not count.
        random: Whether chance drew all that is handed in; else only audits count.
    """

    since: datetime
    role_key: bytes
    group: str
    without: Collection[str]
    random: bool


def unasked(log: PredictionLog, requests: Sequence[LabelRequest], whose: Whose) -> tuple[Unasked, ...]:
    """Labels by chance since then, of judge images, each picture once; without what was asked for the gate."""
    asked = {one.image_sha256 for one in requests if one.stratum == GATE}
    audited = {one.image_sha256 for one in requests if one.in_audit} - asked
    found = log.labelled(columns=_COLUMNS, without=tuple(whose.without))
    first = found.sort("labelled_at").unique("image_sha256", keep="first", maintain_order=True)
    new = first.filter(pl.col("labelled_at") > whose.since)
    new = new.filter(~pl.col("image_sha256").is_in(asked) if whose.random else pl.col("image_sha256").is_in(audited))
    metadata = log.first_metadata(new["image_sha256"].to_list())
    counted = []
    for image, label in new.select("image_sha256", "true_label").iter_rows():
        told = {name: str(value) for name, value in metadata.get(image, {}).items()}
        if role_of(told.get(whose.group, "") or image, whose.role_key) == "judge":
            counted.append(Unasked(label, told))
    return tuple(counted)


def serving(labels: Sequence[Unasked], need: LabelNeed) -> int:
    """How many of them serve a need; all came lately, so none tells of the old world."""
    if need.scope != RECENT:
        return 0
    return sum(_serves(one, need.group) for one in labels)


def _serves(one: Unasked, group: str) -> bool:
    if group == OVERALL:
        return True
    parts = [part.partition("=") for part in group.split(", ")]
    return all((one.label if name == "class" else one.metadata.get(name)) == value for name, _, value in parts)
