"""What the gate says: each objection and each note as a sentence."""

from collections.abc import Sequence

from models import noninferiority
from models.gate_gain import different_needed
from models.gate_records import RECENT, REJECT, UNDECIDED, CheckRow, GateInput, GateRules, Objection

_WORN_READINGS, _WORN_IMAGES = 20, 1_000
# Of their images, or more: then it is not worth a word that some belong together.
_NEARLY = 0.8
# A gain of five points where one image in ten is answered otherwise: what labels would have to prove, while none are.
_USUAL_GAIN, _USUAL_DISCORDANCE, _POWER = 0.05, 0.10, 0.9


def objection_of(check: CheckRow) -> Objection:
    """What a check that did not pass says against promoting."""
    outcome = REJECT if check.result == "failed" else UNDECIDED
    return Objection(
        outcome, check.name, check.scope, check.group, _sentence(check), check.needed, check.needed_different
    )


def licence_words(licence: str, rules: GateRules) -> str:
    """Why a licence is refused, and the remedy where there is one."""
    allowed = f"gate.licences does not allow ({', '.join(rules.licences)})"
    if licence == "unknown":
        return (
            f"Nobody says under which licence the pretrained weights are: 'unknown', which {allowed}. "
            "Name it in model.licence, as their source states it, and train again."
        )
    return f"The pretrained weights are under '{licence}', which {allowed}."


def no_recent_images(given: GateInput, level: float) -> Objection:
    """A gain is demanded, and there is nothing to see it on."""
    needed = noninferiority.images_needed(0.0, _USUAL_DISCORDANCE, _POWER, level, -_USUAL_GAIN)
    different = different_needed(None, level)
    return Objection(
        UNDECIDED,
        "gain",
        RECENT,
        "overall",
        f"The reason was {given.reason}, but no recent labelled image is kept for judging, so no gain can be proven; "
        f"about {needed} labels would show one of {points(_USUAL_GAIN)}, or {different} of images that the two models "
        "answer differently.",
        needed,
        different,
    )


def notes_of(given: GateInput, rules: GateRules, checks: Sequence[CheckRow]) -> list[str]:
    """What a reader should know beside the objections."""
    notes = [
        f"{check.name.capitalize()} of {check.group} on {check.images} {check.scope} images is {check.loss:.3f}; its "
        f"interval reaches down to {check.bound:.3f}, below the {check.margin:.3f} required."
        for check in checks
        if check.result == "noted" and check.name.endswith("floor")
    ]
    notes += _too_small(checks)
    if given.new_classes:
        notes.append(
            f"New to the champion, hence held against the floors alone: {'; '.join(given.new_classes)}. "
            "Everything else was compared on images of the classes that both know."
        )
    if given.champion_old is None:
        notes.append(
            given.incomparable
            or "There is no champion to compare with: only the floors and the technical rules were applied."
        )
        return notes
    if given.candidate_recent is None and not given.gain_required:
        notes.append("No labelled images came in since the champion's training: nothing recent was compared.")
    notes += _volunteered(given)
    if given.judge_readings > _WORN_READINGS and given.candidate_old.images < _WORN_IMAGES:
        notes.append(
            f"The old judge images were read {given.judge_readings} times and are only {given.candidate_old.images}: "
            "comparisons on them wear out; add labelled images."
        )
    notes.append(_wrong_promotions(given))
    if rules.planned_readings > 1:
        notes.append(
            f"Reading {given.candidate_readings + 1} of {rules.planned_readings} planned for this candidate: "
            "each has its part of the level, for labels may be awaited."
        )
    return notes


def points(share: float) -> str:
    """A share of images as points of a hundred."""
    return f"{100 * share:.1f} points"


def _sentence(check: CheckRow) -> str:
    where = f"{check.group} on {check.images} {check.scope} images{_worth(check)}"
    if check.name in {"precision floor", "recall floor"}:
        return _floor_sentence(check, where)
    if check.name == "gain":
        if check.result == "failed":
            return f"On {check.images} recent images the candidate is worse by {points(check.loss)}."
        return (
            f"No gain is proven on {check.images} recent images{_worth(check)} (observed: {_moved(check.loss)}); "
            f"about {check.needed} more labels would probably decide, or {check.needed_different} of images that the "
            "two models answer differently."
        )
    if check.name == "calibration":
        more = f"; about {check.needed} more labels would probably decide" if check.needed else ""
        return (
            f"Calibration error on {check.images} old images grows by {points(check.loss)} (at most "
            f"{points(check.bound)} with 95 % confidence); growth of up to {points(check.margin)} is allowed{more}."
        )
    what = "False positives" if check.name == "false positives" else "Accuracy"
    if check.name == "anchor":
        what = "Accuracy against the best earlier champion"
    verb = "rise" if check.name == "false positives" else "falls"
    if check.result == "failed":
        return f"{what} of {where} {verb} by {points(check.loss)}; at most {points(check.margin)} allowed."
    more = f"; about {check.needed} more labels would probably decide" if check.needed else ""
    return (
        f"A loss of {points(check.margin)} is not ruled out for {check.name} of {where} "
        f"(observed: {_moved(check.loss)}){more}."
    )


def _worth(check: CheckRow) -> str:
    """Where images belong together, how many of their own would tell as much."""
    if check.worth is None or check.worth > _NEARLY * check.images:
        return ""
    return f" (in groups: worth about {max(1, check.worth)} independent ones)"


def _moved(loss: float) -> str:
    if round(loss, 3) == 0:
        return "no difference"
    return f"{points(abs(loss))} {'worse' if loss > 0 else 'better'}"


def _floor_sentence(check: CheckRow, where: str) -> str:
    metric = check.name.removesuffix(" floor").capitalize()
    if check.result == UNDECIDED:
        return (
            f"{metric} of {where} says too little about a class that is new; about {check.needed} more labels of it "
            "are needed."
        )
    return f"{metric} of {where} is {check.loss:.3f}; at least {check.margin:.3f} required."


def _too_small(checks: Sequence[CheckRow]) -> list[str]:
    watched = [check for check in checks if check.status == "watched" and check.result != UNDECIDED]
    notes = []
    if watched:
        told = [_watched(group, watched) for group in sorted({check.group for check in watched})]
        notes.append(f"Too few images to judge, watched for clear losses only: {'; '.join(told)}.")
    for scope in sorted({check.scope for check in checks if check.status == "listed"}):
        listed = sorted({check.group for check in checks if check.status == "listed" and check.scope == scope})
        notes.append(f"Too few {scope} images to compare at all: {'; '.join(listed)}.")
    return notes


def _watched(group: str, watched: Sequence[CheckRow]) -> str:
    """The group, and with how many more labels it would be judged."""
    # The margin of a rare class's false positives is so small that no number of labels is worth naming.
    of_group = [check for check in watched if check.group == group and check.name != "false positives"]
    told = sorted({f"{check.needed} more {check.scope}" for check in of_group if check.needed is not None})
    return f"{group} (judged with about {' or '.join(told)} labels)" if told else group


def _volunteered(given: GateInput) -> list[str]:
    recent = given.candidate_recent
    if recent is None or not given.gain_required:
        return []
    chosen = int((recent.counts_for("") & ~recent.measuring).sum())
    asked = int(recent.asked_as_different.sum())
    notes = []
    if asked:
        notes.append(
            f"{asked} of {recent.images} recent images were labelled because the two models answer them differently; "
            "they count for the gain alone."
        )
    if not chosen:
        return notes
    words = f"{chosen} of {recent.images} recent images prove no gain: their labels were volunteered, or asked for "
    words += "because of an answer. `kedge labels next` asks by chance; monitor.feedback_is_random says that all are."
    return [*notes, words]


def _wrong_promotions(given: GateInput) -> str:
    words = "At most about 4 in 100 retrains promote a model that loses a whole margin overall"
    if given.retrains_per_year is None:
        return f"{words}."
    wrong = noninferiority.LEVEL * given.retrains_per_year
    return f"{words}: at {given.retrains_per_year:.0f} retrains a year, {wrong:.1f} a year at worst."
