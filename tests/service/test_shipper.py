import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from infra.clock import now
from infra.database import open_database
from infra.errors import UserError
from infra.files import write_atomically
from infra.forgettings import ask_to_forget
from infra.objects import ObjectMissing, open_objects
from models.prediction import Label, Prediction
from monitoring.prediction_log import image_key
from service import commands
from service.records import encode_label, encode_prediction
from service.segments import DAMAGED, IMAGE, LABEL, OPEN, PREDICTION, SEALED, SHIPPED, Frame
from service.shipper import Shipper, drain
from service.spool import Spool, SpoolLimits
from tests.service.cards import Place

ROOMY = SpoolLimits(3600, 10**9, 0)
DIGEST = bytes(range(32))


def record(identifier: str, digest: bytes = DIGEST) -> Prediction:
    return Prediction(
        id=identifier, at=now(), model_version=1, label="dark", confidence=1.0, probabilities=(1.0, 0.0),
        embedding=None, statistics=(0.5,), image_sha256=digest.hex(), image_width=1, image_height=1,
        image_format="png", image_bytes=4, image_kept=True,
    )  # fmt: skip


def answered(identifier: str, digest: bytes = DIGEST) -> Frame:
    return Frame(PREDICTION, encode_prediction(record(identifier, digest)))


def to_forget(place: Place, identifier: str) -> None:
    engine = open_database(place.settings.storage.database)
    ask_to_forget(engine, identifier, "ada")
    engine.dispose()


@pytest.fixture
def spool(place: Place):
    made = Spool(place.spool, ROOMY)
    yield made
    made.close()


def in_the_log(shipper: Shipper) -> Counter[str]:
    return Counter(row.id for row in shipper.log.recent(shipper.log.count()))


def files(place: Place, suffix: str) -> list[str]:
    return sorted(path.name for path in place.spool.glob(f"*/*{suffix}"))


def test_a_sealed_segment_goes_to_the_tables_and_its_images_to_the_store(place, spool):
    label = Label("a", "light", now(), "ada", 5)
    spool.write([Frame(IMAGE, DIGEST + b"data"), answered("a"), Frame(LABEL, encode_label(label))])
    spool.seal()
    shipper = Shipper(place.settings)

    shipped = (shipper.ship_all(), shipper.ship_all())

    assert shipped == (1, 0)
    assert in_the_log(shipper) == {"a": 1}
    assert shipper.log.new_labels().rows == (label,)
    assert open_objects(place.settings.storage).get(image_key(DIGEST.hex())) == b"data"
    assert (files(place, SEALED), files(place, SHIPPED)) == ([], ["000000000001.shipped"])
    shipper.close()


def test_what_a_worker_is_writing_is_left_alone_until_it_dies(place):
    writer = Spool(place.spool, ROOMY)
    writer.write([answered("a")])
    shipper = Shipper(place.settings)

    while_alive = shipper.ship_all()
    os.close(writer._lock_handle)  # as the kernel does for a process that was killed
    after_death = shipper.ship_all()

    assert (while_alive, after_death) == (0, 1)
    assert in_the_log(shipper) == {"a": 1}
    shipper.close()


def test_a_shipper_that_died_before_it_deleted_ships_the_segment_once(place, spool):
    spool.write([answered("a"), Frame(LABEL, encode_label(Label("a", "x", now())))])
    spool.seal()
    (path,) = place.spool.glob(f"*/*{SEALED}")
    data = path.read_bytes()
    shipper = Shipper(place.settings)
    shipper.ship_all()
    path.with_suffix(SHIPPED).unlink()
    path.write_bytes(data)

    shipper.ship_all()

    assert in_the_log(shipper) == {"a": 1}
    assert len(shipper.log.new_labels().rows) == 1
    shipper.close()


def test_numbers_go_on_after_everything_was_shipped(place):
    shipper = Shipper(place.settings)
    for name in ("a", "b", "c"):
        worker = Spool(place.spool, ROOMY)
        worker.write([answered(name)])
        worker.close()
        shipper.ship_all()

    assert in_the_log(shipper) == {"a": 1, "b": 1, "c": 1}
    assert files(place, SHIPPED) == ["000000000003.shipped"]
    shipper.close()


def test_while_the_store_is_away_nothing_is_lost(place, spool):
    spool.write([Frame(IMAGE, DIGEST + b"data"), answered("a")])
    spool.seal()
    objects = Path(place.settings.storage.home / "objects")
    write_atomically(objects, "a file where the folder should be")
    shipper = Shipper(place.settings)

    with pytest.raises(OSError, match="objects"):
        shipper.ship_all()
    waiting = files(place, SEALED)
    objects.unlink()
    shipper.ship_all()

    assert waiting == ["000000000001.sealed"]
    assert in_the_log(shipper) == {"a": 1}
    shipper.close()


def test_a_damaged_segment_gives_what_can_be_read_and_is_set_aside(place, spool):
    spool.write([answered("a"), answered("b")])
    spool.seal()
    (path,) = place.spool.glob(f"*/*{SEALED}")
    path.write_bytes(path.read_bytes()[:-10] + bytes(10))
    shipper = Shipper(place.settings)

    shipper.ship_all()

    assert in_the_log(shipper) == {"a": 1}
    assert files(place, DAMAGED) == ["000000000001.damaged"]
    assert shipper.ship_all() == 0
    shipper.close()


def test_one_shipper_serves_a_home(place):
    first = Shipper(place.settings)

    with pytest.raises(UserError, match="Another shipper is moving the predictions"):
        Shipper(place.settings)

    first.close()
    Shipper(place.settings).close()


def test_the_tables_are_tidied_after_many_segments(place):
    shipper = Shipper(place.settings)
    for number in range(1, 52):
        shipper.log.append_predictions("s-0", number, [(0, record(f"{number}"))])

    shipper.tidy()

    frame = shipper.log.predictions.scan()
    assert frame is not None
    assert frame.explain().count(".parquet") == 1
    assert shipper.log.count() == 51
    shipper.close()


def test_a_second_shipper_process_leaves_with_a_clear_word(place):
    first = Shipper(place.settings)
    argv = [sys.executable, "-m", "service.shipper"]

    done = subprocess.run(
        argv, env=commands.environment(place.settings), cwd=place.base, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith("Another shipper is moving the predictions of ")
    first.close()


def test_what_is_being_forgotten_goes_nowhere_and_its_neighbours_go_as_ever(place, spool):
    own, shared = (hashlib.sha256(name).digest() for name in (b"own", b"shared"))
    spool.write([Frame(IMAGE, own + b"own picture"), answered("ada", own)])
    spool.write([Frame(IMAGE, shared + b"shared picture"), answered("ada", shared), answered("ben", shared)])
    spool.write([Frame(LABEL, encode_label(Label(name, "light", now(), "", 5))) for name in ("ada", "ben")])
    spool.seal()
    to_forget(place, "ada")
    shipper = Shipper(place.settings)

    shipper.ship_all()

    assert in_the_log(shipper) == {"ben": 1}
    assert [label.id for label in shipper.log.new_labels().rows] == ["ben"]
    assert shipper.objects.get(image_key(shared.hex())) == b"shared picture"
    with pytest.raises(ObjectMissing):
        shipper.objects.get(image_key(own.hex()))
    assert shipper.log.predictions.scan().select("position").collect()["position"].to_list() == [4]
    shipper.close()


def test_what_is_asked_for_while_the_shipper_runs_counts_from_the_next_segment_on(place, spool):
    shipper = Shipper(place.settings)
    for number, name in enumerate(("ada", "ben", "ada")):
        spool.write([answered(name)])
        spool.seal()
        if number == 2:
            to_forget(place, "ada")
        shipper.ship_all()

    assert Counter(shipper.log.predictions.scan().select("id").collect()["id"].to_list()) == {"ada": 1, "ben": 1}
    shipper.close()


def test_without_the_database_shipping_goes_on(place, spool):
    spool.write([answered("a")])
    spool.seal()
    shipper = Shipper(place.settings)
    database = Path(place.settings.storage.home / "kedge.db")
    database.mkdir(parents=True)

    assert shipper.ship_all() == 1
    shipper.close()


def test_a_store_that_is_away_is_said_once_and_so_is_its_return(place, spool, caplog):
    spool.write([Frame(IMAGE, DIGEST + b"data"), answered("a")])
    spool.seal()
    objects = Path(place.settings.storage.home / "objects")
    write_atomically(objects, "a file where the folder should be")
    shipper = Shipper(place.settings)

    with caplog.at_level(logging.INFO, "service.shipper"):
        outcomes = [shipper._try() for _ in range(5)]
        said = [row.message for row in caplog.records if row.levelno >= logging.WARNING]
        objects.unlink()
        outcomes.append(shipper._try())
        outcomes.append(shipper._try())

    assert outcomes == [False] * 5 + [True, True]
    assert [words.partition(";")[0] for words in said] == ["shipping failed"]
    warned = [row.message for row in caplog.records if row.levelno >= logging.WARNING][1:]
    assert [words.startswith("shipping works again after") for words in warned] == [True]
    assert "1 segments that had waited were shipped" in warned[0]
    assert in_the_log(shipper) == {"a": 1}
    shipper.close()


@pytest.mark.slow
def test_shippers_of_two_homes_that_race_for_the_same_tables_ship_every_answer_once(place, tmp_path):
    homes = [place.settings, *_other_homes(place, 2)]
    spools = [Spool(settings.storage.home / "spool", ROOMY) for settings in homes]
    shippers = [Shipper(settings) for settings in homes]
    start = threading.Barrier(len(homes))

    def ship(number: int) -> None:
        start.wait()
        for segment in range(12):
            spools[number].write([answered(f"{number}-{segment}-{row}") for row in range(3)])
            spools[number].seal()
            (path,) = spools[number].folder.glob(f"*{SEALED}")
            data = path.read_bytes()
            _until_it_works(shippers[number])
            if segment % 3 == 0:  # as if it had died before it deleted the segment
                path.with_suffix(SHIPPED).unlink()
                path.write_bytes(data)
                _until_it_works(shippers[number])

    racers = [threading.Thread(target=ship, args=(number,)) for number in range(len(homes))]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    expected = {f"{number}-{segment}-{row}": 1 for number in range(3) for segment in range(12) for row in range(3)}
    found = shippers[0].log.predictions.scan().select("id").collect()["id"].to_list()
    assert Counter(found) == expected
    for each in (*shippers, *spools):
        each.close()


def _other_homes(place: Place, count: int) -> list:
    storage = place.settings.storage
    return [
        replace(place.settings, storage=replace(storage, home=storage.home.with_name(f"home-{number}")))
        for number in range(count)
    ]


def _until_it_works(shipper: Shipper) -> None:
    for _ in range(50):
        if shipper._try():
            return
    raise AssertionError("it never worked")


def test_a_tail_that_cannot_be_read_is_cut_off_and_kept(place):
    writer = Spool(place.spool, ROOMY)
    writer.write([answered("a")])
    (path,) = place.spool.glob(f"*/*{OPEN}")
    whole = path.read_bytes()
    writer.write([answered("b"), answered("c")])
    data = bytearray(path.read_bytes())
    data[len(whole) + 20] ^= 0xFF  # a bad sector, with a whole record behind it
    path.write_bytes(data)
    os.close(writer._lock_handle)
    shipper = Shipper(place.settings)

    shipper.ship_all()

    assert in_the_log(shipper) == {"a": 1}
    assert path.with_suffix(DAMAGED).read_bytes() == bytes(data[len(whole) :])
    shipper.close()


def run_drain(place: Place) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service.shipper", "--drain"],
        env=commands.environment(place.settings), cwd=place.base, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


def test_a_drain_ships_what_is_there_when_nobody_else_does(place, spool):
    spool.write([answered("a")])
    spool.seal()

    done = run_drain(place)

    assert (done.returncode, done.stdout) == (0, "1 segments to go\n"), done.stderr
    shipper = Shipper(place.settings)
    assert in_the_log(shipper) == {"a": 1}
    shipper.close()


@pytest.mark.slow
def test_a_drain_waits_for_the_shipper_that_is_at_work_and_for_what_is_still_being_written(place, spool):
    running = place.start(commands.shipper(place.settings))
    spool.write([answered("a")])
    sealing = threading.Timer(3, spool.seal)
    sealing.start()

    done = run_drain(place)

    assert done.returncode == 0, done.stderr
    assert files(place, OPEN) == files(place, SEALED) == []
    running.send_signal(signal.SIGTERM)
    running.wait(60)
    shipper = Shipper(place.settings)
    assert in_the_log(shipper) == {"a": 1}
    shipper.close()


def test_a_drain_takes_what_is_being_forgotten_out_of_damaged_files(place, spool):
    spool.seal()
    (slot,) = (path.parent for path in place.spool.glob("*/lock"))
    for number, name in ((7, 'a"da'), (8, "ben")):
        (slot / f"{number:012d}{DAMAGED}").write_bytes(b"torn" + answered(name).payload + b"torn")
    to_forget(place, 'a"da')

    done = run_drain(place)

    assert done.returncode == 0, done.stderr
    assert files(place, DAMAGED) == ["000000000008.damaged"]


def test_a_drain_with_an_address_that_is_none_says_so_instead_of_waiting(place, spool):
    spool.write([answered("a")])
    spool.seal()
    storage = replace(place.settings.storage, objects="ftp://elsewhere")

    with pytest.raises(UserError, match=r"storage\.objects is 'ftp://elsewhere'"):
        drain(replace(place.settings, storage=storage))


def test_a_drain_that_cannot_ship_says_why_and_keeps_everything(place, spool):
    spool.write([Frame(IMAGE, DIGEST + b"data"), answered("a")])
    spool.seal()
    write_atomically(Path(place.settings.storage.home / "objects"), "a file where the folder should be")

    done = run_drain(place)

    assert done.returncode == 1
    assert "The spool could not be shipped" in done.stderr
    assert files(place, SEALED) == ["000000000001.sealed"]
