"""The anchor: the best earlier champion, found on the very images that judge now."""

from collections.abc import Callable
from dataclasses import dataclass

from flows.workplace import Workplace
from infra.errors import UserError
from models.gate_records import Answers
from models.registry import ModelVersion

# Losses add up over time, so that the best is most likely the first; the newest ones are there for the rest.
_NEWEST = 7


@dataclass(frozen=True)
class Anchor:
    """An earlier champion and its answers to the old judge images."""

    version: ModelVersion
    answers: Answers


def best_earlier(
    place: Workplace,
    champion: ModelVersion | None,
    candidate_sha256: str,
    answers_of: Callable[[ModelVersion], Answers | None],
) -> Anchor | None:
    """
    The most accurate earlier champion but the candidate itself, which may be one; None while there was none.

    What it scored when it was judged says nothing here: those were other images. So the first champion and the newest
    seven answer the images that judge now. One whose files are gone, or that lacks a class, cannot.
    """
    best: Anchor | None = None
    for version in earlier_champions(place, champion):
        if version.onnx_sha256 == candidate_sha256:
            continue
        try:
            answers = answers_of(version)
        except UserError:  # its files are gone; the way back to it is closed too, and `kedge doctor` is for that
            continue
        if answers is not None and (best is None or answers.right.mean() > best.answers.right.mean()):
            best = Anchor(version, answers)
    return best


def earlier_champions(place: Workplace, champion: ModelVersion | None) -> tuple[ModelVersion, ...]:
    """The first champion and the newest seven before this one, each once, in the order of their promotion."""
    if champion is None:
        return ()
    served = dict.fromkeys(one.version for one in place.registry.champions.history())
    served.pop(champion.version, None)
    chosen = list(served)
    chosen = chosen if len(chosen) <= _NEWEST else [chosen[0], *chosen[-_NEWEST:]]
    versions = {version.version: version for version in place.registry.versions()}
    return tuple(versions[number] for number in chosen if number in versions)
