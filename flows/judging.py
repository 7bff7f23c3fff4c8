"""Judging: the one place that reads judge images, and writes a ledger row for each reading."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.collect import Snapshot, read_image
from flows.workplace import Workplace
from models.evaluation import Judged, evaluate, joined
from models.examples import Example
from models.gate import decide
from models.gate_records import Answers, ArtifactFacts, GateDecision, GateInput, GateRules
from models.mistakes import Mistake, worst_mistakes
from models.registry import ModelVersion
from models.runtime import Runtime
from models.scorecard import Scorecard, score

_READINGS = "judge-readings"
_TIMED_RUNS = 20


@dataclass(frozen=True)
class Judgement:
    """
    One reading of the judge images.

    Attributes:
        scorecard: The candidate's scores on all of them, old and recent.
        old, recent: The candidate's answers; recent is None where no judge image came since the champion's training.
        mistakes: The candidate's worst, with their pictures; no other judge image is kept.
    """

    decision: GateDecision
    scorecard: Scorecard
    old: Answers
    recent: Answers | None
    mistakes: tuple[Mistake, ...] = ()


def judge(
    place: Workplace, candidate: Path, snapshot: Snapshot, champion: ModelVersion | None, reason: str
) -> Judgement:
    """Let candidate and champion answer the same judge images through the ONNX that serves, and ask the gate."""
    runtime = Runtime.open(candidate)
    old = evaluate(runtime, snapshot.judge_old, lambda one: read_image(place, one))
    recent = None
    if snapshot.judge_recent:
        recent = evaluate(runtime, snapshot.judge_recent, lambda one: read_image(place, one))
    anchor = _anchor(place, champion)
    readings = len(place.ledger.rows(_READINGS))
    _note_reading(place, old, recent, champion, reason)
    champion_recent = _answers_of(place, champion, snapshot.judge_recent, old.classes)
    given = GateInput(
        reason=reason,
        artifact=_facts(runtime, candidate),
        candidate_old=_answers(old),
        champion_old=_answers_of(place, champion, snapshot.judge_old, old.classes),
        candidate_recent=_answers(recent) if recent is not None and champion_recent is not None else None,
        champion_recent=champion_recent,
        anchor_old=_answers_of(place, anchor, snapshot.judge_old, old.classes),
        anchor_title="" if anchor is None else anchor.title,
        subgroups=place.settings.data.subgroups,
        judge_readings=readings,
    )
    judged = joined(old, recent)
    scorecard = score(
        judged,
        place.settings.data.subgroups,
        temperature=runtime.artifact.temperature,
        latency_ms=given.artifact.latency_ms,
        size_mb=given.artifact.size_mb,
    )
    decision = decide(given, _rules(place))
    mistakes = _mistakes(place, judged, (*snapshot.judge_old, *snapshot.judge_recent))
    return Judgement(decision, scorecard, given.candidate_old, None if recent is None else _answers(recent), mistakes)


def _mistakes(place: Workplace, judged: Judged, examples: Sequence[Example]) -> tuple[Mistake, ...]:
    """From the answers just given: only the pictures of a handful are fetched again, and nothing is answered twice."""
    return worst_mistakes(
        judged.probabilities,
        judged.labels,
        judged.classes,
        [image_name(place, example) for example in examples],
        lambda number: read_image(place, examples[number]),
    )


def image_name(place: Workplace, example: Example) -> str:
    """What a person finds the image by: its path as the manifest has it, or its key."""
    if not isinstance(example.image, Path):
        return example.image
    manifest = place.settings.data.manifest
    folder = manifest if manifest.is_dir() else manifest.parent
    return str(example.image.relative_to(folder) if example.image.is_relative_to(folder) else example.image)


def _answers_of(
    place: Workplace, version: ModelVersion | None, examples: Sequence[Example], classes: tuple[str, ...]
) -> Answers | None:
    """A version's answers; None where there is none, or where its classes are others: those cannot be compared."""
    if version is None or not examples:
        return None
    runtime = Runtime.open(place.registry.fetch(version.version, place.fetched))
    if tuple(runtime.artifact.classes) != classes:
        return None
    return _answers(evaluate(runtime, examples, lambda one: read_image(place, one)))


def _anchor(place: Workplace, champion: ModelVersion | None) -> ModelVersion | None:
    """The best champion before this one, by accuracy when it was judged; None while there was none."""
    served = {promotion.version for promotion in place.registry.history()}
    earlier = [
        version
        for version in place.registry.versions()
        if version.version in served and version.scorecard and champion and version.version != champion.version
    ]
    return max(earlier, key=lambda version: float((version.scorecard or {})["accuracy"]), default=None)


def _note_reading(
    place: Workplace, old: Judged, recent: Judged | None, champion: ModelVersion | None, reason: str
) -> None:
    facts = {
        "old": {"images": len(old), "fingerprint": old.fingerprint},
        "recent": None if recent is None else {"images": len(recent), "fingerprint": recent.fingerprint},
        "reason": reason,
        "champion": None if champion is None else champion.version,
    }
    place.ledger.append(_READINGS, "reading", facts)


def _answers(judged: Judged) -> Answers:
    return Answers(
        fingerprint=judged.fingerprint,
        classes=judged.classes,
        truth=judged.labels,
        answer=judged.predictions,
        confidence=judged.probabilities.max(axis=1).astype(np.float64),
        groups=judged.groups,
        metadata=judged.metadata,
    )


def _facts(runtime: Runtime, candidate: Path) -> ArtifactFacts:
    return ArtifactFacts(
        latency_ms=_latency_ms(runtime),
        size_mb=(candidate / "model.onnx").stat().st_size / 1e6,
        licence=runtime.artifact.licence,
        parity_ok=runtime.artifact.parity.holds,
    )


def _latency_ms(runtime: Runtime) -> float:
    """CPU milliseconds for one image on one core, median of some runs."""
    size = runtime.artifact.preprocessing.image_size
    image = np.zeros((1, 3, size, size), dtype=np.float32)
    runtime.run(image)
    spent = []
    for _ in range(_TIMED_RUNS):
        started = time.process_time()
        runtime.run(image)
        spent.append(1000 * (time.process_time() - started))
    return float(np.median(spent))


def _rules(place: Workplace) -> GateRules:
    gate = place.settings.gate
    return GateRules(
        min_precision=gate.min_precision,
        min_recall=gate.min_recall,
        overall_margin=gate.overall_margin,
        class_margin=gate.class_margin,
        required_groups=gate.required_groups,
        licences=gate.licences,
        most_latency_ms=gate.most_latency_ms,
        most_artifact_mb=gate.most_artifact_mb,
    )
