"""Two versions side by side on the judge images: a reading like any other, and it is counted."""

from dataclasses import dataclass

from flows.collecting.collect import retrain_snapshot
from flows.gating.answering import answers_of_version
from flows.gating.judge_set import judge_set
from flows.gating.readings import COMPARISON, STREAM
from flows.judging import rules_of
from flows.workplace import Workplace
from infra.errors import UserError
from models.artifact import read_artifact
from models.gate_groups import compare, comparisons
from models.gate_records import OLD, RECENT, Answers, CheckRow, GateRules
from models.noninferiority import LEVEL
from models.registry import ModelVersion


@dataclass(frozen=True)
class Side:
    """One version's share right; None where there were no such images."""

    version: int
    title: str
    accuracy_old: float | None
    accuracy_recent: float | None


@dataclass(frozen=True)
class Compared:
    """
    Two versions on the same judge images.

    Attributes:
        checks: As the gate's, of the first version against the second; none of them decides anything.
        readings: Of the old judge images since the oldest were last replaced, this one counted.
    """

    first: Side
    second: Side
    images_old: int
    images_recent: int
    checks: tuple[CheckRow, ...]
    readings: int


def compare_versions(place: Workplace, first: int, second: int, *, actor: str) -> Compared:
    """
    Let two versions answer the judge images of the classes that both know.

    Raises:
        UserError: there is no such version, no champion, or no judge image that both can answer; or the two are one,
            and judge images would wear for nothing.
    """
    versions = place.registry.version(first), place.registry.version(second)
    if first == second:
        raise UserError(
            f"{versions[0].title} was not compared with itself: expected two versions. `kedge models` lists them."
        )
    champion = place.registry.champion()
    if champion is None:
        raise UserError("There is no champion, so nothing says which judge images are old. Train one: `kedge train`.")
    classes = [_classes(place, version) for version in versions]
    shared = tuple(name for name in classes[0] if name in classes[1])
    everything = tuple(dict.fromkeys([*classes[0], *classes[1]]))
    images = judge_set(place, retrain_snapshot(place, champion, everything))
    old, recent = images.old.of_classes(shared), images.recent.of_classes(shared)
    if not old.examples and not recent.examples:
        raise UserError(f"{versions[0].title} and {versions[1].title} share no class that judge images bear.")
    facts = {"versions": [first, second], "old": len(old.examples), "recent": len(recent.examples)}
    place.ledger.append(STREAM, COMPARISON, facts, actor)
    rules = rules_of(place)
    checks: list[CheckRow] = []
    answers: list[list[Answers | None]] = []
    for scope, part in ((OLD, old), (RECENT, recent)):
        ours, theirs = (answers_of_version(place, version, part, everything) for version in versions)
        answers.append([ours, theirs])
        if ours is not None and theirs is not None:
            checks += _checks(ours, theirs, scope, place.settings.data.subgroups, rules)
    sides = [_side(version, answers[0][place_of], answers[1][place_of]) for place_of, version in enumerate(versions)]
    readings = images.before.since_replaced + 1
    return Compared(sides[0], sides[1], len(old.examples), len(recent.examples), tuple(checks), readings)


def _checks(
    ours: Answers, theirs: Answers, scope: str, subgroups: tuple[str, ...], rules: GateRules
) -> tuple[CheckRow, ...]:
    found = [one for one in comparisons(ours, theirs, scope, subgroups, rules) if one.name != "false positives"]
    return tuple(compare(found, rules, LEVEL))


def _side(version: ModelVersion, old: Answers | None, recent: Answers | None) -> Side:
    shares = [None if one is None else float(one.right.mean()) for one in (old, recent)]
    return Side(version.version, version.title, *shares)


def _classes(place: Workplace, version: ModelVersion) -> tuple[str, ...]:
    return tuple(read_artifact(place.registry.fetch(version.version, place.fetched)).classes)
