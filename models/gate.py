"""
The gate: may this candidate replace the champion?

A pure function. Candidate and champion answered the same judge images; losses are compared by a test that has to
rule out a margin, because "no significant loss" on a few hundred images is no safeguard.
"""

from dataclasses import replace

from models import noninferiority
from models.gate_calibration import calibration_check, precisions
from models.gate_floors import floor_checks, new_class_checks
from models.gate_gain import gain_check, gain_is_large, labels_for_relief
from models.gate_groups import compare, comparisons
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
from models.gate_words import licence_words, no_recent_images, notes_of, objection_of


def decide(given: GateInput, rules: GateRules) -> GateDecision:
    """
    Promote, reject or undecided, with every objection: one look at a refusal is enough.

    Without a champion only the floors and the technical rules apply: somebody has to be first.
    """
    # Readings of one candidate share the level: the chance that one of them errs is theirs together.
    level = noninferiority.LEVEL / max(1, rules.planned_readings)
    objections = _technical(given, rules)
    checks: list[CheckRow] = []
    if not any(objection.check == "images" for objection in objections):
        checks += _floors(given, rules)
        if given.champion_old is not None:
            checks += _against_champion(given, given.champion_old, rules, level)
    objections += [objection_of(check) for check in checks if check.result in {"failed", UNDECIDED}]
    if given.gain_required and given.champion_old is not None and given.candidate_recent is None:
        objections.append(no_recent_images(given, level))
    rejected = [objection for objection in objections if objection.outcome == REJECT]
    undecided = [objection for objection in objections if objection.outcome == UNDECIDED]
    outcome = REJECT if rejected else UNDECIDED if undecided else PROMOTE
    relief = outcome == UNDECIDED and gain_is_large(given, rules, level)
    return GateDecision(
        outcome=outcome,
        relief=relief,
        objections=(*rejected, *undecided),
        checks=tuple(checks),
        precisions=precisions(_plain(given.candidate_old), _plain(given.champion_old))
        if checks and given.champion_old is not None
        else (),
        notes=tuple(notes_of(given, rules, checks)),
        relief_needed=labels_for_relief(given, rules, level) if outcome == UNDECIDED and not relief else None,
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
        object_to("licence", licence_words(artifact.licence, rules))
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


def _same_images(one: Answers, other: Answers) -> bool:
    if one.fingerprint != other.fingerprint or one.images != other.images or one.classes != other.classes:
        return False
    return (one.asked_for, one.by_chance) == (other.asked_for, other.by_chance) and bool(
        (one.truth == other.truth).all()
    )


def _floors(given: GateInput, rules: GateRules) -> list[CheckRow]:
    checks = floor_checks(_plain(given.candidate_old), None, OLD, rules)
    recent, champion = given.candidate_recent, given.champion_recent
    if recent is not None and recent.counts_for("").any():
        # On recent images a candidate below a floor but no worse than the champion is still the better of the two.
        checks += floor_checks(_plain(recent), None if champion is None else _plain(champion), RECENT, rules)
    if given.candidate_floors is not None:
        checks += new_class_checks(given.candidate_floors, given.new_classes, rules)
    return checks


def _against_champion(given: GateInput, champion: Answers, rules: GateRules, level: float) -> list[CheckRow]:
    compared = comparisons(given.candidate_old, champion, OLD, given.subgroups, rules)
    recent, champion_recent = given.candidate_recent, given.champion_recent
    checks: list[CheckRow] = []
    if recent is not None and champion_recent is not None and recent.images:
        found = comparisons(recent, champion_recent, RECENT, given.subgroups, rules)
        if given.gain_required:
            checks.append(gain_check(recent, champion_recent, level))
            found = [one for one in found if one.group != "overall"]
        compared += found
    checks += compare(compared, rules, level)
    if given.anchor_old is not None:
        checks.append(_anchor(given, given.anchor_old, rules, level))
    checks.append(calibration_check(_plain(given.candidate_old), _plain(champion), rules.calibration_margin))
    return checks


def _anchor(given: GateInput, anchor: Answers, rules: GateRules, level: float) -> CheckRow:
    """No worse than the best earlier champion by two margins, so that many small losses cannot add up."""
    doubled = replace(rules, overall_margin=2 * rules.overall_margin)
    overall = [one for one in comparisons(given.candidate_old, anchor, OLD, (), doubled) if one.group == "overall"]
    return replace(compare(overall, doubled, level)[0], name="anchor")


def _plain(answers: Answers) -> Answers:
    """Those to images that count everywhere: their mix is the world's."""
    everywhere = answers.counts_for("")
    return answers if everywhere.all() else answers.only(everywhere)


__all__ = ["Answers", "GateDecision", "GateInput", "GateRules", "decide"]
