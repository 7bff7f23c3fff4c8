"""What a version on trial is guarded against beside the champion: errors, doubt, other answers, failures. Pure."""

from collections import Counter
from collections.abc import Sequence

from monitoring.guards import Guard, blocks, difference, guard, guard_of_differences

# Worse than the champion by less than this is for the gate to find, with more images than a trial has.
ERROR_TOLERANCE = 0.05
# A version that is less sure may be the more honest one; so much less sure it does not know these images.
CONFIDENCE_TOLERANCE = 0.15
# Of the canary's share, what may go to the champion instead because the canary failed at it.
FAILURE_TOLERANCE = 0.2


def paired_differences(tried: Sequence[bool], values: Sequence[float]) -> list[float]:
    """Of the values of what is tried and of the champion, block by block; see `guards.blocks`."""
    return [difference(tried, values, block) for block in blocks(tried)]


def guard_of_errors(differences: Sequence[float], alias: str) -> Guard:
    """Whether it is wrong more often, from the differences of errors."""
    words = f"{alias} its labelled answers are wrong more often than the champion's, by {{mean}}; {{tolerated}} is fine"
    return guard_of_differences("errors", differences, ERROR_TOLERANCE, words)


def guard_of_confidence(differences: Sequence[float]) -> Guard:
    """Whether it is less sure, from the differences of doubt (1 - confidence)."""
    words = "as canary it is less sure of its answers than the champion, by {mean} in the mean; {tolerated} is fine"
    return guard_of_differences("confidence", differences, CONFIDENCE_TOLERANCE, words)


def guard_of_answers(tried: Sequence[bool], answers: Sequence[str], tolerated: float) -> Guard:
    """
    Whether it answers other classes than the champion does, by betting on those it has given more often so far.

    The mean difference is at most the distance in total variation of the two mixes of answers, and that is at most
    the share of images on which the two would part ("Sequential predictive two-sample and independence testing",
    Podkopaev and Ramdas 2023, with a table of frequencies as the predictor).
    """
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    differences = []
    for block in blocks(tried):
        # The bet is made before the block is seen, and holds for the whole of it.
        theirs, ours = counts
        chosen = {one for one in ours if ours[one] * theirs.total() > theirs[one] * ours.total()}
        values = [float(answer in chosen) for answer in answers[block.start : block.stop]]
        own = tried[block.start : block.stop]
        differences.append(difference(own, values, range(len(block))))
        for place in block:
            counts[tried[place]][answers[place]] += 1
    words = (
        "as canary it gives other answers than the champion: on {mean} of the images at least they part; "
        "{tolerated} is fine"
    )
    return guard_of_differences("answers", differences, tolerated, words)


def guard_of_failures(tried: Sequence[bool], share: float) -> Guard:
    """What a canary fails at the champion answers: too few answers are its own."""
    words = (
        "as canary it left {mean} of the predictions to the champion, where by its share {tolerated} are fine: "
        "it fails at images, as the service's log tells"
    )
    left = [float(not own) for own in tried]
    return guard("failures", left, 1 - share * (1 - FAILURE_TOLERANCE), words)
