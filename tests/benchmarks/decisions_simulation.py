"""Part `simulation`: quarters with a known truth, each lived through under every policy."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monitoring.backtesting.judging import Judging
from monitoring.backtesting.replay import Replayed, ReplayRules, replay
from monitoring.backtesting.replayed_model import first_model
from tests.benchmarks.decisions_labeller import TenADay
from tests.benchmarks.decisions_policies import CONTENDERS, NEVER, OURS, TRAINING_MINUTES
from tests.benchmarks.decisions_worlds import CHANGES, DAYS, Change, Quarter, quarter
from tests.benchmarks.monitoring_rows import Row, Section
from tests.benchmarks.results import Measured

_WORK = Path(__file__).parents[2] / "build" / "bench-decisions"
_LOOK_EVERY = np.timedelta64(24, "h")
_SEEDS = 10
# One false alarm in a quarter is what the settings accept; a retrain needs more than an alarm.
_MOST_FALSE, _LEAST_FOUND = 1.0, 0.9
_SMALL_HARM = "with twenty labels a day a smaller harm stays within what the settings tolerate"
_BLANK_CAMERA = (
    "the look at the newest pictures names the blank camera from its first day on and says so beside the verdict, but "
    "a verdict takes an alarm, and one camera of four is only just more than the fifth of atypical "
    "pictures that the watch lets pass: in ten days the evidence does not always suffice"
)
_RIVALS = tuple(name for name in CONTENDERS if name != OURS)


def section(*, quick: bool) -> Section:
    """Every quarter once for each seed; what was lived through before is not lived through again."""
    measured = Measured(
        _WORK / ("simulation-quick.jsonl" if quick else "simulation.jsonl"), ("change", "seed", "policy")
    )
    measure(measured, 1 if quick else _SEEDS)
    found = measured.rows()
    return Section("Policies in quarters of known truth", _told(found), tuple(_rows(found)))


def measure(measured: Measured, seeds: int) -> None:
    """Seed after seed, so that whatever is there when it is broken off is of all changes alike."""
    for seed in range(seeds):
        for change in CHANGES:
            wanted = [
                name for name in CONTENDERS if {"change": change.name, "seed": seed, "policy": name} not in measured
            ]
            if not wanted:
                continue
            print(f"  {change.name}, seed {seed}", file=sys.stderr, flush=True)
            lived = quarter(change, seed)
            for name in wanted:
                measured.add(
                    {"change": change.name, "seed": seed, "policy": name, **_figures(change, lived, _live(lived, name))}
                )


def _live(lived: Quarter, policy: str) -> Replayed:
    contender = CONTENDERS[policy]
    rules = ReplayRules(_LOOK_EVERY, TRAINING_MINUTES, Judging(contender.judge, contender.rules), labeller=TenADay())
    return replay(lived.stream, first_model(lived.stream, lived.profile), contender.begin(), rules)


def _figures(change: Change, lived: Quarter, done: Replayed) -> dict[str, Any]:
    began = lived.stream.began
    there = lived.strength > 0
    verdicts = [((at - began) / np.timedelta64(1, "D"), action) for at, action in done.verdicts]
    right = [day for day, action in verdicts if action in change.right and day >= change.begin]
    return {
        "accuracy": float(np.nanmean(done.right)),
        "while_there": float(np.nanmean(done.right[there])) if there.any() else None,
        "retrains": len(done.retrains),
        "promoted": sum(one.promoted for one in done.retrains),
        "waited": sum(one.judged_again != "" for one in done.retrains),
        "waited_days": round(sum(one.waited_days for one in done.retrains), 2),
        "asked_labels": sum(one.asked_labels for one in done.retrains),
        "came_of_it": [one.judged_again.partition(". ")[0] for one in done.retrains if one.judged_again],
        "verdicts": [[round(float(day), 2), action] for day, action in verdicts],
        "found_after": round(float(right[0]) - change.begin, 2) if right and "nothing" not in change.right else None,
        "days_wrong": _days_wrong(change, verdicts) if verdicts else None,
    }


def _days_wrong(change: Change, verdicts: Sequence[tuple[float, str]]) -> float:
    """
    Days on which the verdict asked for something that is not called for.

    "Nothing" is never counted here: how late a change is found is a figure of its own. A change that was there may be
    told until the quarter ends, for an alarm stands until somebody acts on it.
    """
    ends = [day for day, _ in verdicts[1:]] + [float(DAYS)]
    wrong = 0.0
    for (day, action), end in zip(verdicts, ends, strict=True):
        if action == "nothing":
            continue
        called_for = action in change.right or (action == "label_first" and "fix_input" in change.right)
        wrong += max(0.0, min(end, change.begin) - day) + (
            0.0 if called_for else max(0.0, end - max(day, change.begin))
        )
    return round(wrong, 2)


def _told(found: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    seeds = len({row["seed"] for row in found})
    world = (
        "Quarters of 90 days with 200 pictures a day from four cameras; people label 20 a day, which chance draws, "
        f"one to three days late. Each line is a mean over {seeds} quarters, which every policy lives through alike. "
        "The code is that which watches, triages and decides in production, but for its lane of day-long blocks; a "
        "retrain is the head fitted anew to all labels that had come, ready half an hour after it was asked for. "
        "Neither the gain forecast nor archived models are part of it."
    )
    waits = (
        "A candidate about which the gate is undecided waits for labels as in production: no other retrain begins "
        "meanwhile, and it is judged once more when they have come, or after two weeks. People answer ten "
        "pictures a day beside the others of what it asks for; they are told as labels asked for. Whoever promotes "
        "without a gate needs none of them."
    )
    who = (
        f"*{OURS}* is as its settings are by default, with its gate; beside it, one that may lose 5 points on old "
        "images (gate.overall_margin) instead of 2. "
        "With a *guard* it lets through what is not surely worse. The others promote whatever they train: that is how "
        "time, amount, drift and performance triggers (the kinds of Modyn) work."
    )
    what = (
        "A found change is the first verdict that is right for it; accuracy is over all pictures, whether or not they "
        "were labelled, but for the blank ones."
    )
    return world, waits, who, what


def _rows(found: Sequence[Mapping[str, Any]]) -> list[Row]:
    rows = [row for change in CHANGES for row in _verdict_rows(change, _of(found, change.name, OURS))]
    for change in CHANGES:
        rows.append(_side_by_side(found, change, "accuracy", "% of the quarter", 100.0))
        rows.append(_retrains(found, change))
    rows += _summary(found)
    return rows


def _verdict_rows(change: Change, ours: Sequence[Mapping[str, Any]]) -> list[Row]:
    wrong = float(np.mean([row["days_wrong"] for row in ours]))
    rows = [
        Row(f"{change.name}: days with a verdict that is not called for", "days of 90", wrong, {}, "≤ 3", wrong <= 3,
            "" if wrong <= 3 else "an alarm stands until a person or a retrain acts on it")
    ]  # fmt: skip
    if "nothing" in change.right:
        return rows
    delays = [row["found_after"] for row in ours if row["found_after"] is not None]
    share = len(delays) / len(ours)
    met = share >= _LEAST_FOUND
    why = "" if met else _BLANK_CAMERA if change.blank else _SMALL_HARM
    name = "the input is to be fixed" if change.blank else "harm is found"
    rows.append(Row(f"{change.name}: quarters in which {name}", "share", share, {}, f"≥ {_LEAST_FOUND:g}", met, why))
    if delays:
        rows.append(Row(f"{change.name}: until then", "days, median", float(np.median(delays)), {}))
    return rows


def _side_by_side(
    found: Sequence[Mapping[str, Any]], change: Change, figure: str, unit: str, scale: float = 1.0
) -> Row:
    means = {name: scale * _mean(found, change.name, name, figure) for name in CONTENDERS}
    return Row(f"{change.name}: accuracy", unit, means[OURS], {name: means[name] for name in _RIVALS})


def _retrains(found: Sequence[Mapping[str, Any]], change: Change) -> Row:
    means = {name: _mean(found, change.name, name, "retrains") for name in CONTENDERS}
    others = {name: means[name] for name in _RIVALS}
    what = f"{change.name}: retrains"
    if change.harms:
        return Row(what, "a quarter", means[OURS], others)
    met = means[OURS] <= _MOST_FALSE
    why = "" if met else "more than the one false alarm a quarter that the settings accept"
    return Row(what, "a quarter", means[OURS], others, f"≤ {_MOST_FALSE:g}, for none is needed", met, why)


def _summary(found: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Over the quarters with harm, what was won; over the others, what was trained for nothing."""
    harmful, harmless = ([change.name for change in CHANGES if change.harms is harms] for harms in (True, False))
    won = {name: 100 * _won(found, harmful, name) for name in CONTENDERS}
    spent = {name: _over(found, harmful, name, "retrains") for name in CONTENDERS}
    wasted = {name: _over(found, harmless, name, "retrains") for name in CONTENDERS}
    each = {name: won[name] / spent[name] if spent[name] else None for name in CONTENDERS}
    helped = {name: _helped(found, harmful, name) for name in CONTENDERS}
    met = helped[OURS] >= _LEAST_FOUND
    why = "" if met else _why_kept_back([row for change in harmful for row in _of(found, change, OURS)])
    asked = {name: _over(found, harmful, name, "asked_labels") for name in CONTENDERS}
    waited = {name: _over(found, harmful, name, "waited_days") for name in CONTENDERS}
    others = {name: helped[name] for name in _RIVALS}
    return [
        Row(
            "quarters with harm in which a successor was promoted",
            "share",
            helped[OURS],
            others,
            f"≥ {_LEAST_FOUND:g}",
            met,
            why,
        ),
        _row("quarters with harm: won against never", "points of accuracy", won),
        _row("quarters with harm: retrains", "a quarter", spent),
        _row("quarters with harm: won for each retrain", "points of accuracy", each),
        _row("quarters with harm: labels asked for beside the 20 a day", "a quarter", asked),
        _row("quarters with harm: waited for labels", "days of 90", waited),
        _row("quarters without harm: retrains for nothing", "a quarter", wasted),
    ]


def _why_kept_back(lived: Sequence[Mapping[str, Any]]) -> str:
    """What became of the candidates that waited."""
    ends = [words for row in lived for words in row.get("came_of_it", ())]
    passed = sum(words.startswith("Promote") or "relief" in words for words in ends)
    undecided = sum(words.startswith("Undecided") and "relief" not in words for words in ends)
    return (
        f"of {sum(row['retrains'] for row in lived)} candidates {len(ends)} waited for labels, of which {passed} then "
        f"passed; {undecided} were undecided at their second reading, too: thirty labels a day, of which 15 in 100 may "
        "judge, are few to rule out a loss of two points with"
    )


def _helped(found: Sequence[Mapping[str, Any]], changes: Sequence[str], policy: str) -> float:
    lived = [row["promoted"] > 0 for change in changes for row in _of(found, change, policy)]
    return float(np.mean(lived))


def _row(what: str, unit: str, figures: Mapping[str, float | None]) -> Row:
    return Row(what, unit, figures[OURS], {name: figures[name] for name in _RIVALS})


def _won(found: Sequence[Mapping[str, Any]], changes: Sequence[str], policy: str) -> float:
    return _over(found, changes, policy, "accuracy") - _over(found, changes, NEVER, "accuracy")


def _over(found: Sequence[Mapping[str, Any]], changes: Sequence[str], policy: str, figure: str) -> float:
    return float(np.mean([_mean(found, change, policy, figure) for change in changes]))


def _mean(found: Sequence[Mapping[str, Any]], change: str, policy: str, figure: str) -> float:
    # Policies without a gate were measured before anybody waited for labels, and have no figure of it: it is 0.
    return float(np.mean([row.get(figure, 0) for row in _of(found, change, policy)]))


def _of(found: Sequence[Mapping[str, Any]], change: str, policy: str) -> list[Mapping[str, Any]]:
    return [row for row in found if row["change"] == change and row["policy"] == policy]


if __name__ == "__main__":
    from tests.benchmarks.parts import markdown

    print(markdown(section(quick="--quick" in sys.argv)))
