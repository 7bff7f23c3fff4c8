"""What is surely wrong with a version that is on trial beside the champion. Pure."""

from flows.rollout.records import RolloutRules
from models.rollout_runs import SHADOW, RolloutRun
from monitoring.guards import Guard
from monitoring.trial_evidence import TrialEvidence

# A trial that gives no answer at all while so many would have fallen to it has failed at every one.
_MOST_SILENT = 50
# Fewer milliseconds than these more are no caller's concern, whatever their ratio.
_LEAST_SLOWER_MS = 5.0


def problem_of(run: RolloutRun, seen: TrialEvidence, rules: RolloutRules, *, whole: bool) -> str | None:
    """What is surely wrong with what is on trial, in words; None while nothing is."""
    silent = not seen.predictions and seen.expected >= _MOST_SILENT
    if silent:
        return f"it answered none of {seen.expected:.0f} images that fell to it as {run.stage}"
    return tripped(seen.guards) or _slow(run, seen, rules) or _apart(run, seen, rules, whole=whole)


def tripped(guards: tuple[Guard, ...]) -> str | None:
    """What the first guard that has tripped says; None while none has."""
    return next((guard.words for guard in guards if guard.tripped), None)


def _slow(run: RolloutRun, seen: TrialEvidence, rules: RolloutRules) -> str | None:
    # A shadow yields to everybody and answers in larger batches: only beyond what champions' callers wait for, too.
    champion_ms = seen.champion_ms_p95 if run.stage == SHADOW else seen.champion_ms
    if seen.few or seen.trial_ms is None or champion_ms is None:
        return None
    if seen.trial_ms <= max(rules.most_latency_ratio * champion_ms, champion_ms + _LEAST_SLOWER_MS):
        return None
    return (
        f"its forward pass takes {seen.trial_ms:.1f} ms in the median, over {rules.most_latency_ratio:g} times the "
        f"champion's {champion_ms:.1f} ms"
    )


def _apart(run: RolloutRun, seen: TrialEvidence, rules: RolloutRules, *, whole: bool) -> str | None:
    """
    Where a shadow agrees too seldom: as soon as that is sure, and at the end in what was counted.

    Where labels say that it is right and the champion wrong, parting is what it was made for.
    """
    for group in seen.agreements:
        floor = max(0.0, agreement_floor(run, rules, group.title) - group.repaired)
        sure = group.high is not None and group.high < floor
        counted = whole and group.value is not None and group.value < floor
        if not group.few and (sure or counted) and group.value is not None:
            return (
                f"it agrees with the champion on {group.value:.0%} of {group.images} images ({group.title}), below "
                f"{floor:.0%}: a person has to decide. `kedge rollout gallery` shows where they part; "
                f"`kedge rollout start {run.version} --from canary` goes on all the same"
            )
    return None


def agreement_floor(run: RolloutRun, rules: RolloutRules, group: str = "overall") -> float:
    """
    The share of answers that have to be the champion's, 0..1, in a group.

    A candidate that the gate proved better by so many points on recent images has to differ on as many.
    """
    gains = run.facts.gains
    return max(0.0, rules.least_agreement - max(gains.get("overall", 0.0), gains.get(group, 0.0)))
