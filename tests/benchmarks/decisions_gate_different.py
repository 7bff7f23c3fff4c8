"""The gate's proof of a gain by labels of images that candidate and champion answer differently, in simulation."""

from dataclasses import replace

import numpy as np

from models.gate import decide
from models.gate_records import DIFFERENT, Answers, GateInput
from tests.benchmarks.decisions_gate_pairs import ARTIFACT, RULES, World, at_most, pair, promoted
from tests.benchmarks.monitoring_rows import Row


def different_rows(runs: int) -> list[Row]:
    """Labels of images that the two models answer differently, beside as many of any image."""
    rows = []
    for number, (images, asked, readings) in enumerate(((60, 5, 1), (60, 20, 1), (60, 40, 1), (60, 40, 2))):
        found = promoted_by_different(World(images, 0.0, 0.07), asked, runs, 700 + number, readings=readings)
        what = (
            f"no true gain, {images} recent images and {asked} that the two answer differently, read {readings} times"
        )
        rows.append(at_most(f"{what}: let through", found["let through"], runs))
    for number, (gain, asked) in enumerate(((0.03, 40), (0.05, 40))):
        world = World(60, -gain, 0.07)
        share = promoted_by_different(world, asked, runs, 750 + number)["let through"]
        plain = promoted(World(1_200, 0.0, 0.02), replace(world, images=60 + asked), "harm", runs, 750 + number)
        what = f"a true gain of {100 * gain:.0f} points, discordance 0.07, 60 recent images and {asked} that the two "
        rows.append(
            Row(f"{what}answer differently: let through", "share of runs", round(share, 3),
                {"as many of any image": round(plain["let through"], 3)})
        )  # fmt: skip
    return rows


def promoted_by_different(measured: World, asked: int, runs: int, seed: int, *, readings: int = 1) -> dict[str, float]:
    """
    As `promoted` for harm, where people also labelled so many images that the two models answer differently.

    Of each of these exactly one is right, or neither, as `measured` has it; with two readings the first sees half.
    """
    chance, rules = np.random.default_rng(seed), replace(RULES, planned_readings=readings)
    passed = 0
    for _ in range(runs):
        old, recent = pair(World(1_200, 0.0, 0.02), chance), _with_different(measured, asked, chance)
        seen = [np.arange(recent[0].images) % readings <= number for number in range(readings)]
        for number, rows in enumerate(seen):
            ours, theirs = (one.only(rows) for one in recent)
            given = GateInput("harm", ARTIFACT, *old, ours, theirs, candidate_readings=number)
            said = decide(given, rules)
            if said.outcome == "promote" or said.relief:
                passed += 1
                break
    return {"let through": passed / runs}


def _with_different(world: World, asked: int, chance: np.random.Generator) -> tuple[Answers, Answers]:
    """The pair's answers to images that chance drew, then to some that are known to be answered differently."""
    many = replace(world, images=max(400, 100 * asked))
    ours, theirs = pair(many, chance, "recent")
    differ = np.flatnonzero(ours.answer != theirs.answer)
    rows = np.zeros(many.images, dtype=bool)
    rows[: world.images] = True
    chosen = differ[differ >= world.images][:asked]
    rows[chosen] = True
    words = ["" if row < world.images else DIFFERENT for row in np.flatnonzero(rows).tolist()]
    return tuple(replace(one.only(rows), asked_for=tuple(words)) for one in (ours, theirs))  # type: ignore[return-value]
