"""One role for one picture: copies, near-duplicates and contradictions among labelled images, before any is used."""

from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.examples import ROLES, Example
from models.near_duplicates import Fingerprint, near_pairs

_NAMED = 3


@dataclass(frozen=True)
class Kept:
    """
    What may be used.

    Attributes:
        examples: In their order, each picture with one role.
        left_out: How many were left out, by reason.
        remarks: What was left in but should be looked at, each a sentence.
    """

    examples: tuple[Example, ...]
    left_out: Mapping[str, int]
    remarks: tuple[str, ...]


def one_role_each(
    examples: Sequence[Example],
    contents: Mapping[Path | str, str],
    fingerprints: Mapping[str, Fingerprint],
    near_duplicate_distance: int,
    excluded: Container[Path | str] = (),
    exclusion: str = "",
) -> Kept:
    """
    Leave out what would make training or judging dishonest.

    In this order: images that a person excluded (never judge images: the judge set is nobody's to polish); images
    whose bytes bear different labels (one of them is wrong, and nothing says which); copies of images with a more
    guarded role, for what judges must neither select nor train, and what selects must not train; near-duplicates of
    such images with the same label. Near-duplicates with different labels stay, and are remarked on: they may
    differ in a detail that is smaller than the fingerprint sees, and then they are the most instructive of all.

    Args:
        examples: Of manifest and production, each with its role.
        contents: SHA-256 by image.
        fingerprints: By SHA-256.
        near_duplicate_distance: Bits of 100; 0 compares bytes alone.
        excluded: Images that shall not train or select.
        exclusion: Where that is said.
    """
    left_out: Counter[str] = Counter()
    out = [example for example in examples if example.image in excluded and example.split != "judge"]
    if out:
        left_out[f"named in {exclusion} ({_some(out)})"] = len(out)
        examples = [example for example in examples if example.image not in excluded or example.split == "judge"]
    labels: dict[str, set[str]] = defaultdict(set)
    guard: dict[str, int] = {}
    for example in examples:
        content = contents[example.image]
        labels[content].add(example.label)
        guard[content] = max(_guard(example), guard.get(content, 0))
    contradicted = [example for example in examples if len(labels[contents[example.image]]) > 1]
    if contradicted:
        left_out[f"the same image with different labels ({_some(contradicted)})"] = len(contradicted)
        examples = [example for example in examples if len(labels[contents[example.image]]) == 1]
    single = [example for example in examples if _guard(example) == guard[contents[example.image]]]
    left_out["copies of images that judge or select"] = len(examples) - len(single)
    kept, remarks = _without_near(single, contents, fingerprints, near_duplicate_distance)
    left_out["near-duplicates of images that judge or select"] = len(single) - len(kept)
    return Kept(tuple(kept), {reason: count for reason, count in left_out.items() if count}, remarks)


def _without_near(
    examples: Sequence[Example],
    contents: Mapping[Path | str, str],
    fingerprints: Mapping[str, Fingerprint],
    most_bits: int,
) -> tuple[list[Example], tuple[str, ...]]:
    if most_bits == 0:
        return list(examples), ()
    one_of = {contents[example.image]: example for example in examples}
    names = list(one_of)
    less_guarded: set[str] = set()
    conflicts = []
    for one, other in near_pairs([fingerprints[name] for name in names], most_bits).tolist():
        first, second = one_of[names[one]], one_of[names[other]]
        if first.label != second.label:
            conflicts.append((first, second))
        elif first.split != second.split:
            less_guarded.add(names[one] if _guard(first) < _guard(second) else names[other])
    kept = [example for example in examples if contents[example.image] not in less_guarded]
    return kept, _remarks(conflicts)


def _remarks(conflicts: Sequence[tuple[Example, Example]]) -> tuple[str, ...]:
    if not conflicts:
        return ()
    named = "; ".join(
        f"{_name(one)} is {one.label!r}, {_name(other)} is {other.label!r}" for one, other in conflicts[:_NAMED]
    )
    more = "; …" if len(conflicts) > _NAMED else ""
    words = f"{len(conflicts)} pairs of near-duplicates bear different labels and are used as they are: {named}{more}"
    return (f"{words} (`kedge data --label-errors` ranks what is likely wrong)",)


def _guard(example: Example) -> int:
    return ROLES.index(example.split)


def _some(examples: Sequence[Example]) -> str:
    return ", ".join([*map(_name, examples[:_NAMED]), *(["…"] if len(examples) > _NAMED else [])])


def _name(example: Example) -> str:
    return Path(example.image).name[:40]
