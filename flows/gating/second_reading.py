"""The second reading: an undecided candidate is judged once more, when the labels that it waits for have come."""

from dataclasses import dataclass

from flows.collecting.collect import retrain_snapshot
from flows.gating.untrained import untrained
from flows.judging import judge
from flows.workplace import Workplace
from infra.errors import UserError
from models.artifact import read_artifact
from models.gate_needs import LabelNeed, needs_from_json
from models.gate_records import UNDECIDED, GateDecision
from models.judged_again import note_judged_again
from models.registry import ModelVersion
from monitoring.labelling.rows import requests
from monitoring.labelling.waiting import came, waiting_version


@dataclass(frozen=True)
class Awaited:
    """A need, and how many of its labels have come."""

    need: LabelNeed
    come: int

    @property
    def enough(self) -> bool:
        return self.come >= self.need.labels

    def in_words(self) -> str:
        what = "any image" if self.need.group == "overall" else self.need.group.replace("=", " ")
        return f"{self.come} of {self.need.labels} labels of {what}, {self.need.scope}"


@dataclass(frozen=True)
class ReadAgain:
    """What the second reading said, and the version's state since."""

    version: ModelVersion
    decision: GateDecision


def awaited(place: Workplace, version: ModelVersion) -> tuple[Awaited, ...]:
    """What an undecided version waits for, and what has come of it."""
    asked = requests(place.engine, place.settings.project.name)
    return tuple(Awaited(need, came(asked, version.version, need)) for need in needs_from_json(version.gate))


def read_again(place: Workplace, number: int, *, anyway: bool, actor: str) -> ReadAgain:
    """
    Judge a registered version once more, with the labels that have come since, against the champion it was made from.

    Raises:
        UserError: it is not undecided, the champion is another by now, it has no reading left, or labels are missing
            and it was not said that it is to be judged anyway.
    """
    version = place.registry.version(number)
    champion = place.registry.champion()
    if (version.gate or {}).get("outcome") != UNDECIDED:
        said = (version.gate or {}).get("outcome", "never judged")
        raise UserError(f"{version.title} waits for nothing: the gate says {said}. `kedge gate {number}` shows why.")
    if champion is None or version.parent_version != champion.version:
        now_is = "there is none" if champion is None else f"that is {champion.title} now"
        raise UserError(
            f"{version.title} was compared with version {version.parent_version} as champion, and {now_is}. "
            "`kedge retrain` makes a candidate that is compared with it."
        )
    waits = waiting_version(place.registry, champion.version)
    if waits is None or waits.version != number:
        raise UserError(
            f"{version.title} has no reading of the judge images left, or a newer candidate took its place. "
            "Each reading more would raise the chance that a worse model slips through; `kedge retrain` makes another."
        )
    missing = [one for one in awaited(place, version) if not one.enough]
    if missing and not anyway:
        raise UserError(
            f"{version.title} was not judged again: {'; '.join(one.in_words() for one in missing)} have come. "
            "`kedge labels next` lists what is asked; --anyway uses its last reading now."
        )
    folder = place.registry.fetch(number, place.fetched)
    snapshot = untrained(place, retrain_snapshot(place, champion, read_artifact(folder).classes), version)
    judgement = judge(place, folder, snapshot, champion, version.reason)
    note_judged_again(
        place.engine, version.name, number, judgement.decision, judgement.scorecard.to_json(), actor=actor
    )
    return ReadAgain(place.registry.version(number), judgement.decision)
