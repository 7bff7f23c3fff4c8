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

_COLUMNS = ("id", "image_sha256", "image_kept", "true_label")


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
        since: Pictures that were first labelled later.
        classes: That can be judged.
        group: Column of the metadata whose images share a role; "" = each picture alone.
        without: People whose labels do not count.
        random: Whether chance drew all that is handed in; else only audits count.
    """

    since: datetime
    classes: Sequence[str]
    role_key: bytes
    group: str
    without: Collection[str]
    random: bool


def unasked(log: PredictionLog, requests: Sequence[LabelRequest], whose: Whose) -> tuple[Unasked, ...]:
    """
    Labels by chance since then, of judge images, each picture once; without what was asked for the gate.

    A picture that is not kept, or that people name differently, judges nothing.
    """
    asked = {one.image_sha256 for one in requests if one.stratum == GATE}
    audited = {one.image_sha256 for one in requests if one.in_audit} - asked
    found, labels = log.labelled(columns=_COLUMNS, without=tuple(whose.without)), log.labels.scan()
    if found.is_empty() or labels is None:
        return ()
    # A label that is handed in again is no new one.
    first_at = labels.group_by("id").agg(first_at=pl.col("at").min()).collect()
    pictures = found.join(first_at, on="id").group_by("image_sha256", maintain_order=True)
    told = pictures.agg(
        pl.col("true_label").first(), pl.col("image_kept").any(), pl.col("first_at").min(),
        names=pl.col("true_label").n_unique(),
    )  # fmt: skip
    can_judge = pl.col("image_kept") & (pl.col("names") == 1) & pl.col("true_label").is_in(list(whose.classes))
    new = told.filter(can_judge & (pl.col("first_at") > whose.since))
    new = new.filter(~pl.col("image_sha256").is_in(asked) if whose.random else pl.col("image_sha256").is_in(audited))
    metadata = log.first_metadata(new["image_sha256"].to_list())
    counted = []
    for image, label in new.select("image_sha256", "true_label").iter_rows():
        columns = {name: str(value) for name, value in metadata.get(image, {}).items()}
        if role_of(columns.get(whose.group, "") or image, whose.role_key) == "judge":
            counted.append(Unasked(label, columns))
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
