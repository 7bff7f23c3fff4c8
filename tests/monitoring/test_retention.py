"""Which rows and images stay: the decision alone, and what it is made from."""

import hashlib
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from infra.clock import now
from infra.objects import ObjectMissing, open_objects
from infra.settings import load
from models.prediction import Label, Prediction
from monitoring.log.image_keeping import Pins, evict, gather_images
from monitoring.log.retention import Hold, ImageRecord, ImageRules, decide, first_day_kept, is_sampled
from monitoring.prediction_log import PredictionLog, image_key

NOW = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
ROOMY = ImageRules(days=14, sample=0.02, most_bytes=1e12)


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def image(number: int, days_old: float, *, size: int = 100, **facts: bool) -> ImageRecord:
    return ImageRecord(sha(number), size, NOW - timedelta(days=days_old), **facts)


OUT_OF_THE_SAMPLE = next(number for number in range(100) if not is_sampled(sha(number), 0.02))
IN_THE_SAMPLE = next(number for number in range(1000) if is_sampled(sha(number), 0.02))


def test_every_image_stays_for_its_days_and_then_a_sample_of_them():
    old = [image(number, 15) for number in range(5000)]
    young = [image(number, 13) for number in range(5000, 5500)]

    found = decide([*old, *young], ROOMY, NOW)

    assert found.kept[Hold.RECENT] == 500
    assert 60 <= found.kept[Hold.SAMPLED] <= 140  # 2 % of 5,000
    assert len(found.expired) == 5000 - found.kept[Hold.SAMPLED]
    assert found.capped == ()


def test_the_sample_is_the_same_every_day_and_grows_with_its_share():
    images = [sha(number) for number in range(3000)]
    small = {one for one in images if is_sampled(one, 0.02)}
    large = {one for one in images if is_sampled(one, 0.05)}

    assert small == {one for one in reversed(images) if is_sampled(one, 0.02)}
    assert small < large
    assert all(is_sampled(one, 1.0) for one in images)
    assert not any(is_sampled(one, 0.0) for one in images)


def test_the_sample_favours_no_class_and_no_sender():
    chance = np.random.default_rng(3)
    sender = chance.integers(0, 2, 20_000)
    chosen = np.array([is_sampled(sha(number), 0.1) for number in range(20_000)])

    shares = [chosen[sender == one].mean() for one in (0, 1)]

    assert abs(shares[0] - shares[1]) < 0.015


@pytest.mark.parametrize("facts", [{"labelled": True}, {"trained": True}, {"pinned": True}])
def test_what_was_labelled_or_trained_on_outlives_its_days(facts):
    without, held = (image(OUT_OF_THE_SAMPLE, 400, **given) for given in ({}, facts))

    assert decide([without], ROOMY, NOW).expired == (without,)
    assert decide([held], ROOMY, NOW).all == ()


def test_an_image_without_a_prediction_waits_a_week_for_it():
    found = decide([image(1, 6, named=False), image(2, 8, named=False)], ImageRules(0, 1.0, 1e12), NOW)

    assert [one.sha256 for one in found.expired] == [sha(2)]


def test_under_the_cap_the_least_needed_goes_first_and_the_oldest_of_its_kind():
    sampled = [image(IN_THE_SAMPLE, 30)]
    recent = [image(10_000, 3), image(10_001, 2)]
    trained = [image(10_002, 40, trained=True)]
    labelled = [image(10_003, 50, labelled=True), image(10_004, 1, labelled=True)]
    by_somebody = [image(10_005, 60, labelled=True, by_somebody=True)]
    pinned = [image(10_006, 90, pinned=True, labelled=True)]
    everything = [*pinned, *by_somebody, *labelled, *trained, *recent, *sampled]
    order = [*sampled, *recent, *trained, *labelled, *by_somebody]

    for fitting in range(len(everything) + 1):
        found = decide(everything, ImageRules(14, 0.02, 100.0 * fitting), NOW)

        assert found.capped == tuple(order[: len(everything) - fitting])
        assert found.over_bytes == (100 if fitting == 0 else 0)
        assert found.kept[Hold.PINNED] == 1


def test_what_the_champion_needs_stays_even_when_it_breaks_the_cap():
    found = decide([image(1, 90, size=700, pinned=True), image(2, 1, size=600)], ImageRules(14, 1.0, 500), NOW)

    assert [one.sha256 for one in found.capped] == [sha(2)]
    assert (found.kept_bytes, found.over_bytes) == (700, 200)


def test_zero_days_keep_every_image_as_long_as_the_cap_allows():
    found = decide([image(number, 4000) for number in range(50)], ImageRules(0, 0.0, 1000), NOW)

    assert found.expired == ()
    assert len(found.capped) == 40


def test_a_day_of_rows_goes_once_all_of_it_is_too_old():
    assert first_day_kept(0, NOW) is None
    assert first_day_kept(1, NOW) == "2026-11-20"
    assert first_day_kept(90, NOW) == "2026-08-23"


@pytest.fixture
def storage(tmp_path):
    return load(tmp_path, {}).storage


def answer(identifier: str, data: bytes, at: datetime) -> Prediction:
    return Prediction(
        identifier, at, 1, "cat", 0.9, (0.9, 0.1), None, (0.0,), hashlib.sha256(data).hexdigest(), 8, 8, "png",
        len(data), True,
    )  # fmt: skip


def test_the_records_join_what_the_store_holds_with_what_the_log_says(storage):
    log, objects = PredictionLog(storage), open_objects(storage)
    at = now()
    sent = {name: name.encode() * 10 for name in ("shown twice", "labelled", "by ada", "nobody's", "of the champion")}
    for data in sent.values():
        objects.put(image_key(hashlib.sha256(data).hexdigest()), data)
    objects.put("images/readme", b"not an image of ours")
    rows = [
        answer("1", sent["shown twice"], at - timedelta(days=9)),
        answer("2", sent["shown twice"], at - timedelta(days=1)),
        answer("3", sent["labelled"], at),
        answer("4", sent["by ada"], at),
        answer("5", sent["of the champion"], at),
        answer("6", b"its bytes were not kept", at),
    ]
    log.append_predictions("s-0", 1, list(enumerate(rows)))
    labels = [Label("3", "cat", at), Label("4", "cat", at, ""), Label("4", "dog", at, "ada"), Label("5", "cat", at)]
    log.append_labels("s-0", 1, list(enumerate(labels)))
    pins = Pins(needed=frozenset({hashlib.sha256(sent["of the champion"]).hexdigest()}))

    found = {record.sha256: record for record in gather_images(log, objects, pins)}

    def facts(name: str) -> tuple[bool, ...]:
        one = found[hashlib.sha256(sent[name]).hexdigest()]
        return one.named, one.labelled, one.by_somebody, one.pinned

    assert len(found) == 5
    assert facts("shown twice") == (True, False, False, False)
    assert facts("labelled") == (True, True, False, False)
    assert facts("by ada") == (True, True, True, False)
    assert facts("nobody's") == (False, False, False, False)
    assert facts("of the champion") == (True, True, False, True)
    twice = found[hashlib.sha256(sent["shown twice"]).hexdigest()]
    assert (twice.bytes, twice.seen_at) == (110, at - timedelta(days=1))


def test_without_the_champions_snapshot_what_was_labelled_before_it_counts_as_needed(storage):
    log, objects = PredictionLog(storage), open_objects(storage)
    at = now()
    for name in ("early", "late", "unlabelled"):
        objects.put(image_key(hashlib.sha256(name.encode()).hexdigest()), name.encode())
    log.append_predictions("s-0", 1, [(n, answer(name, name.encode(), at)) for n, name in enumerate(
        ("early", "late", "unlabelled"))])  # fmt: skip
    log.append_labels("s-0", 1, [(0, Label("early", "cat", at - timedelta(days=2))), (1, Label("late", "cat", at))])

    found = gather_images(log, objects, Pins(labelled_until=at - timedelta(days=1)))
    choosing = gather_images(log, objects, Pins(all_labelled=True))

    names = {hashlib.sha256(name.encode()).hexdigest(): name for name in ("early", "late", "unlabelled")}
    assert {names[one.sha256] for one in found if one.pinned} == {"early"}
    assert {names[one.sha256] for one in choosing if one.pinned} == {"early", "late"}


def test_an_evicted_image_is_gone_and_its_row_is_not(storage):
    log, objects = PredictionLog(storage), open_objects(storage)
    key = image_key(hashlib.sha256(b"old").hexdigest())
    objects.put(key, b"old")
    log.append_predictions("s-0", 1, [(0, answer("1", b"old", now() - timedelta(days=30)))])

    evict(objects, decide(gather_images(log, objects, Pins()), ImageRules(14, 0.0, 1e9), now()).all)

    with pytest.raises(ObjectMissing):
        objects.get(key)
    (row,) = log.recent(2)
    assert row.image_sha256 == hashlib.sha256(b"old").hexdigest()
