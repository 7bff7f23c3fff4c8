"""
The gain forecast of a retrain: a small trial on *select* images before the whole training.

Judge images are counted here and never read.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.collecting.by_chance import drawn_by_chance
from flows.collecting.images import read_image
from flows.collecting.snapshot import Snapshot
from flows.forecasting.micro_run import micro_folder, micro_run
from flows.judging import rules_of
from flows.orders import CANDIDATE, Order
from flows.telling import Teller
from flows.workplace import Workplace
from infra.files import write_atomically
from infra.jobs import Job, jobs
from models.evaluation import evaluate
from models.examples import Example
from models.gain_forecast import GainForecast, Proof, ceiling, forecast
from models.gate_records import REASONS, gain_is_required
from models.noninferiority import LEVEL, paired_counts
from models.registry import ModelVersion
from models.runtime import Runtime

_FILE = "forecast.json"
# A micro-run has its own start of torch and its own export. Below so many seconds in all there is little to spare,
# and where training itself is not so many times what is done around it, on however slow a machine.
TINY_S = 180.0
_LEAST_RATIO = 3.0
_TINY_IMAGES = 200  # where no training was measured yet
_LEAST_IMAGES = 10
_BY_PERSONS = frozenset({"manual", "first", "classes"})


def forecast_gain(
    place: Workplace, order: Order, snapshot: Snapshot, champion: ModelVersion, teller: Teller
) -> GainForecast | None:
    """
    What the whole training could bring, and whether the gate could see it; None where nothing was forecast.

    Done once in a run directory, and not any more once training has begun.

    Raises:
        UserError: the micro-run failed; the whole training would have, too.
    """
    kept = _kept(order.run_dir)
    if kept is not None or (order.run_dir / "progress.jsonl").exists():
        return kept
    images = drawn_by_chance(place, snapshot.select_recent)
    proof = _proof(place, order.reason, snapshot)
    why_not = _why_not(place, order, snapshot, proof, images)
    if why_not:
        teller.say(f"No forecast: {why_not}.")
        return None
    began = time.monotonic()
    found = _forecast(place, order.run_dir, snapshot, champion, images, proof, teller)
    seconds = round(time.monotonic() - began, 1)
    teller.say(f"{found.words} The forecast took {seconds:.0f} s.")
    facts = {**asdict(found), "job": order.job_id, "champion": champion.version, "seconds": seconds}
    place.ledger.append("decisions", "forecast", {**facts, "proof": asdict(proof), "reason": order.reason})
    write_atomically(order.run_dir / _FILE, json.dumps(asdict(found)))
    return found


def _why_not(place: Workplace, order: Order, snapshot: Snapshot, proof: Proof, images: Sequence[Example]) -> str:
    """Why nothing is forecast; "" where it is."""
    named = {word.strip() for word in order.reason.split(",")}
    by_itself = named <= REASONS and not named & _BY_PERSONS
    if order.forecast is False or (order.forecast is None and not place.settings.trigger.forecast):
        return "trigger.forecast is off"
    if order.forecast is None and not by_itself:
        return "a person asked for the training (`kedge retrain --forecast` asks for both)"
    if not snapshot.judge_recent and proof.margin > 0:
        return "no recent image judges, so that nothing has to be shown on any"
    if order.forecast is None and (words := _tiny(place, snapshot)):
        return words
    if proof.images and len(images) < _LEAST_IMAGES:
        return f"{len(images)} fresh images drawn by chance select; {_LEAST_IMAGES} are the least to rest it on"
    return ""


def _tiny(place: Workplace, snapshot: Snapshot) -> str:
    """Why the whole training is not worth a trial; "" where it is, or where nobody knows how long it takes."""
    last = next((job for job in jobs(place.engine) if _was_trained(job)), None)
    if last is None:
        few = len(snapshot.train) < _TINY_IMAGES
        return f"{len(snapshot.train)} images train, and a micro-run would spare little" if few else ""
    took = float((last.outcome or {})["seconds"])
    if took < TINY_S:
        return f"the last training took {took:.0f} s in all, and a micro-run would spare little of that"
    trained = _training_seconds(last)
    if trained is not None and trained < _LEAST_RATIO * (took - trained):
        around = f"training was {trained:.0f} s of the {took:.0f} s that the last one took"
        return f"{around}; a micro-run needs the rest of it, too, and would spare little"
    return ""


def _was_trained(job: Job) -> bool:
    outcome = job.outcome or {}
    return "seconds" in outcome and outcome.get("made", CANDIDATE) == CANDIDATE


def _training_seconds(job: Job) -> float | None:
    """Of a job's training alone, as it told; None where its run directory is not here."""
    try:
        document = json.loads((Path(job.run_dir or "") / "candidate" / "training.json").read_text())
        return float(document["seconds"])
    except (OSError, ValueError, KeyError):
        return None


def _proof(place: Workplace, reason: str, snapshot: Snapshot) -> Proof:
    rules = rules_of(place)
    required = gain_is_required(reason)
    # Only images drawn by chance may prove a gain; that nothing is lost, all may show.
    images = drawn_by_chance(place, snapshot.judge_recent) if required else snapshot.judge_recent
    margin = 0.0 if required else rules.overall_margin
    return Proof(len(images), margin, LEVEL / max(1, rules.planned_readings))


def _forecast(
    place: Workplace,
    run_dir: Path,
    snapshot: Snapshot,
    champion: ModelVersion,
    images: Sequence[Example],
    proof: Proof,
    teller: Teller,
) -> GainForecast:
    """The ceiling first, which costs a second: where even perfection could not be seen, nothing is tried."""
    own = Runtime.open(place.registry.fetch(champion.version, place.fetched))
    right, groups = _right(place, own, images) if images else (np.empty(0, dtype=np.bool_), ())
    highest = ceiling(*paired_counts(right, np.ones(len(right), dtype=np.bool_), groups), proof)
    if not highest.worthwhile:
        return highest
    teller.say("Trying a tenth of the training, to see what the whole could bring …")
    try:
        trial, _ = _right(place, micro_run(place, run_dir, snapshot, images), images)
    finally:
        # It holds decoded images, which nobody who has to forget one would look for here.
        shutil.rmtree(micro_folder(run_dir), ignore_errors=True)
    return forecast(*paired_counts(right, trial, groups), proof, highest.hopeful)


def _right(place: Workplace, runtime: Runtime, images: Sequence[Example]) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which images it has right, and the group of each."""
    answers = evaluate(runtime, images, partial(read_image, place))
    return answers.predictions == answers.labels, answers.groups


def _kept(run_dir: Path) -> GainForecast | None:
    path = run_dir / _FILE
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text())
    return GainForecast(**document)
