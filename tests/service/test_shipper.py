import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from infra.clock import now
from infra.errors import UserError
from infra.files import write_atomically
from infra.objects import open_objects
from models.prediction import Label, Prediction
from monitoring.prediction_log import image_key
from service import commands
from service.records import encode_label, encode_prediction
from service.shipper import Shipper
from service.spool import DAMAGED, IMAGE, LABEL, PREDICTION, SEALED, SHIPPED, Frame, Spool, SpoolLimits
from tests.service.cards import Place

ROOMY = SpoolLimits(3600, 10**9, 0)
DIGEST = bytes(range(32))


def record(identifier: str) -> Prediction:
    return Prediction(
        id=identifier, at=now(), model_version=1, label="dark", confidence=1.0, probabilities=(1.0, 0.0),
        embedding=None, statistics=(0.5,), image_sha256=DIGEST.hex(), image_width=1, image_height=1,
        image_format="png", image_bytes=4, image_kept=True,
    )  # fmt: skip


def answered(identifier: str) -> Frame:
    return Frame(PREDICTION, encode_prediction(record(identifier)))


@pytest.fixture
def spool(place: Place):
    made = Spool(place.spool, ROOMY)
    yield made
    made.close()


def in_the_log(shipper: Shipper) -> Counter[str]:
    return Counter(row.id for row in shipper.log.new_predictions().rows)


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
