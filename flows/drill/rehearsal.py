"""
`kedge drill`: rehearse a bad promotion, and prove the way back.

The champion and a copy of it that takes every class for the next are served on a spare port from a database and a
folder of their own: what is rehearsed is this project's model, this release's service, guards and rollback, on this
machine, and no caller of the real service is answered by anything else for a moment. The champion's own answers stand
for the truth, so that no labels are needed.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from flows.drill.pictures import pictures
from flows.drill.scene import SOUND, SPOILED, Answer, Scene, scene
from flows.rollout.act import advance_rollouts
from flows.rollout.begin import begin_rollout
from flows.workplace import Workplace
from infra.errors import UserError
from infra.workers import live_workers
from models import rollout_runs, rollouts
from models.champions import DISAPPOINTED
from models.registry import title_of
from models.rollout_runs import CANARY, PROMOTING, ROLLED_BACK, STOPPED, RolloutRun

_IMAGES = 60
_A_TIME = 10
_MOST_ANSWERS = 600
_STREAM = "drills"


@dataclass(frozen=True)
class Act:
    """
    One of the two disasters.

    Attributes:
        name: "canary" or "promotion".
        out_s: Seconds until every worker had the bad version.
        bad_answers: Answers that it gave before every worker was back.
        noticed_s: Seconds from its first answer to the decision to end it.
        back_s: Seconds from the decision until no worker answered with it any more.
        words: The guard's.
    """

    name: str
    out_s: float
    bad_answers: int
    noticed_s: float
    back_s: float
    words: str


@dataclass(frozen=True)
class Drill:
    """What was rehearsed; every worker answers with the sound version at the end of each act."""

    model: str
    workers: int
    acts: tuple[Act, ...]
    seconds: float


def drill(place: Workplace, say: Callable[[str], None]) -> Drill:
    """
    Rehearse both disasters; the outcome, also a bad one, goes into the ledger.

    Raises:
        UserError: there is no champion, or the way back did not work as promised.
    """
    champion = place.registry.champion()
    if champion is None:
        raise UserError("There is no champion to rehearse with. `kedge train` makes the first model.")
    began = time.monotonic()
    try:
        say(f"Serving a copy of {champion.title} and a spoiled one, on a spare port …")
        images = pictures(place, _IMAGES)
        with scene(place, champion) as stage:
            workers = len(live_workers(stage.place.engine, stage.place.settings.project.name))
            acts = tuple(_rehearsed(stage, images, name, say) for name in (CANARY, "promotion"))
    except UserError as error:
        place.ledger.append(_STREAM, "drill failed", {"model": champion.title, "error": str(error)})
        raise UserError(f"The drill failed: {error}") from error
    done = Drill(champion.title, workers, acts, time.monotonic() - began)
    place.ledger.append(_STREAM, "drill passed", asdict(done))
    return done


def _rehearsed(stage: Scene, images: Sequence[bytes], name: str, say: Callable[[str], None]) -> Act:
    say(f"The spoiled version goes {'to half of the callers' if name == CANARY else 'to everybody'} …")
    truths = _truths(stage, images)
    began = time.monotonic()
    first = CANARY if name == CANARY else PROMOTING
    run = begin_rollout(stage.place, SPOILED, reason=f"drill: {name}", actor="kedge drill", stage=first)
    if not run.is_open:
        raise UserError(f"the spoiled version could not be sent out: {run.words}")
    out = time.monotonic()
    bad, run, decided = _until_over(stage, images, truths, run)
    over = time.monotonic()
    _check(stage, images, run, ROLLED_BACK if name != CANARY else STOPPED)
    return Act(name, out - began, bad, decided - out, over - decided, run.words)


def _truths(stage: Scene, images: Sequence[bytes]) -> list[str]:
    """What the sound version answers, with labels that say so; they are in the tables when this returns."""
    answers = stage.ask(images)
    if any(one.version != SOUND for one in answers):
        raise UserError("the sound version does not answer before the disaster")
    truths = [one.label for one in answers]
    stage.label(answers, truths)
    _await_labels(stage, answers)
    return truths


def _until_over(
    stage: Scene, images: Sequence[bytes], truths: Sequence[str], run: RolloutRun
) -> tuple[int, RolloutRun, float]:
    """Answers of the bad version, the run at its end, and the monotonic second in which the end was decided."""
    bad = asked = 0
    for places in _handfuls(len(images)):
        answers = stage.ask([images[place] for place in places])
        stage.label(answers, [truths[place] for place in places])
        bad += sum(one.version == SPOILED for one in answers)
        asked += len(answers)
        _await_labels(stage, answers)
        looked = time.monotonic()
        advance_rollouts(stage.place)
        run = rollout_runs.run_of(stage.place.engine, run.name, run.sequence)
        if not run.is_open:
            return bad, run, looked
        if asked >= _MOST_ANSWERS:
            break
    raise UserError(f"after {bad} bad answers no guard had tripped: {run.words}")


def _handfuls(images: int) -> Iterator[list[int]]:
    places = itertools.cycle(range(images))
    while True:
        yield list(itertools.islice(places, _A_TIME))


def _await_labels(stage: Scene, answers: Sequence[Answer]) -> None:
    ids = [one.id for one in answers]
    log = stage.place.log
    stage.wait(
        lambda: len(log.last_labels(ids)) == len(ids) and len(log.predictions_by_id(ids)) == len(ids),
        "the answers in the tables",
    )


def _check(stage: Scene, images: Sequence[bytes], run: RolloutRun, expected: str) -> None:
    """
    Raises:
        UserError: the way back is not what is promised.
    """
    place, name = stage.place, run.name
    left = [worker.pid for worker in live_workers(place.engine, name)
            if worker.version != SOUND or worker.canary_version is not None]  # fmt: skip
    answers = stage.ask(images[:_A_TIME])
    problems = [
        words
        for wrong, words in (
            (run.stage != expected, f"the rollout ended as {run.stage}, not as {expected}: {run.words}"),
            (bool(left), f"worker(s) {', '.join(map(str, left))} still hold the spoiled version"),
            (any(one.version != SOUND for one in answers), "the spoiled version still answers"),
            (place.registry.champions.current() != SOUND, f"{title_of(name, SOUND)} is not champion again"),
            (bool(rollouts.running(place.engine, name)), "something is still on trial"),
            (
                expected == ROLLED_BACK and place.registry.version(SPOILED).state != DISAPPOINTED,
                "the spoiled version is not marked as disappointing",
            ),
        )
        if wrong
    ]
    if problems:
        raise UserError("; ".join(problems))
