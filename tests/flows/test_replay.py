"""Which old images go along with a retrain, on data as skewed as real data."""

from collections import Counter

from flows.collecting.replay import replay
from models.examples import Example


def examples(label: str, camera: str, count: int, session: str = "") -> list[Example]:
    """Images of one class and camera, in one session or each in its own."""
    names = [f"{label}-{camera}-{session}-{number}" for number in range(count)]
    return [Example(name, label, metadata={"camera": camera}, group=session or name) for name in names]


SKEWED = [
    *examples("free", "A", 900),
    *examples("free", "B", 60),
    *examples("crack", "A", 30),
    *examples("crack", "B", 5),
    *examples("fray", "A", 8),
]


def counts(drawn, *levels):
    return Counter(tuple(level(example) for level in levels) for example in drawn)


def images(drawn):
    return {example.image for example in drawn}


def label(example):
    return example.label


def camera(example):
    return example.metadata["camera"]


def test_classes_share_equally_and_what_a_small_one_lacks_goes_to_the_others():
    drawn = replay(SKEWED, 60, seed=0)

    assert counts(drawn, label) == {("free",): 26, ("crack",): 26, ("fray",): 8}


def test_within_a_class_subgroups_share_equally_too():
    drawn = replay(SKEWED, 60, seed=0, subgroups=["camera"])

    assert counts(drawn, label, camera) == {
        ("free", "A"): 13,
        ("free", "B"): 13,
        ("crack", "A"): 21,
        ("crack", "B"): 5,
        ("fray", "A"): 8,
    }


def test_the_size_is_fixed_in_total_and_everything_is_drawn_where_there_is_room():
    assert len(replay(SKEWED, 100, seed=0)) == 100
    assert images(replay(SKEWED, 5000, seed=0)) == images(SKEWED)
    assert replay(SKEWED, 0, seed=0) == ()


def test_a_long_session_counts_no_more_than_a_short_one():
    frames = [*examples("free", "A", 1000, "long"), *(one for s in "bcde" for one in examples("free", "A", 10, s))]

    drawn = replay(frames, 25, seed=0)

    assert set(Counter(example.group for example in drawn).values()) == {5}


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_the_examples():
    drawn = replay(SKEWED, 60, seed=1, subgroups=["camera"])

    assert drawn == replay(SKEWED[::-1], 60, seed=1, subgroups=["camera"])
    assert images(drawn) != images(replay(SKEWED, 60, seed=2, subgroups=["camera"]))


def test_a_smaller_draw_is_the_beginning_of_a_larger_one():
    assert replay(SKEWED, 40, seed=3) == replay(SKEWED, 90, seed=3)[:40]


def test_few_change_when_examples_are_added():
    before = images(replay(SKEWED, 60, seed=0, subgroups=["camera"]))
    added = examples("crack", "C", 20)

    after = images(replay([*SKEWED, *added], 60, seed=0, subgroups=["camera"]))

    # A third camera takes its share of the cracks, and only cracks of the largest camera make room for it.
    newcomers = after & images(added)
    assert len(newcomers) > 5
    assert len(before - after) == len(newcomers)
    assert all(image.startswith("crack-A") for image in before - after)
