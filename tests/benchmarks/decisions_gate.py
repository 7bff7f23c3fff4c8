"""
The gate in simulation: how often it lets a loss through, how often it keeps the harmless back, and what bursts change.

Every run draws answers of two models with a known loss and asks `models.gate.decide` itself, nothing beside it.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from models.gate import decide
from models.gate_records import Answers, GateDecision, GateInput, GateRules
from models.noninferiority import PairedCounts, images_needed, no_worse, paired_counts
from tests.benchmarks.decisions_gate_different import different_rows
from tests.benchmarks.decisions_gate_pairs import ARTIFACT, DISCORDANCE, RULES, World, at_least, at_most, pair, promoted
from tests.benchmarks.monitoring_rows import Row, Section

RUNS = 1_000


def uncorrected(world: World, margin: float, runs: int, seed: int) -> float:
    """Share of runs in which the same test passes when every frame counts as an image of its own."""
    return _passes(world, runs, seed, lambda one, other: no_worse(_alone(one, other), margin))


def section(runs: int = RUNS) -> Section:
    """Every row of the gate's table."""
    error = [100 * (share * (1 - share) / runs) ** 0.5 for share in (0.05, 0.9)]
    how = (
        f"{runs} runs a row (standard error {error[0]:.1f} points at 5 %, {error[1]:.1f} at 90 %), seeded: two models "
    )
    how += f"with a known loss, one of them alone right on {100 * DISCORDANCE:.0f} % of images unless said otherwise. "
    how += "A goal is missed where a share lies more than two standard errors beyond it."
    words = how, "The whole gate decides, with floors and calibration set so that they cannot object."
    rows = [
        *_margins(runs),
        *_classes(runs),
        *_harmless(runs),
        *_gains(runs),
        *different_rows(runs),
        *_bursts(runs),
        *_readings(runs),
    ]
    return Section("The gate", words, tuple(rows))


def _margins(runs: int) -> list[Row]:
    rows = []
    for number, (images, margin) in enumerate(((300, 0.02), (1_000, 0.02), (100, 0.05), (400, 0.05))):
        rules = replace(RULES, overall_margin=margin, class_margin=0.5)
        for discordance in (max(margin, 0.03), 0.12):
            share = promoted(World(images, margin, discordance), None, "schedule", runs, 100 + number, rules)["promote"]
            what = f"loss of the whole margin ({100 * margin:.0f} points) overall, {images} images, "
            rows.append(at_most(f"{what}discordance {discordance:g}: promoted", share, runs))
    return rows


def _classes(runs: int) -> list[Row]:
    rules = replace(RULES, class_margin=0.05)
    rows = []
    for number, per_class in enumerate((150, 300)):
        world = World(10 * per_class, 0.05, classes=10, losing=1)
        share = promoted(world, None, "schedule", runs, 200 + number, rules)["promote"]
        what = f"one of ten classes loses its margin (5 points), {per_class} images each"
        if per_class < images_needed(0.05, DISCORDANCE, power=0.8):
            rows.append(Row(f"{what}, too few to judge a class by: promoted", "share of runs", share))
        else:
            rows.append(at_most(f"{what}: promoted", share, runs))
    return rows


def _harmless(runs: int) -> list[Row]:
    rows = []
    for number, (margin, discordance) in enumerate(((0.02, 0.03), (0.03, 0.06), (0.05, 0.06), (0.05, 0.10))):
        rules = replace(RULES, overall_margin=margin, class_margin=0.5)
        images = images_needed(margin, discordance, power=0.9)
        found = promoted(World(images, 0.0, discordance), None, "schedule", runs, 300 + number, rules)
        what = f"harmless, margin {100 * margin:.0f} points, discordance {discordance:g}, the {images} images printed"
        rows.append(at_least(f"{what}: promoted", found["promote"], 0.90, runs))
        small = promoted(World(images // 4, 0.0, discordance), None, "schedule", runs, 350 + number, rules)
        kept = small["undecided"] / max(1e-9, 1 - small["promote"])
        what = f"harmless, a quarter of those images ({images // 4}): undecided, of those not promoted"
        rows.append(at_least(what, kept, 0.90, runs))
    return rows


def _gains(runs: int) -> list[Row]:
    old = World(1_200, 0.0, 0.02)
    rows = []
    for number, (images, discordance) in enumerate(((60, 0.2), (200, 0.1), (400, 0.1))):
        recent = World(images, 0.0, discordance)
        found = promoted(old, recent, "harm", runs, 400 + number)
        what = f"harm was the reason and there is no true gain, {images} recent images, discordance {discordance:g}"
        rows.append(at_most(f"{what}: let through", found["let through"], runs))
    for number, (images, gain, discordance) in enumerate(((200, 0.10, 0.2), (400, 0.05, 0.1), (100, 0.20, 0.3))):
        recent = World(images, -gain, discordance)
        share = promoted(old, recent, "harm", runs, 450 + number)["promote"]
        what = f"a true gain of {100 * gain:.0f} points, {images} recent images, discordance {discordance:g}: promoted"
        rows.append(Row(what, "share of runs", round(share, 3)))
    return rows


def _bursts(runs: int) -> list[Row]:
    rules = replace(RULES, overall_margin=0.03, class_margin=0.5)
    rows = []
    cases = ((300, 10, 1.0, 0.03), (300, 10, 0.5, 0.03), (1_000, 10, 1.0, 0.03), (1_000, 10, 0.5, 0.06))
    for number, (images, burst, copied, discordance) in enumerate(cases):
        world = World(images, 0.03, discordance, burst=burst, copied=copied)
        share = promoted(world, None, "schedule", runs, 500 + number, rules)["promote"]
        plain = uncorrected(world, 0.03, runs, 500 + number)
        what = f"loss of the margin (3 points), {images} images in bursts of {burst}, {100 * copied:.0f} % copied, "
        what += f"discordance {discordance:g}: promoted"
        rows.append(replace(at_most(what, share, runs), others={"each frame by itself": round(plain, 3)}))
    for number, (images, copied) in enumerate(((1_000, 0.5), (3_000, 0.5))):
        world = World(images, 0.0, 0.06, burst=10, copied=copied)
        found = promoted(world, None, "schedule", runs, 550 + number, rules)
        what = f"harmless, {images} images in bursts of 10, {100 * copied:.0f} % copied: promoted, else undecided"
        rows.append(Row(what, "share of runs", round(found["promote"], 3), {"undecided": round(found["undecided"], 3)}))
    return rows


def _readings(runs: int) -> list[Row]:
    """Two readings of one candidate, the second on twice the images, of which the first were the half."""
    rules = replace(RULES, overall_margin=0.03, class_margin=0.5, planned_readings=2)
    chance, passed = np.random.default_rng(600), 0
    for _ in range(runs):
        whole = pair(World(800, 0.03), chance)
        half = tuple(one.only(np.arange(800) < 400) for one in whole)
        first = _decide(half[0], half[1], rules, 0)
        second = first if first.outcome != "undecided" else _decide(whole[0], whole[1], rules, 1)
        passed += second.outcome == "promote"
    what = "loss of the margin (3 points), read at 400 images and, while undecided, again at 800: promoted by either"
    return [at_most(what, passed / runs, runs)]


def _decide(candidate: Answers, champion: Answers, rules: GateRules, earlier: int) -> GateDecision:
    return decide(GateInput("schedule", ARTIFACT, candidate, champion, candidate_readings=earlier), rules)


def _alone(candidate: Answers, champion: Answers) -> PairedCounts:
    return paired_counts(champion.right, candidate.right)[0]


def _passes(world: World, runs: int, seed: int, test: Callable[[Answers, Answers], bool]) -> float:
    chance = np.random.default_rng(seed)
    return sum(test(*pair(world, chance)) for _ in range(runs)) / runs


def main() -> None:
    """Print the table; `make bench-decisions` writes it."""
    found = section()
    print(found.title)
    for row in found.rows:
        others = "".join(f"; {name} {value}" for name, value in row.others.items())
        met = {None: "", True: "met", False: "NOT MET"}[row.met]
        print(f"{row.ours:.3f}  {row.goal:7} {met:7}  {row.what}{others}", flush=True)


if __name__ == "__main__":
    main()
