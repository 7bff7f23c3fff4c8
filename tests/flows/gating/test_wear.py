"""Wear of the judge images: the oldest fifth makes room for new ones and never trains, and the ledger says so."""

from datetime import UTC, datetime, timedelta

import pytest

from flows.gating.judge_set import judge_set
from flows.gating.readings import READING, REPLACED, STREAM, readings
from flows.gating.wear import Aged, still_judging, to_retire
from infra.clock import new_id, now
from models.examples import Example
from models.prediction import Label, Prediction
from monitoring.prediction_log import image_key
from tests.flows.gating.opinions import judged_on, open_project

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def manifest(count: int, label: str = "dark") -> list[Aged]:
    return [Aged(Example(f"{label}{number}", label, "judge"), None) for number in range(count)]


def produced(count: int, after: timedelta, label: str = "dark", start: int = 0) -> list[Aged]:
    return [
        Aged(
            Example(f"images/{label}{start + number}", label, "judge", source="production"),
            NOON + after + timedelta(minutes=number),
        )
        for number in range(count)
    ]


def test_the_oldest_fifth_retires_after_ten_readings_when_as_many_new_ones_have_come():
    images = [*manifest(50), *produced(10, timedelta(hours=1))]

    until = to_retire(images, {}, readings=10, began=NOON)
    active = still_judging(images, until)

    assert len(active) == 50
    assert sum(one.source == "manifest" for one in active) == 40
    assert still_judging(images, until) == active


@pytest.mark.parametrize(("read", "new"), [(9, 10), (10, 9)])
def test_nothing_retires_before_ten_readings_or_without_new_images_to_take_the_place(read, new):
    images = [*manifest(50), *produced(new, timedelta(hours=1))]

    assert to_retire(images, {}, readings=read, began=NOON) == {}


def test_each_class_is_replaced_by_itself_and_the_next_time_the_next_oldest_go():
    images = [*manifest(50), *manifest(50, "light"), *produced(12, timedelta(hours=1))]

    first = to_retire(images, {}, readings=10, began=NOON)
    later = [*images, *produced(20, timedelta(days=1), start=100)]
    second = to_retire(later, first, readings=10, began=NOON + timedelta(hours=12))

    assert set(first) == set(second) == {"dark"}
    assert second["dark"] > first["dark"]
    left = still_judging(later, second)
    assert sum(one.label == "light" for one in left) == 50
    # 40 of the manifest and 12 newer ones were old by then: a fifth of 52, rounded up.
    assert sum(one.label == "dark" for one in left) == 40 + 12 - 11 + 20


def test_images_of_production_retire_by_the_time_of_their_label_after_those_of_the_manifest():
    images = [*produced(10, timedelta(days=-2)), *produced(10, timedelta(days=-1), start=50),
              *produced(9, timedelta(hours=1), start=90)]  # fmt: skip

    until = to_retire(images, {}, readings=10, began=NOON)
    gone = {one.example.image for one in images} - {one.image for one in still_judging(images, until)}

    assert gone == {f"images/dark{number}" for number in range(4)}


def arrive(place, count: int, at: datetime) -> list[Example]:
    """Labelled production images that judge, as a snapshot lists them."""
    made = []
    for number in range(count):
        content = f"{number:064x}"
        made.append(Prediction(
            id=new_id(at), at=at, model_version=1, label="dark", confidence=0.9, probabilities=(0.5, 0.5),
            embedding=None, statistics=(), image_sha256=content, image_width=8, image_height=8, image_format="png",
            image_bytes=9, image_kept=True, metadata={},
        ))  # fmt: skip
    place.log.append_predictions("p", 1, list(enumerate(made)))
    labels = [Label(one.id, "dark", at, "ann", sequence=number) for number, one in enumerate(made)]
    place.log.append_labels("l", 1, list(enumerate(labels)))
    return [Example(image_key(one.image_sha256), "dark", "judge", source="production") for one in made]


def test_a_worn_set_is_renewed_when_it_is_read_and_the_ledger_says_so(tmp_path):
    place = open_project(tmp_path / "project")
    old = [Example(tmp_path / f"{number}.png", "dark", "judge") for number in range(25)]
    for _ in range(10):
        place.ledger.append(STREAM, READING, {"old": {"fingerprint": "x"}, "recent": None})
    new = arrive(place, 6, now() + timedelta(minutes=1))

    found = judge_set(place, judged_on([*old, *new]))
    again = judge_set(place, judged_on([*old, *new]))

    assert (found.retired, len(found.old.examples)) == (5, 26)
    assert all(one in found.old.examples for one in new)
    assert again.old == found.old
    row = place.ledger.rows(STREAM)[-1]
    assert (row.kind, row.facts["readings"], row.facts["images"]) == (REPLACED, 10, {"dark": 5})
    assert readings(place.ledger).since_replaced == 0
    assert len(readings(place.ledger).rows) == 10


def test_a_retired_image_keeps_its_role_and_so_never_trains(tmp_path):
    from flows.collecting.collect import by_role

    images = [*manifest(50), *produced(10, timedelta(hours=1))]
    until = to_retire(images, {}, readings=10, began=NOON)
    retired = [one.example for one in images if one.example not in still_judging(images, until)]

    assert len(retired) == 10
    assert by_role(retired)["train"] == by_role(retired)["select"] == []
