"""The second reading: an undecided candidate is judged once more, when the labels that it waits for have come."""

from dataclasses import dataclass

from flows.collecting.collect import retrain_snapshot
from flows.gating.awaited import awaited
from flows.gating.untrained import untrained
from flows.judging import judge, rules_of
from flows.orders import READ_AGAIN, Outcome
from flows.rollout.act import advance_run
from flows.workplace import Workplace
from infra.clock import now
from infra.errors import UserError
from infra.jobs import Job
from models import rollout_runs
from models.artifact import read_artifact
from models.gate_records import UNDECIDED, GateDecision
from models.judged_again import note_judged_again
from models.registry import WAITING, ModelVersion
from monitoring.labelling.awaited import are_enough
from monitoring.labelling.waiting import has_reading_left, most_labels

_ACTOR = "kedge rollout"


@dataclass(frozen=True)
class ReadAgain:
    """What the second reading said, and the version's state since."""

    version: ModelVersion
    decision: GateDecision


def read_for_job(place: Workplace, job: Job) -> Outcome:
    """
    Do a job of kind "judge", which the rollout of a waiting version asked for; its rollout goes on by what is said.

    Called again for a job that was broken off it reads nothing twice: what was decided stands in the version's row.

    Raises:
        UserError: another version became champion meanwhile, or the images cannot be read.
    """
    number = int((job.evidence or {})["version"])
    version = place.registry.version(number)
    if version.state == WAITING:
        version = _read(place, version, _champion_of(place, version), _ACTOR).version
    go_on(place, number)
    version = place.registry.version(number)
    decision = GateDecision.from_json(version.gate or {})
    return Outcome(
        version=version,
        decision=decision,
        promoted=place.registry.champions.current() == number,
        train_images=0,
        fresh_images=0,
        seconds=(now() - job.created_at).total_seconds(),
        report_page=None,
        state=READ_AGAIN,
        words=f"{version.title} was judged once more, with the labels that have come: {decision.outcome}.",
        champion_version=version.parent_version,
    )


def _settled(version: ModelVersion) -> str:
    """Why a version that is not undecided has nothing to be read again."""
    if version.gate is None:
        return (
            "it was registered without the gate, which has left nothing undecided. "
            f"`kedge models compare {version.version} N` holds it against another version."
        )
    return (
        f"the gate has decided, {version.gate.get('outcome')}; expected an undecided version. "
        f"`kedge gate {version.version}` shows why."
    )


def read_again(place: Workplace, number: int, *, anyway: bool, actor: str) -> ReadAgain:
    """
    Judge a registered version once more, with the labels that have come since, against the champion it was made from.

    Raises:
        UserError: it is not undecided, the champion is another by now, it is on its way to the callers, it has no
            reading left, or labels are missing and it was not said that it is to be judged anyway.
    """
    version = place.registry.version(number)
    if (version.gate or {}).get("outcome") != UNDECIDED:
        raise UserError(f"{version.title} was not judged again: {_settled(version)}")
    champion = _champion_of(place, version)
    _check_not_sent_out(place, version)
    newer = any(one.version > number and one.gate is not None for one in place.registry.versions())
    planned = rules_of(place).planned_readings
    if not has_reading_left(place.registry, version, planned) or (newer and version.state != WAITING):
        raise UserError(
            f"{version.title} has no reading of the judge images left, or a newer candidate took its place. "
            "Each reading more would raise the chance that a worse model slips through; `kedge retrain` makes another."
        )
    waits = awaited(place, version)
    if not anyway and not are_enough(waits, most_labels(place.settings)):
        missing = [one for one in waits if not one.enough]
        raise UserError(
            f"{version.title} was not judged again: {'; '.join(one.in_words() for one in missing)} have come. "
            "`kedge labels next` lists what is asked; --anyway uses its last reading now."
        )
    return _read(place, version, champion, actor)


def go_on(place: Workplace, number: int) -> None:
    """Let the rollout of a version that was judged once more take its next step, and not wait for the next look."""
    for run in rollout_runs.open_runs(place.engine, place.registry.name):
        if run.version == number:
            advance_run(place, run)


def _champion_of(place: Workplace, version: ModelVersion) -> ModelVersion:
    """The champion, if it is still the one that the version was compared with."""
    champion = place.registry.champion()
    if champion is None or version.parent_version != champion.version:
        now_is = "there is none" if champion is None else f"that is {champion.title} now"
        raise UserError(
            f"{version.title} was compared with version {version.parent_version} as champion, and {now_is}. "
            "`kedge retrain` makes a candidate that is compared with it."
        )
    return champion


def _check_not_sent_out(place: Workplace, version: ModelVersion) -> None:
    """What answers callers is judged by its trial: a refusal would reach nobody there."""
    for run in rollout_runs.open_runs(place.engine, place.registry.name):
        if run.version == version.version and run.stage != rollout_runs.WAITING:
            raise UserError(
                f"{version.title} was not judged again: it waits for no labels and is on its way to the callers "
                f"({run.stage}). `kedge rollout` shows how far it is."
            )


def _read(place: Workplace, version: ModelVersion, champion: ModelVersion, actor: str) -> ReadAgain:
    folder = place.registry.fetch(version.version, place.fetched)
    snapshot = untrained(place, retrain_snapshot(place, champion, read_artifact(folder).classes), version)
    judgement = judge(place, folder, snapshot, champion, version.reason)
    note_judged_again(
        place.engine, version.name, version.version, judgement.decision, judgement.scorecard.to_json(), actor=actor
    )
    return ReadAgain(place.registry.version(version.version), judgement.decision)
