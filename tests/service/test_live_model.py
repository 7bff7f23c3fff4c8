"""The line-up follows the pointers: what is held ready, what is let go, what is refused and written down."""

import errno
import gc
import json
import time
from dataclasses import replace

import psutil
import pytest

from infra.files import sha256_of
from infra.ledger import Ledger
from infra.workers import live_workers
from models.runtime import Runtime
from service.live_model import LiveModel
from tests.service.cards import write_candidate


@pytest.fixture
def live(place):
    made = LiveModel(place.settings, "slot-0")
    yield made
    made.close()


@pytest.fixture
def opened(monkeypatch):
    """The folders that were loaded, in order."""
    folders: list[str] = []
    load = Runtime.open.__func__

    def counted(cls, folder, **options):
        folders.append(folder.name)
        return load(cls, folder, **options)

    monkeypatch.setattr(Runtime, "open", classmethod(counted))
    return folders


def promote(place, live, version):
    place.registry.champions.promote(version, actor="test", reason="test")
    live.look()


def test_going_back_to_the_champion_before_loads_nothing(place, live, opened):
    for sharpness in (8.0, 6.0, 4.0):
        place.version(sharpness=sharpness)
    for version in (1, 2, 3):
        promote(place, live, version)

    place.registry.champions.rollback(actor="test", reason="worse")
    live.look()

    assert opened == ["1", "2", "3"]
    assert live.current is not None
    assert live.current.version == 2
    assert live.resident == (2, 3)


def test_a_worker_that_starts_later_holds_the_champion_before_as_well(place, live, opened):
    for sharpness in (8.0, 6.0):
        place.champion(sharpness=sharpness)

    live.look()

    assert (live.current and live.current.version, opened, live.resident) == (2, ["2", "1"], (1, 2))


def test_a_champion_before_that_is_lost_does_not_keep_the_new_one_from_answering(place, live):
    for sharpness in (8.0, 6.0):
        place.champion(sharpness=sharpness)
    (place.settings.storage.home / "objects/models/cards/1/model.onnx").unlink()

    live.look()
    live.look()

    assert (live.current and live.current.version, live.error, live.resident) == (2, None, (2,))


def test_a_refusal_is_written_into_the_ledger_once(place, live):
    place.champion()
    live.look()
    bad = place.version(sharpness=2.0)
    (place.settings.storage.home / f"objects/models/cards/{bad}/model.onnx").write_bytes(b"damaged")

    promote(place, live, bad)
    for _ in range(3):
        time.sleep(0.6)  # it tries again after a second
        live.look()

    (row,) = Ledger(place.registry.engine).rows("serving")
    assert (row.kind, row.facts["version"], row.facts["worker"]) == ("refused", 2, "slot-0")
    assert "corrupt" in row.facts["reason"]
    assert (live.current and live.current.version) == 1


def test_a_model_that_answers_otherwise_than_when_it_was_judged_is_refused(place, live):
    place.champion()
    live.look()
    folder = write_candidate(place.base / "other", sharpness=2.0)
    other = write_candidate(place.base / "another", sharpness=2.2)
    # Whole by every hash, yet not the network that gave the golden answers.
    record = json.loads((folder / "artifact.json").read_text())
    (folder / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    record["onnx_sha256"] = sha256_of(folder / "model.onnx")
    (folder / "artifact.json").write_text(json.dumps(record))
    version = place.registry.register(folder, reason="test", parent_version=None).version

    promote(place, live, version)

    assert live.error is not None
    assert "does not answer on this machine as it did when it was judged" in live.error
    assert (live.current and live.current.version, live.resident) == (1, (1,))


def test_a_provider_that_is_not_there_is_named_and_nothing_runs_on_another(place):
    place.champion()
    settings = replace(place.settings, serve=replace(place.settings.serve, provider="cuda"))
    live = LiveModel(settings, "slot-0")

    live.look()

    assert live.lineup is None
    assert "onnxruntime-gpu" in (live.error or "")
    live.close()


def test_a_worker_starts_from_its_mirror_while_the_database_is_away(place, live):
    place.champion()
    live.look()
    place.registry.engine.dispose()
    live.close()
    database = place.settings.storage.home / "kedge.db"
    database.rename(database.with_suffix(".away"))
    database.mkdir()

    other = LiveModel(place.settings, "slot-1")
    other.look()

    assert (other.current and other.current.version, other.lineup and other.lineup.canary) == (1, None)
    other.close()


def test_a_worker_starts_from_what_it_fetched_while_the_store_is_away(place, live):
    place.champion()
    live.look()
    objects = place.settings.storage.home / "objects"
    objects.rename(objects.with_suffix(".away"))

    other = LiveModel(place.settings, "slot-1")
    other.look()

    assert (other.current and other.current.version, other.error) == (1, None)
    other.close()


def test_what_was_fetched_and_then_damaged_is_not_taken_for_the_store(place, live):
    place.champion()
    live.look()
    home = place.settings.storage.home
    (home / "objects").rename(home / "objects.away")
    (home / "serving/cards/1/model.onnx").write_bytes(b"damaged")

    other = LiveModel(place.settings, "slot-1")
    other.look()

    assert other.lineup is None
    assert "lacks model.onnx" in (other.error or "")
    other.close()


def test_a_database_that_takes_no_rows_is_told_of_every_two_seconds_and_not_at_every_look(place, live, caplog):
    place.champion()
    with place.registry.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER no_room BEFORE INSERT ON serving_workers BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )

    for _ in range(5):
        live.look()

    assert (live.current and live.current.version) == 1
    assert [record.levelname for record in caplog.records if "could not sign in" in record.message] == ["WARNING"]


def test_a_disk_without_room_for_the_mirror_hides_no_swap(place, monkeypatch):
    told = []
    live = LiveModel(place.settings, "slot-0", on_change=lambda live: told.append(live.current.version))
    place.champion()
    live.look()

    def full(*_):
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr("service.live_model.write_mirror", full)
    promote(place, live, place.version(sharpness=6.0))

    assert told == [1, 2]
    assert [worker.version for worker in live_workers(place.registry.engine, "cards")] == [2]
    live.close()


@pytest.mark.slow
def test_fifty_swaps_of_a_heavy_model_leave_the_memory_where_it_was(place, live):
    megabytes, versions = 6, 10
    for number in range(versions):
        folder = write_candidate(place.base / f"heavy-{number}", sharpness=4.0 + number, ballast_mb=megabytes)
        place.registry.register(folder, reason="test", parent_version=None)

    def resident_mb():
        gc.collect()
        return psutil.Process().memory_info().rss / 1e6

    for version in (1, 2, 3):
        promote(place, live, version)
    before = resident_mb()
    for swap in range(50):
        promote(place, live, swap % versions + 1)
    after = resident_mb()

    # Two are held all the time; if nothing were let go, it would be ten of them, or fifty.
    assert live.current is not None
    assert after - before < 2 * megabytes, f"{before:.0f} MB before, {after:.0f} MB after 50 swaps"
