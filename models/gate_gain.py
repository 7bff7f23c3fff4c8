"""
The gate's proof of a gain: that the candidate is right more often than the champion on what comes now.

An image that both answer alike shows no gain, whatever its truth. So beside the images that chance drew, those count
that were labelled because the two answer them differently: a label of theirs tells ten times as much where one image
in ten is such. They are drawn by the two answers alone, before anybody knows the truth, and so without a gain each is
as likely to be lost as to be won (McNemar 1947): the level stays what it is.
"""

from math import ceil, floor

from models import noninferiority
from models.gate_records import RECENT, UNDECIDED, Answers, CheckRow, GateInput, GateRules
from models.noninferiority import PairedCounts, paired_counts

_POWER = 0.9
# What further labels would have to prove where nothing was seen so far: five points, won on images of which one in
# ten is answered differently. So few seen images say little yet, and count for no more than these.
_USUAL_GAIN, _USUAL_SHARE, _BELIEF = 0.05, 0.5, 10
_LEAST_SHARE = 0.1
# A gain this much larger than another can be told from it by a number of labels that people may give.
_CLEARLY = 0.02


def gain_check(candidate: Answers, champion: Answers, level: float) -> CheckRow:
    """
    Better on recent images: a loss of zero or more must be ruled out.

    At the level of the margins: at 0.05 the score test promotes no true gain in 5.25 % of runs at worst. Of images
    asked for by the answers the number is no matter of chance, and there it would be 6.3 %: the exact sign test has to
    agree.
    """
    rows = candidate.measuring | candidate.asked_as_different
    ours, theirs = candidate.only(rows), champion.only(rows)
    counts, effect = paired_counts(theirs.right, ours.right, ours.groups)
    asked = bool(ours.asked_as_different.any())
    loss, bound = _on_traffic(ours, theirs, counts, effect, level) if asked else _plainly(counts, level)
    result, needed, different = "passed", None, None
    proven = noninferiority.no_worse(counts, 0.0, level) and (not asked or chance_of_so_many(counts) <= level)
    if not proven:
        result = "failed" if noninferiority.lower_bound(counts, level) > 0 else UNDECIDED
        bound = max(bound, 0.0)
    if result == UNDECIDED:
        needed = _needed(loss, counts, ours.images, effect, level)
        different = min(needed, different_needed(counts, level))
    return CheckRow(
        "gain", RECENT, "overall", ours.images, loss, bound, 0.0, "judged", result, needed, different,
        worth=round(ours.images / effect),
    )  # fmt: skip


def gain_is_large(given: GateInput, rules: GateRules, level: float) -> bool:
    """Whether the gain that relief demands is proven, on images that chance drew: the others say nothing of size."""
    recent, champion = given.candidate_recent, given.champion_recent
    if recent is None or champion is None or not recent.images:
        return False
    rows = recent.measuring
    ours, theirs = recent.only(rows), champion.only(rows)
    counts, _ = paired_counts(theirs.right, ours.right, ours.groups)
    return noninferiority.no_worse(counts, -rules.relief_gain, level)


def labels_for_relief(given: GateInput, rules: GateRules, level: float) -> int | None:
    """
    Further labels drawn by chance with which the gain seen so far would probably be proven as large as relief demands.

    None where no gain clearly larger than that was seen.
    """
    recent, champion = given.candidate_recent, given.champion_recent
    if recent is None or champion is None:
        return None
    rows = recent.measuring
    ours, theirs = recent.only(rows), champion.only(rows)
    counts, effect = paired_counts(theirs.right, ours.right, ours.groups)
    if counts.loss > -rules.relief_gain - _CLEARLY:
        return None
    wanted = noninferiority.images_needed(-rules.relief_gain, counts.discordance, _POWER, level, counts.loss)
    return max(1, round(wanted * effect) - ours.images)


def chance_of_so_many(counts: PairedCounts) -> float:
    """Probability of as many won images or more, of those that one model alone has right, if each is a toss-up."""
    tossed, won = ceil(counts.lost + counts.won - 1e-9), floor(counts.won + 1e-9)
    return noninferiority.chance_of_at_least(won, tossed)


def different_needed(counts: PairedCounts | None, level: float) -> int:
    """Labels, of images that the two answer differently, that would probably prove the gain seen so far."""
    seen, ahead = (0.0, 0.0) if counts is None else (counts.lost + counts.won, counts.won - counts.lost)
    share = max(_LEAST_SHARE, (ahead + _USUAL_SHARE * _BELIEF) / (seen + _BELIEF))
    return noninferiority.images_needed(0.0, 1.0, _POWER, level, -share)


def _plainly(counts: PairedCounts, level: float) -> tuple[float, float]:
    return counts.loss, noninferiority.upper_bound(counts, level)


def _on_traffic(
    ours: Answers, theirs: Answers, counts: PairedCounts, effect: float, level: float
) -> tuple[float, float]:
    """Loss and its bound over all images as they come: over those answered differently, times how many of all are."""
    different, measuring = ours.answer != theirs.answer, ours.measuring
    # Half an image more, so that of few images none is not never.
    share = (int(different[measuring].sum()) + 0.5) / (int(measuring.sum()) + 1)
    among = PairedCounts(max(1, int(different.sum())) / effect, counts.lost, counts.won)
    return share * among.loss, share * noninferiority.upper_bound(among, level)


def _needed(loss: float, counts: PairedCounts, images: int, effect: float, level: float) -> int:
    """Further labels of any image; the gain seen so far, or five points where none was seen, is to be proven."""
    gain = loss if loss < 0 else -_USUAL_GAIN
    wanted = noninferiority.images_needed(0.0, max(counts.discordance, -gain), _POWER, level, gain)
    return max(1, round(wanted * effect) - images)
