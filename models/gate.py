"""
The gate: may this candidate replace the champion?

A pure function. Candidate and champion answered the same judge images; losses are compared by a test that has to
rule out a margin, because "no significant loss" on a few hundred images is no safeguard.
"""

from dataclasses import replace

from models import noninferiority
from models.gate_calibration import calibration_check, precisions
from models.gate_floors import floor_checks
from models.gate_groups import Comparison, compare, comparisons
from models.gate_records import (
    OLD,
    PROMOTE,
    RECENT,
    REJECT,
    UNDECIDED,
    Answers,
    CheckRow,
    GateDecision,
    GateInput,
    GateRules,
    Objection,
)

# Level of the proof that a candidate is better.
_GAIN_LEVEL = 0.05
_POWER = 0.9
_WORN_READINGS, _WORN_IMAGES = 20, 1_000


def decide(given: GateInput, rules: GateRules) -> GateDecision:
    """
    Promote, reject or undecided, with every objection: one look at a refusal is enough.

    Without a champion only the floors and the technical rules apply: somebody has to be first.
    """
    objections = _technical(given, rules)
    checks: list[CheckRow] = []
    if not any(objection.check == "images" for objection in objections):
        checks += _floors(given, rules)
        if given.champion_old is not None:
            checks += _against_champion(given, given.champion_old, rules)
    objections += [_objection(check) for check in checks if check.result in {"failed", UNDECIDED}]
    if given.gain_required and given.champion_old is not None and given.candidate_recent is None:
        objections.append(_no_recent_images(given))
    rejected = [objection for objection in objections if objection.outcome == REJECT]
    undecided = [objection for objection in objections if objection.outcome == UNDECIDED]
    outcome = REJECT if rejected else UNDECIDED if undecided else PROMOTE
    comparable = bool(checks) and given.champion_old is not None
    return GateDecision(
        outcome=outcome,
        relief=outcome == UNDECIDED and _gain_is_large(given, rules),
        objections=(*rejected, *undecided),
        checks=tuple(checks),
        precisions=precisions(given.candidate_old, given.champion_old) if comparable and given.champion_old else (),
        notes=tuple(_notes(given, rules, checks)),
    )


def _technical(given: GateInput, rules: GateRules) -> list[Objection]:
    found: list[Objection] = []

    def object_to(check: str, words: str, scope: str = OLD) -> None:
        found.append(Objection(REJECT, check, scope, "overall", words))

    artifact = given.artifact
    if given.candidate_old.images == 0:
        object_to("images", "There are no judge images: label some, or give the manifest rows with split = judge.")
    pairs = [
        (OLD, "the champion", given.candidate_old, given.champion_old),
        (OLD, given.anchor_title or "the anchor", given.candidate_old, given.anchor_old),
        (RECENT, "the champion", given.candidate_recent, given.champion_recent),
    ]
    for scope, other_name, mine, other in pairs:
        if mine is None and other is None:
            continue
        if scope == OLD and other is None:
            continue
        if mine is None or other is None or not _same_images(mine, other):
            object_to("images", f"The candidate and {other_name} were not judged on the same {scope} images.", scope)
    if not artifact.parity_ok:
        object_to("parity", "The exported model does not answer as the trained one does.")
    if artifact.licence not in rules.licences:
        object_to("licence", _licence_words(artifact.licence, rules))
    if artifact.latency_ms > rules.most_latency_ms:
        object_to(
            "latency", f"One image takes {artifact.latency_ms:.1f} ms; at most {rules.most_latency_ms:g} ms allowed."
        )
    if artifact.size_mb > rules.most_artifact_mb:
        object_to("size", f"The model is {artifact.size_mb:.1f} MB; at most {rules.most_artifact_mb:g} MB allowed.")
    if given.candidate_readings >= rules.planned_readings:
        object_to(
            "readings",
            f"The judge images were already read {given.candidate_readings} times for this candidate; "
            f"{rules.planned_readings} planned. Train another candidate.",
        )
    return found


def _licence_words(licence: str, rules: GateRules) -> str:
    allowed = f"gate.licences does not allow ({', '.join(rules.licences)})"
    if licence == "unknown":
        return (
            f"Nobody says under which licence the pretrained weights are: 'unknown', which {allowed}. "
            "Name it in model.licence, as their source states it, and train again."
        )
    return f"The pretrained weights are under '{licence}', which {allowed}."


def _same_images(one: Answers, other: Answers) -> bool:
    same = one.fingerprint == other.fingerprint and one.images == other.images and one.classes == other.classes
    return same and bool((one.truth == other.truth).all())


def _floors(given: GateInput, rules: GateRules) -> list[CheckRow]:
    checks = floor_checks(given.candidate_old, None, OLD, rules)
    if given.candidate_recent is not None and given.candidate_recent.images:
        # On recent images a candidate below a floor but no worse than the champion is still the better of the two.
        checks += floor_checks(given.candidate_recent, given.champion_recent, RECENT, rules)
    return checks


def _against_champion(given: GateInput, champion: Answers, rules: GateRules) -> list[CheckRow]:
    level = noninferiority.LEVEL / max(1, rules.planned_readings)
    compared = comparisons(given.candidate_old, champion, OLD, given.subgroups, rules)
    recent, champion_recent = given.candidate_recent, given.champion_recent
    checks: list[CheckRow] = []
    if recent is not None and champion_recent is not None and recent.images:
        found = comparisons(recent, champion_recent, RECENT, given.subgroups, rules)
        if given.gain_required:
            checks.append(_gain(next(one for one in found if one.group == "overall")))
            found = [one for one in found if one.group != "overall"]
        compared += found
    checks += compare(compared, rules, level)
    if given.anchor_old is not None:
        checks.append(_anchor(given, given.anchor_old, rules, level))
    checks.append(calibration_check(given.candidate_old, champion, rules.calibration_margin))
    return checks


def _gain(overall: Comparison) -> CheckRow:
    """Better on recent images: a loss of zero or more must be ruled out."""
    counts = overall.counts
    bound = noninferiority.upper_bound(counts, _GAIN_LEVEL)
    result, needed = "passed", None
    if not noninferiority.no_worse(counts, 0.0, _GAIN_LEVEL):
        result = "failed" if noninferiority.lower_bound(counts, _GAIN_LEVEL) > 0 else UNDECIDED
    if result == UNDECIDED:
        # The gain seen so far, or five points where none was seen, is what further labels would have to prove.
        gain = counts.loss if counts.loss < 0 else -0.05
        images = noninferiority.images_needed(0.0, max(counts.discordance, -gain), _POWER, _GAIN_LEVEL, gain)
        needed = max(1, round(images * overall.effect) - overall.images)
    return CheckRow("gain", RECENT, "overall", overall.images, counts.loss, bound, 0.0, "judged", result, needed)


def _anchor(given: GateInput, anchor: Answers, rules: GateRules, level: float) -> CheckRow:
    """No worse than the best earlier champion by two margins, so that many small losses cannot add up."""
    doubled = replace(rules, overall_margin=2 * rules.overall_margin)
    overall = [one for one in comparisons(given.candidate_old, anchor, OLD, (), doubled) if one.group == "overall"]
    return replace(compare(overall, doubled, level)[0], name="anchor")


def _gain_is_large(given: GateInput, rules: GateRules) -> bool:
    recent, champion = given.candidate_recent, given.champion_recent
    if recent is None or champion is None or not recent.images:
        return False
    counts, _ = noninferiority.paired_counts(champion.right, recent.right, recent.groups)
    return noninferiority.no_worse(counts, -rules.relief_gain, _GAIN_LEVEL)


def _objection(check: CheckRow) -> Objection:
    outcome = REJECT if check.result == "failed" else UNDECIDED
    return Objection(outcome, check.name, check.scope, check.group, _sentence(check), check.needed)


def _sentence(check: CheckRow) -> str:
    where = f"{check.group} on {check.images} {check.scope} images"
    if check.name in {"precision floor", "recall floor"}:
        metric = check.name.removesuffix(" floor")
        return f"{metric.capitalize()} of {where} is {check.loss:.3f}; at least {check.margin:.3f} required."
    if check.name == "gain":
        if check.result == "failed":
            return f"On {check.images} recent images the candidate is worse by {_points(check.loss)}."
        return (
            f"No gain is proven on {check.images} recent images (observed {_points(-check.loss)}); "
            f"about {check.needed} more labels would probably decide."
        )
    if check.name == "calibration":
        return (
            f"Calibration error on {check.images} old images grows by {_points(check.loss)} (at most "
            f"{_points(check.bound)} with 95 % confidence); growth of up to {_points(check.margin)} is allowed."
        )
    what = "False positives" if check.name == "false positives" else "Accuracy"
    if check.name == "anchor":
        what = "Accuracy against the best earlier champion"
    verb = "rise" if check.name == "false positives" else "falls"
    if check.result == "failed":
        return f"{what} of {where} {verb} by {_points(check.loss)}; at most {_points(check.margin)} allowed."
    more = f"; about {check.needed} more labels would probably decide" if check.needed else ""
    return (
        f"A loss of {_points(check.margin)} is not ruled out for {check.name} of {where} "
        f"(observed {_points(check.loss)}){more}."
    )


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _no_recent_images(given: GateInput) -> Objection:
    return Objection(
        UNDECIDED,
        "gain",
        RECENT,
        "overall",
        f"The reason was {given.reason}, but no recent labelled image is kept for judging, so no gain can be proven.",
        100,
    )


def _notes(given: GateInput, rules: GateRules, checks: list[CheckRow]) -> list[str]:
    notes = [
        f"{check.name.capitalize()} of {check.group} on {check.images} {check.scope} images is {check.loss:.3f}; its "
        f"interval reaches down to {check.bound:.3f}, below the {check.margin:.3f} required."
        for check in checks
        if check.result == "noted" and check.name.endswith("floor")
    ]
    watched = sorted({check.group for check in checks if check.status == "watched"})
    listed = sorted({check.group for check in checks if check.status == "listed"})
    if watched:
        notes.append(f"Too few images to judge, watched for clear losses only: {'; '.join(watched)}.")
    if listed:
        notes.append(f"Too few images to compare at all: {'; '.join(listed)}.")
    if given.champion_old is None:
        notes.append("There is no champion to compare with: only the floors and the technical rules were applied.")
        return notes
    if given.candidate_recent is None and not given.gain_required:
        notes.append("No labelled images came in since the champion's training: nothing recent was compared.")
    if given.judge_readings > _WORN_READINGS and given.candidate_old.images < _WORN_IMAGES:
        notes.append(
            f"The old judge images were read {given.judge_readings} times and are only {given.candidate_old.images}: "
            "comparisons on them wear out; add labelled images."
        )
    notes.append("At most about 4 in 100 retrains promote a model that loses a whole margin overall.")
    return notes


__all__ = ["Answers", "GateDecision", "GateInput", "GateRules", "decide"]
