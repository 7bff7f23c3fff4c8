"""
Labels that an undecided candidate waits for: which predictions could give them.

Only predictions whose picture has the role *judge* can: another's label would train, and judge never. And they
must be drawn without favour. Among pictures that the champion calls a duck, all true ducks are ones it got right: there
a candidate can only lose. So of one class are drawn those that the champion or the candidate calls it, which takes
the candidate's own answers, as shadow; without them every picture has the same chance, and a class comes as often as
it does. For a gain, too, such answers save labels: only pictures that the two answer differently can show one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, floor

import numpy as np
import polars as pl

from infra.ledger import Ledger
from infra.settings import Settings
from models.examples import role_of
from models.gate_needs import OVERALL, LabelNeed, needs_from_json
from models.gate_records import DIFFERENT, OLD
from models.registry import WAITING, ModelVersion, Registry
from models.rollout_runs import PATIENT
from monitoring.labelling.requests import ANSWERED, ASKED, GATE, LabelRequest
from monitoring.labels import Bools, Wanted
from monitoring.prediction_log import PredictionLog
from monitoring.reference.coded import CodedRows

CLASS = "class="
_READINGS, _READING = "judge-readings", "reading"
_MOST_READINGS = 2
_MINUTES_A_DAY = 24 * 60
# Where so large a part of all images would do, it is not worth while to look for those answered differently.
_NO_FEWER = 0.8
# Several times a part of a label is a whole one, whatever floats make of it.
_ROUNDED = 1e-9


@dataclass(frozen=True)
class Waiting:
    """
    A candidate and what it waits for.

    Attributes:
        needs: Still to be asked about; empty where people have been asked enough.
    """

    version: int
    needs: tuple[LabelNeed, ...]


def waiting_version(registry: Registry, champion: int | None) -> ModelVersion | None:
    """The newest version that waits for labels, if it was compared with the champion and may be read once more."""
    newest = next((one for one in reversed(registry.versions()) if one.state == WAITING), None)
    if newest is None or champion is None or newest.parent_version != champion:
        return None
    return newest if needs_from_json(newest.gate) and has_reading_left(registry, newest) else None


def has_reading_left(registry: Registry, version: ModelVersion, planned: int = _MOST_READINGS) -> bool:
    """Whether the gate may read once more for a version beside the champion that it was compared with."""
    this = (_READING, version.onnx_sha256, version.parent_version)
    rows = Ledger(registry.engine).rows(_READINGS)
    return planned > sum((row.kind, row.facts.get("onnx_sha256"), row.facts.get("champion")) == this for row in rows)


def waiting(version: ModelVersion, requests: Sequence[LabelRequest], most: float) -> Waiting:
    """
    What is left to be asked, after what was asked already.

    most: Labels that people can give while it waits.
    """
    mine, left = _asked_for(requests, version.version), []
    for need in attainable(needs_from_json(version.gate), most):
        labels = need.labels - floor(sum(_worth(one, need) for one in mine) + _ROUNDED)
        if labels > 0:
            different = None if need.different is None else ceil(labels * need.different / need.labels)
            left.append(replace(need, labels=labels, different=different))
    return Waiting(version.version, tuple(left))


def attainable(needs: Sequence[LabelNeed], most: float) -> tuple[LabelNeed, ...]:
    """
    Those for which people can give enough labels in time, `most` of them; all, where none is such.

    A label for what cannot be had would be taken from what can. Groups come first, then what few labels may decide.
    """
    able = [one for one in needs if (one.different or one.labels) <= most]
    return tuple(sorted(able or needs, key=lambda one: (one.group == OVERALL, one.different is None)))


def most_labels(settings: Settings) -> float:
    """Labels that people can give while a candidate waits."""
    return settings.labels.per_day * PATIENT * settings.rollout.most_stage_minutes / _MINUTES_A_DAY


def serves(request: LabelRequest, need: LabelNeed, *, answered: bool = False) -> bool:
    """Whether a request brings a label that the need is for, or may yet; `answered`: whether it has."""
    facts = _gate(request)
    if facts.get("scope") != need.scope or request.state not in ((ANSWERED,) if answered else (ANSWERED, ASKED)):
        return False
    if not need.group.startswith(CLASS):
        # What was asked for a class shows nothing of the whole; what was asked for anything shows a bit of each.
        return facts.get("group") in (need.group, OVERALL)
    if request.state == ANSWERED:
        return f"{CLASS}{request.label}" == need.group
    return facts.get("group") == need.group


def came(requests: Sequence[LabelRequest], version: int, need: LabelNeed) -> int:
    """How many labels for a need of the version have come; one that tells more than others counts for several."""
    mine = _asked_for(requests, version)
    return floor(sum(_worth(one, need, answered=True) for one in mine) + _ROUNDED)


def _asked_for(requests: Sequence[LabelRequest], version: int) -> list[LabelRequest]:
    """What was asked on the version's behalf; a picture that was asked about before judges no second time."""
    found = [one for one in requests if one.stratum == GATE and one.same_as is None]
    return [one for one in found if _gate(one).get("version") == version]


def _worth(request: LabelRequest, need: LabelNeed, *, answered: bool = False) -> float:
    """For how many labels of the need a request counts."""
    facts = _gate(request)
    if need.different is None or facts.get("group") != DIFFERENT:
        return float(serves(request, need, answered=answered))
    counts = facts.get("scope") == need.scope and request.state in ((ANSWERED,) if answered else (ANSWERED, ASKED))
    return need.labels / need.different if counts else 0.0


@dataclass(frozen=True)
class Seen:
    """
    New predictions as far as they can be told apart for the gate, one entry each.

    Attributes:
        groups: Images of one group share a role: a session, else the picture itself.
        shadow: What the candidate answered; "" where it was not asked.
    """

    ids: Sequence[str]
    groups: Sequence[str]
    answers: Sequence[str]
    shadow: Sequence[str]
    drifted: Bools
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


def wanted(waits: Waiting, seen: Seen, role_key: bytes) -> Wanted | None:
    """
    How much each prediction is wanted, and for what; None where none is.

    A prediction serves the first need that it can: groups come before the whole.
    """
    judges = np.array([role_of(group, role_key) == "judge" for group in seen.groups], dtype=bool)
    weights = np.zeros(len(seen.ids))
    purposes: list[Mapping[str, object] | None] = [None] * len(seen.ids)
    most = 0.0
    for need in waits.needs:
        # What the champion was made for is what has not drifted.
        able = judges & (weights == 0) & (~seen.drifted if need.scope == OLD else np.ones(len(seen.ids), dtype=bool))
        for group, rows in _able(need, seen, able):
            count = int(rows.sum())
            if count:
                labels = need.different if group == DIFFERENT and need.different else need.labels
                weights[rows] = labels / count
                most += labels
                purpose = {"version": waits.version, "group": group, "scope": need.scope}
                for row in np.flatnonzero(rows).tolist():
                    purposes[row] = purpose
    return Wanted(weights, purposes, most) if weights.any() else None


def shadow_answers(log: PredictionLog, rows: pl.DataFrame, version: int) -> list[str]:
    """What the version answered as shadow to each of the predictions; "" where it was not asked."""
    frame = log.shadows.scan()
    if frame is None or rows.is_empty():
        return [""] * rows.height
    mine = frame.filter(pl.col("date").is_in(rows["date"].unique().to_list()) & (pl.col("version") == version))
    said = mine.select("id", shadow="label").unique("id", keep="first").collect()
    return rows.select("id").join(said, on="id", how="left", maintain_order="left")["shadow"].fill_null("").to_list()


def columns_of(metadata: CodedRows, waits: Waiting) -> dict[str, list[str]]:
    """The metadata columns that needs name."""
    names = {part.partition("=")[0] for need in waits.needs for part in need.group.split(", ") if "=" in part}
    return {name: list(metadata.columns[name]) for name in names if name in metadata.columns}


def _able(need: LabelNeed, seen: Seen, able: Bools) -> list[tuple[str, Bools]]:
    """Rows that can serve a need, by what they are asked for."""
    answers, shadow = np.array(seen.answers, dtype=object), np.array(seen.shadow, dtype=object)
    if need.group == OVERALL and (need.different is None or need.different >= _NO_FEWER * need.labels):
        return [(OVERALL, able)]
    if need.group == OVERALL:
        return [(DIFFERENT, able & (shadow != "") & (answers != shadow)), (OVERALL, able & (shadow == ""))]
    if need.group.startswith(CLASS):
        label = need.group.removeprefix(CLASS)
        either = (answers == label) | (shadow == label)
        return [(need.group, able & (shadow != "") & either), (OVERALL, able & (shadow == ""))]
    rows = able.copy()
    for part in need.group.split(", "):
        column, _, value = part.partition("=")
        rows &= np.array([said == value for said in seen.columns.get(column, [""] * len(seen.ids))], dtype=bool)
    return [(need.group, rows)]


def _gate(request: LabelRequest) -> Mapping[str, object]:
    return dict((request.facts or {}).get("gate") or {})
