"""
Whether the gate could see the gain that a whole training may bring: a pure function of a small trial of it.

Training is spared only where even the most that the trial leaves to be hoped for would more likely than not stay
unproven: the test is the gate's own, its power that of the judge images there are.
"""

from dataclasses import dataclass, replace
from math import floor

from models.noninferiority import PairedCounts, chance_of_passing, images_needed, lower_bound

# What lies beyond is not hoped for: of ten trials one is worse than the truth by more.
HOPE_LEVEL = 0.10
# The whole training gains more than a tenth of it where much is to be learnt: on digits under a new camera 71 points
# where the trial had gained 33 (150 labels), and 73 where it had gained 37 (400 labels), on the same *select* images.
STRETCH = 2.0
# Below it the answer of the gate would more likely be "undecided" than not.
LEAST_CHANCE = 0.5
_POWER = 0.9
_MOST_IMAGES = 3_000  # exact chances of more take minutes, and more than these are always enough to see what matters
_CEILING, _TRIAL = "Even a candidate that were always right", "A tenth of the training"

_HOW = "`kedge labels next` asks by chance; monitor.feedback_is_random = true says that every label is random."


@dataclass(frozen=True)
class Proof:
    """
    What the gate asks of a candidate on recent images.

    Attributes:
        images: Recent judge images that may prove it.
        margin: Loss that must be ruled out, 0..1; 0 = a gain must be proven.
        level: Of the test, one-sided.
    """

    images: int
    margin: float
    level: float


@dataclass(frozen=True)
class GainForecast:
    """
    What came of it.

    Attributes:
        worthwhile: Whether the whole training should be done.
        images: Fresh *select* images that it rests on.
        gain: Seen on them, 0..1; below zero the trial was worse than the champion.
        hopeful: The most gain of the whole training that is not ruled out.
        chance: That the gate passes such a gain with the judge images there are, 0..1.
        needed: Further recent judge images with which it probably would; None where it does already, or never would.
    """

    worthwhile: bool
    images: int
    gain: float
    hopeful: float
    chance: float
    needed: int | None
    words: str


def ceiling(perfect: PairedCounts, effect: float, proof: Proof) -> GainForecast:
    """Of a candidate that is always right, beside the champion: what no training could surpass."""
    return _forecast(perfect, effect, proof, -lower_bound(perfect, HOPE_LEVEL), _CEILING)


def forecast(trial: PairedCounts, effect: float, proof: Proof, most: float = 1.0) -> GainForecast:
    """
    Of the whole training, by a trial of it.

    Args:
        trial: "lost" are fresh *select* images that the champion had right and the trial has wrong; divided by the
            design `effect`.
        effect: How many images count as one, where they come in groups.
        proof: What the gate will ask.
        most: Gain that no training could surpass: what the ceiling leaves to be hoped for.
    """
    hopeful = -lower_bound(trial, HOPE_LEVEL)
    return _forecast(trial, effect, proof, min(most, STRETCH * hopeful) if hopeful > 0 else hopeful, _TRIAL)


def _forecast(counts: PairedCounts, effect: float, proof: Proof, hopeful: float, who: str) -> GainForecast:
    # As many are lost as were seen to be; what is won beyond them is the gain.
    discordance = min(1.0, 2 * counts.lost / counts.images + max(0.0, hopeful)) if counts.images else 1.0
    images = min(_MOST_IMAGES, floor(proof.images / effect))
    chance = chance_of_passing(images, proof.margin, discordance, -hopeful, proof.level) if images else 0.0
    worthwhile = chance >= LEAST_CHANCE
    needed = None if worthwhile else _needed(proof, discordance, hopeful, effect)
    # Adding 0.0 takes the sign off a zero.
    gain, seen = -counts.loss + 0.0, round(counts.images * effect)
    found = GainForecast(worthwhile, seen, gain, hopeful, chance, needed, "")
    return replace(found, words=_words(found, proof, who))


def _needed(proof: Proof, discordance: float, hopeful: float, effect: float) -> int | None:
    if hopeful <= -proof.margin:
        return None
    wanted = images_needed(proof.margin, discordance, _POWER, proof.level, -hopeful)
    return max(1, round(wanted * effect) - proof.images)


def _words(found: GainForecast, proof: Proof, who: str) -> str:
    if proof.images == 0:
        more = f" About {found.needed} of them are needed." if found.needed else ""
        return f"No recent judge image can prove a gain: only labels drawn by chance do, and none judges.{more} {_HOW}"
    if who == _CEILING:
        seen = f"{who} would gain {_points(found.gain)} on {found.images} fresh images"
    else:
        better = "better" if found.gain >= 0 else "worse"
        seen = f"{who} came out {_points(abs(found.gain))} {better} than the champion on {found.images} fresh images"
    seen += f" (at most {_points(max(0.0, found.hopeful))} can be hoped for)"
    asked = "prove a gain" if proof.margin <= 0 else f"rule out a loss of {_points(proof.margin)}"
    told = f"{seen}; with {proof.images} recent judge images the gate could {asked} in {found.chance:.0%} of cases"
    if found.worthwhile:
        return f"{told}, so the whole training is worth it."
    if found.needed is None:
        return f"{told}, and no number of them would do: other images are needed, or another kind of training."
    return f"{told}. About {found.needed} more recent judge images would do."


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
