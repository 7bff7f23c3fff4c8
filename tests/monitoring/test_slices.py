from dataclasses import replace

import numpy as np
import pytest

from monitoring.image_stats import NAMES
from monitoring.quality.labelled import LabelledAnswers
from monitoring.slices import benjamini_hochberg, weak_slices
from tests.monitoring.answers import answers, repeated

BRIGHTNESS = NAMES.index("brightness")


def world(count=1200, seed=0, planted=0.0):
    """Cameras A to C; `planted` more errors where it is dark and the camera is B."""
    chance = np.random.default_rng(seed)
    rows = answers(chance.choice(list("ABC"), count), np.full(count, 0.9), chance=chance)
    dark = rows.statistics[:, BRIGHTNESS] < 0.3
    hit = dark & (rows.values("camera") == "B") & (chance.random(count) < planted)
    said = tuple("bird 9" if struck else answer for struck, answer in zip(hit, rows.answered, strict=True))
    names = tuple(f"{seed}-{place}" for place in range(count))
    return replace(rows, answered=said, images=names, ids=names)


def test_a_planted_slice_is_found_and_said_in_words_with_its_worst_answers():
    found = weak_slices(world(planted=0.6)).found

    first = found[0]
    assert "camera = B" in first.words
    assert "brightness below 0." in first.words
    assert first.images >= first.confirmed_on >= 30
    assert first.error.low > first.elsewhere
    assert len(first.examples) == 12
    assert all(one.truth != one.answered and one.id == one.image_sha256 for one in first.examples)


def test_a_configured_column_alone_is_no_discovery():
    rows = world(seed=1)
    poor = tuple(
        "bird 9" if data["camera"] == "C" and place % 3 == 0 else answer
        for place, (answer, data) in enumerate(zip(rows.answered, rows.metadata, strict=True))
    )

    told = weak_slices(replace(rows, answered=poor)).found
    known = weak_slices(replace(rows, answered=poor), ("camera",)).found

    assert "camera = C" in {one.words for one in told}
    assert "camera = C" not in {one.words for one in known}


@pytest.mark.slow
def test_labels_without_a_weak_slice_give_none_in_at_least_ninety_five_of_a_hundred_audits():
    false = [bool(weak_slices(world(600, seed=seed)).found) for seed in range(100, 180)]

    # 5 % and two standard errors of 80 audits.
    assert np.mean(false) <= 0.098


def test_copies_lie_in_one_half_and_confirm_nothing():
    # 60 pictures, each ten times: whatever one half finds by chance, its copies would confirm for certain.
    false = [bool(weak_slices(repeated(world(60, seed=seed), 10)).found) for seed in range(20)]

    assert np.mean(false) <= 0.15


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (LabelledAnswers((), (), np.empty(0), ()), "not enough labels to look for weak slices: 0 of 120"),
        (world(100), "not enough labels to look for weak slices: 100 of 120"),
        (replace(world(200), answered=world(200).truth), "too few wrong answers"),
        (
            replace(world(200), statistics=np.full((200, len(NAMES)), np.nan), metadata=({},) * 200),
            "nothing is recorded",
        ),
        (replace(world(200), statistics=np.ones((200, len(NAMES)))), "slices looked weak"),
        (replace(world(200), images=("one",) * 200), "not enough different sessions"),
    ],
)
def test_what_cannot_be_sliced_is_said(rows, words):
    found = weak_slices(rows)

    assert found.found == ()
    assert words in found.words


def test_benjamini_hochberg_corrects_as_its_authors_do():
    assert benjamini_hochberg([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert benjamini_hochberg([]) == []
