"""Judging: the one place that reads judge images, and writes a ledger row for each reading."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flows.collecting.images import read_image
from flows.collecting.snapshot import Snapshot
from flows.gating.anchor import best_earlier
from flows.gating.answering import answers_of, answers_of_version, comparable_classes, judged_on
from flows.gating.judge_set import JudgeImages, JudgeSet, judge_set
from flows.gating.readings import AGAIN, READING, STREAM, seen
from flows.workplace import Workplace
from infra.clock import now
from models.evaluation import Judged, evaluate, joined
from models.examples import Example
from models.gate import decide
from models.gate_records import Answers, ArtifactFacts, GateDecision, GateInput, GateRules
from models.mistakes import Mistake, worst_mistakes
from models.registry import ModelVersion
from models.runtime import Runtime
from models.scorecard import Scorecard, score

_TIMED_RUNS = 20
_LEAST_DAYS = 30


@dataclass(frozen=True)
class Judgement:
    """
    One reading of the judge images.

    Attributes:
        scorecard: The candidate's scores on all of them, old and recent.
        old, recent: The candidate's answers to images that count everywhere; recent, and those of new classes, is None
            where no judge image came since the champion's training.
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
    classes = runtime.artifact.classes
    known = None if champion is None else comparable_classes(place, champion, classes)
    images = judge_set(place, snapshot, _number(place, runtime))
    answered = _answered(place, runtime, images, classes if known is None else known)
    earlier = _note_reading(place, runtime, images, answered, champion, reason)
    facts = _facts(runtime, candidate)
    given = GateInput(
        reason=reason,
        artifact=facts,
        candidate_old=answers_of(answered.old, answered.old_images),
        subgroups=place.settings.data.subgroups,
        candidate_readings=earlier,
        judge_readings=images.before.since_replaced,
        retrains_per_year=_retrains_per_year(place),
    )
    if champion is not None and known is None:
        given = replace(given, incomparable=_incomparable(champion))
    elif champion is not None:
        given = _beside(place, given, answered, champion, runtime.artifact.onnx_sha256)
    decision = decide(given, rules_of(place))
    scorecard = score(
        _everywhere(answered),
        place.settings.data.subgroups,
        temperature=runtime.artifact.temperature,
        latency_ms=facts.latency_ms,
        size_mb=facts.size_mb,
    )
    mistakes = _mistakes(place, answered.all, answered.examples)
    return Judgement(decision, scorecard, _plain(given.candidate_old), answered.later_answers, mistakes)


def _number(place: Workplace, runtime: Runtime) -> int | None:
    """Of the candidate, where it was registered before: at its second reading."""
    same = [one.version for one in place.registry.versions() if one.onnx_sha256 == runtime.artifact.onnx_sha256]
    return max(same, default=None)


@dataclass(frozen=True)
class _Answered:
    """
    The candidate's answers.

    Attributes:
        new: To images, old and recent, of classes that the champion lacks; None where there are none.
    """

    old: Judged
    old_images: JudgeImages
    recent: Judged | None
    recent_images: JudgeImages
    new: Judged | None
    new_images: JudgeImages

    @property
    def all(self) -> Judged:
        return joined(joined(self.old, self.recent), self.new)

    @property
    def images(self) -> JudgeImages:
        return self.old_images.with_those(self.recent_images).with_those(self.new_images)

    @property
    def examples(self) -> tuple[Example, ...]:
        return self.images.examples

    @property
    def later_answers(self) -> Answers | None:
        """To all that is not old; None where nothing is."""
        later = self.new if self.recent is None else joined(self.recent, self.new)
        return None if later is None else _plain(answers_of(later, self.recent_images.with_those(self.new_images)))


def _answered(place: Workplace, runtime: Runtime, images: JudgeSet, known: Sequence[str]) -> _Answered:
    old_images, recent_images = images.old.of_classes(known), images.recent.of_classes(known)
    lacking = [name for name in runtime.artifact.classes if name not in known]
    new_images = images.old.of_classes(lacking).with_those(images.recent.of_classes(lacking))
    return _Answered(
        old=evaluate(runtime, old_images.examples, lambda one: read_image(place, one)),
        old_images=old_images,
        recent=judged_on(place, runtime, recent_images),
        recent_images=recent_images,
        new=judged_on(place, runtime, new_images),
        new_images=new_images,
    )


def _beside(
    place: Workplace, given: GateInput, answered: _Answered, champion: ModelVersion, candidate_sha256: str
) -> GateInput:
    """With the answers of the champion and the anchor to the same images; new classes have the floors alone."""
    classes = answered.old.classes
    anchor = best_earlier(
        place,
        champion,
        candidate_sha256,
        lambda version: answers_of_version(place, version, answered.old_images, classes),
    )
    known = comparable_classes(place, champion, classes) or classes
    new = tuple(name for name in classes if name not in known)
    recent = answered.recent
    return replace(
        given,
        champion_old=answers_of_version(place, champion, answered.old_images, classes),
        anchor_old=None if anchor is None else anchor.answers,
        anchor_title="" if anchor is None else anchor.version.title,
        new_classes=new,
        candidate_floors=answers_of(answered.all, answered.images) if new else None,
        candidate_recent=None if recent is None else answers_of(recent, answered.recent_images),
        champion_recent=answers_of_version(place, champion, answered.recent_images, classes),
    )


def _everywhere(answered: _Answered) -> Judged:
    """Without images that were labelled for one comparison alone: they are no sample of the world."""
    rows = answers_of(answered.all, answered.images).counts_for("")
    return answered.all if rows.all() else answered.all.only(rows)


def _plain(answers: Answers) -> Answers:
    rows = answers.counts_for("")
    return answers if rows.all() else answers.only(rows)


def _incomparable(champion: ModelVersion) -> str:
    return (
        f"{champion.title} knows a class that the candidate lacks, so nothing was compared with it: only the floors "
        "and the technical rules were applied."
    )


def _retrains_per_year(place: Workplace) -> float | None:
    """As candidates were made so far; None while that is too short a time to tell."""
    made = [version.created_at for version in place.registry.versions() if version.parent_version is not None]
    days = (now() - min(made)).total_seconds() / 86_400 if made else 0.0
    return None if days < _LEAST_DAYS else len(made) / days * 365


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


def _note_reading(
    place: Workplace,
    runtime: Runtime,
    images: JudgeSet,
    answered: _Answered,
    champion: ModelVersion | None,
    reason: str,
) -> int:
    """
    Write the reading to the ledger; gives how often the gate has read for this candidate before.

    The same images once more, after a crash, are the same reading: nothing new is learnt by it.
    """
    sha256 = runtime.artifact.onnx_sha256
    facts: dict[str, Any] = {
        "old": _what(answered.old) | {"retired": images.retired},
        "recent": None if answered.recent is None else _what(answered.recent),
        "new_classes": None if answered.new is None else _what(answered.new),
        "reason": reason,
        "champion": None if champion is None else champion.version,
        "onnx_sha256": sha256,
    }
    before = {seen(row.facts) for row in images.before.of_candidate(sha256, facts["champion"])}
    place.ledger.append(STREAM, AGAIN if seen(facts) in before else READING, facts)
    return len(before - {seen(facts)})


def _what(judged: Judged) -> dict[str, int | str]:
    return {"images": len(judged), "fingerprint": judged.fingerprint}


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


def rules_of(place: Workplace) -> GateRules:
    """The gate's rules as the settings have them; a second reading is planned where people are asked for labels."""
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
        planned_readings=2 if place.settings.labels.per_day > 0 else 1,
    )
