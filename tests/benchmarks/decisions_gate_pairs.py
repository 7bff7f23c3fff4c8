"""Two models with a known loss, and the images that they answer; what the gate says of them, many times."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.gate import decide
from models.gate_records import Answers, ArtifactFacts, GateDecision, GateInput, GateRules
from tests.benchmarks.monitoring_rows import Row

ARTIFACT = ArtifactFacts(latency_ms=5.0, size_mb=2.0, licence="none", parity_ok=True)
# Floors and calibration are checked elsewhere; here nothing but the comparisons shall decide.
RULES = GateRules(min_precision=0.0, min_recall=0.0, calibration_margin=1.0)
DISCORDANCE = 0.06
_BOTH_WRONG = 0.05

Kinds = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """
    Two models and the images that they answer.

    Attributes:
        images: In all, of `classes` classes in equal parts.
        loss: True loss of accuracy of the candidate, in the first `losing` classes; elsewhere none.
        discordance: Share of images on which exactly one of the two is right; at least the loss.
        burst: Images that come together.
        copied: Probability with which a frame is answered as the burst's first one is.
    """

    images: int
    loss: float = 0.0
    discordance: float = DISCORDANCE
    classes: int = 1
    losing: int | None = None
    burst: int = 1
    copied: float = 0.0


def pair(world: World, chance: np.random.Generator, name: str = "old") -> tuple[Answers, Answers]:
    """The candidate's answers and the champion's."""
    bursts = -(-world.images // world.burst)
    # A burst shows one thing.
    truth = np.repeat(np.arange(bursts) % world.classes, world.burst)[: world.images]
    member = np.repeat(np.arange(bursts), world.burst)[: world.images]
    losing = truth < (world.classes if world.losing is None else world.losing)
    loss = np.where(losing, world.loss, 0.0)
    first = np.r_[True, np.diff(member) != 0]
    shared = _drawn(world, loss[first], chance)[member]
    kinds = np.where(chance.random(world.images) < world.copied, shared, _drawn(world, loss, chance))
    groups = tuple(f"burst {number}" for number in member.tolist())
    return tuple(_answers(truth, (kinds == 0) | (kinds == right), world, groups, name) for right in (2, 1))  # type: ignore[return-value]


def promoted(
    old: World, recent: World | None, reason: str, runs: int, seed: int, rules: GateRules = RULES
) -> dict[str, float]:
    """Share of runs by outcome; "let through" are those promoted or relieved."""
    chance = np.random.default_rng(seed)
    said = [_decision(old, recent, reason, chance, rules) for _ in range(runs)]
    found = {word: sum(one.outcome == word for one in said) / runs for word in ("promote", "reject", "undecided")}
    return {**found, "let through": sum(one.outcome == "promote" or one.relief for one in said) / runs}


def at_most(what: str, share: float, runs: int) -> Row:
    """A row whose share has to stay within five of a hundred."""
    # Two standard errors above: a run of luck is no breach.
    met = share <= 0.05 + 2 * (0.05 * 0.95 / runs) ** 0.5
    return Row(what, "share of runs", round(share, 3), {}, "≤ 0.05", met, "" if met else "more passed than may")


def at_least(what: str, share: float, least: float, runs: int) -> Row:
    """A row whose share has to reach something."""
    met = share >= least - 2 * (least * (1 - least) / runs) ** 0.5
    why = "" if met else "the printed number is a large-sample formula"
    return Row(what, "share of runs", round(share, 3), {}, f"≥ {least:g}", met, why)


def _decision(
    old: World, recent: World | None, reason: str, chance: np.random.Generator, rules: GateRules
) -> GateDecision:
    candidate, champion = pair(old, chance)
    given = GateInput(reason, ARTIFACT, candidate, champion)
    if recent is not None:
        newer = pair(recent, chance, "recent")
        given = replace(given, candidate_recent=newer[0], champion_recent=newer[1])
    return decide(given, rules)


def _drawn(world: World, loss: NDArray[np.float64], chance: np.random.Generator) -> Kinds:
    """Of each image: 0 = both right, 1 = lost, 2 = won, 3 = both wrong."""
    lost, won = (world.discordance + loss) / 2, (world.discordance - loss) / 2
    value = chance.random(len(loss))
    kinds = np.full(len(loss), 0)
    kinds[value < lost + won + _BOTH_WRONG] = 3
    kinds[value < lost + won] = 2
    kinds[value < lost] = 1
    return kinds


def _answers(
    truth: NDArray[np.int64], right: NDArray[np.bool_], world: World, groups: tuple[str, ...], name: str
) -> Answers:
    classes = max(2, world.classes)
    return Answers(
        fingerprint=name,
        classes=tuple(f"class {number}" for number in range(classes)),
        truth=truth,
        answer=np.where(right, truth, (truth + 1) % classes),
        confidence=np.full(len(truth), 0.9),
        groups=groups,
        metadata=({},) * len(truth),
    )
