"""Judging: the one place that reads judge images, and writes a ledger row for each reading."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.collect import Snapshot, read_image
from flows.workplace import Workplace
from models.artifact import read_artifact
from models.evaluation import Judged, evaluate
from models.examples import Example
from models.gate import decide
from models.gate_records import Answers, ArtifactFacts, GateDecision, GateInput, GateRules
from models.registry import ModelVersion
from models.runtime import Runtime
from models.scorecard import Scorecard, score

_TIMED_RUNS = 20


@dataclass(frozen=True)
class Judgement:
    """
    One reading of the judge images.

    Attributes:
        scorecard: The candidate's scores on all of them, old and recent.
        old, recent: The candidate's answers; recent is None where no judge image came since the champion's training.
    """

    decision: GateDecision
    scorecard: Scorecard
    old: Answers
    recent: Answers | None


def judge(
    place: Workplace, candidate: Path, snapshot: Snapshot, champion: ModelVersion | None, reason: str
) -> Judgement:
    """Let candidate and champion answer the same judge images through the ONNX that serves, and ask the gate."""
    runtime = Runtime.open(candidate)
    everything = evaluate(runtime, [*snapshot.judge_old, *snapshot.judge_recent], lambda one: read_image(place, one))
    old, recent = _split(everything, len(snapshot.judge_old))
    champion_old = champion_recent = None
    # A new start with other classes cannot be compared with the champion image by image.
    if champion is not None and tuple(runtime.artifact.classes) == _classes_of(place, champion):
        theirs = _champion_answers(place, champion, [*snapshot.judge_old, *snapshot.judge_recent])
        champion_old, champion_recent = _split(theirs, len(snapshot.judge_old))
    readings = _readings(place)
    place.ledger.append(
        "judge-readings",
        "reading",
        {
            "fingerprint": old.fingerprint,
            "images": len(everything),
            "recent": 0 if recent is None else recent.images,
            "reason": reason,
            "champion": None if champion is None else champion.version,
        },
    )
    given = GateInput(
        reason=reason,
        artifact=_facts(runtime, candidate),
        candidate_old=old,
        champion_old=champion_old,
        candidate_recent=recent if champion_recent is not None else None,
        champion_recent=champion_recent,
        subgroups=place.settings.data.subgroups,
        judge_readings=readings,
    )
    decision = decide(given, _rules(place))
    return Judgement(decision, score(everything, place.settings.data.subgroups), old, recent)


def _champion_answers(place: Workplace, champion: ModelVersion, examples: Sequence[Example]) -> Judged:
    folder = place.registry.fetch(champion.version, place.settings.storage.home / "models")
    return evaluate(Runtime.open(folder), examples, lambda one: read_image(place, one))


def _classes_of(place: Workplace, champion: ModelVersion) -> tuple[str, ...]:
    folder = place.registry.fetch(champion.version, place.settings.storage.home / "models")
    return tuple(read_artifact(folder).classes)


def _split(judged: Judged, old: int) -> tuple[Answers, Answers | None]:
    """Old and recent images were answered in one go; the gate looks at them apart."""
    recent = _answers(judged, slice(old, None))
    return _answers(judged, slice(0, old)), recent if recent.images else None


def _answers(judged: Judged, rows: slice) -> Answers:
    return Answers(
        # The set as a whole has one fingerprint; which part of it this is, its size tells.
        fingerprint=judged.fingerprint,
        classes=judged.classes,
        truth=judged.labels[rows],
        answer=judged.predictions[rows],
        confidence=judged.probabilities[rows].max(axis=1).astype(np.float64),
        groups=judged.groups[rows],
        metadata=judged.metadata[rows],
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


def _readings(place: Workplace) -> int:
    return len(place.ledger.rows("judge-readings"))


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
