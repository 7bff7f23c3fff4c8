"""
Replay: the old images that go along with every retrain, so that what is new is learnt beside what was known.

Only images with the role *train* are ever replayed. Old *select* images never train: they are the part of the old
data by which a training sees that it forgets, and old *judge* images are the gate's.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from models.examples import Example


def replay(examples: Sequence[Example], most: int, seed: int, subgroups: Sequence[str] = ()) -> tuple[Example, ...]:
    """
    At most `most` examples: classes take turns, within a class subgroups, within those the groups of images.

    So each class has the same share while it lasts, and so has each subgroup of it; a session of a thousand frames
    counts no more than one of ten. The order is by hash: the same for the same seed, a smaller draw is the
    beginning of a larger one, and when examples are added few of those drawn change.

    Args:
        examples: Of the role train.
        most: Of all classes together.
        seed: Another seed, another draw.
        subgroups: Metadata columns; each combination of their values is a subgroup.
    """
    levels: tuple[Callable[[Example], str], ...] = (
        lambda example: example.label,
        lambda example: "\t".join(example.metadata.get(column, "") for column in subgroups),
        lambda example: example.group,
    )
    return tuple(_in_turns(examples, levels, seed)[:most])


def _in_turns(examples: Iterable[Example], levels: Sequence[Callable[[Example], str]], seed: int) -> list[Example]:
    """All examples in the order of drawing: at each level one of each part, then a second of each, and so on."""
    if not levels:
        return sorted(examples, key=lambda example: _place(f"{example.group}\t{example.image}", seed))
    parts: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        parts[levels[0](example)].append(example)
    # By hash, not by name: in what does not divide evenly no class is always the one to get more.
    queues = [_in_turns(parts[name], levels[1:], seed) for name in sorted(parts, key=lambda name: _place(name, seed))]
    turns = ((turn, place, example) for place, queue in enumerate(queues) for turn, example in enumerate(queue))
    return [example for _, _, example in sorted(turns, key=lambda each: each[:2])]


def _place(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\t{name}".encode()).digest()
