import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from models.prediction import Label, Prediction
from service.records import decode_label, decode_prediction, encode_label, encode_prediction
from service.spool import (
    LABEL,
    OPEN,
    PREDICTION,
    SEALED,
    SHIPPED,
    Frame,
    Spool,
    SpoolFull,
    SpoolLimits,
    borrowed,
    frames_of,
    highest,
    next_sequence,
    segments,
)

ROOMY = SpoolLimits(seal_s=3600, least_free_bytes=0)
A, B, C = (Frame(PREDICTION, text) for text in (b"first", b"second", b"third"))


def written(folder: Path) -> list[Frame]:
    paths = [*segments(folder, SEALED), *segments(folder, OPEN)]
    return [frame for path in paths for frame in frames_of(path)]


def test_what_was_written_is_read_back_in_order(tmp_path):
    spool = Spool(tmp_path, ROOMY)

    spool.write([A, B])
    spool.write([C], durable=True)
    spool.close()

    assert written(tmp_path / spool.slot) == [A, B, C]
    assert [path.name for path in segments(tmp_path / spool.slot, SEALED)] == ["000000000001.sealed"]


def test_an_idle_spool_makes_no_segments(tmp_path):
    spool = Spool(tmp_path, replace(ROOMY, seal_s=0.01))
    time.sleep(0.3)
    spool.close()

    assert written(tmp_path / spool.slot) == []
    assert highest(tmp_path / spool.slot) == 0


def test_a_segment_is_sealed_by_size_and_by_age(tmp_path):
    spool = Spool(tmp_path, SpoolLimits(seal_s=0.2, seal_bytes=20, least_free_bytes=0))

    spool.write([Frame(PREDICTION, b"x" * 50)])
    by_size = len(segments(tmp_path / spool.slot, SEALED))
    spool.write([A])
    deadline = time.monotonic() + 5
    while segments(tmp_path / spool.slot, OPEN) and time.monotonic() < deadline:
        time.sleep(0.02)

    assert by_size == 1
    assert len(segments(tmp_path / spool.slot, SEALED)) == 2
    spool.close()


@pytest.mark.parametrize("torn", [b"\x05", b"\xff\xff\xff\xff" + bytes(5), b"\x05\x00\x00\x00\x01\x02\x03\x04pfirst"])
def test_a_torn_or_damaged_tail_is_cut_off_and_the_rest_is_kept(tmp_path, torn):
    spool = Spool(tmp_path, ROOMY)
    spool.write([A, B])
    slot = tmp_path / spool.slot
    spool.close()
    sealed = segments(slot, SEALED)[0]
    abandoned = sealed.rename(sealed.with_suffix(OPEN))
    abandoned.write_bytes(abandoned.read_bytes() + torn)

    again = Spool(tmp_path, ROOMY)
    again.write([C])
    again.close()

    assert again.slot == spool.slot
    assert written(slot) == [A, B, C]
    assert [path.stem for path in segments(slot, SEALED)] == ["000000000001", "000000000002"]


def test_two_processes_never_share_a_slot_and_a_restart_gets_the_old_one(tmp_path):
    first, second = Spool(tmp_path, ROOMY), Spool(tmp_path, ROOMY)
    slots = (first.slot, second.slot)
    first.close()
    third = Spool(tmp_path, ROOMY)

    assert slots[0] != slots[1]
    assert third.slot == slots[0]
    third.close()
    second.close()


def test_two_homes_never_share_the_name_of_a_slot(tmp_path):
    one, other = Spool(tmp_path / "one", ROOMY), Spool(tmp_path / "other", ROOMY)

    assert one.slot != other.slot
    one.close()
    other.close()


def test_a_number_is_never_used_twice_even_when_everything_was_shipped(tmp_path):
    spool = Spool(tmp_path, ROOMY)
    spool.write([A])
    spool.close()
    sealed = segments(tmp_path / spool.slot, SEALED)[0]
    sealed.rename(sealed.with_suffix(SHIPPED))

    again = Spool(tmp_path, ROOMY)
    again.write([B])
    again.close()

    assert [path.stem for path in segments(tmp_path / spool.slot, SEALED)] == ["000000000002"]


def test_a_full_disk_keeps_nothing_of_what_does_not_fit(tmp_path):
    spool = Spool(tmp_path, replace(ROOMY, least_free_bytes=1 << 60))

    with pytest.raises(SpoolFull):
        spool.write([A])

    assert spool.full
    assert written(tmp_path / spool.slot) == []
    spool.close()


def test_a_slot_is_borrowed_only_while_nobody_writes_it(tmp_path):
    spool = Spool(tmp_path, ROOMY)
    with borrowed(tmp_path / spool.slot) as while_written:
        pass
    spool.close()
    with borrowed(tmp_path / spool.slot) as afterwards:
        pass

    assert (while_written, afterwards) == (False, True)


def test_a_killed_process_loses_no_frame_that_it_wrote(tmp_path):
    program = (
        "import sys; from pathlib import Path; from service.spool import *\n"
        "spool = Spool(Path(sys.argv[1]), SpoolLimits(3600, 10**9, 0))\n"
        "number = 0\n"
        "while True:\n"
        "    spool.write([Frame(PREDICTION, b'%d' % number)]); print(number, flush=True); number += 1\n"
    )
    house = Path(__file__).resolve().parents[2]
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, cwd=house)
    assert child.stdout is not None
    seen = [int(child.stdout.readline()) for _ in range(200)]
    os.kill(child.pid, signal.SIGKILL)
    seen += [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    child.wait()
    child.stdout.close()

    spool = Spool(tmp_path, ROOMY)
    kept = {int(frame.payload) for frame in written(tmp_path / spool.slot)}
    spool.close()

    assert set(seen) <= kept


def test_sequences_rise_even_when_the_clock_does_not(tmp_path):
    far = 9_999_999_999_999_999
    (tmp_path / "sequence").write_text(str(far))

    assert [next_sequence(tmp_path) for _ in range(3)] == [far + 1, far + 2, far + 3]


def test_a_prediction_survives_its_trip_through_bytes():
    sent = Prediction(
        id="é-1", at=datetime(2026, 11, 20, 1, 2, 3, 456789, tzinfo=UTC), model_version=2, label="Katze",
        confidence=0.5, probabilities=(0.5, 0.25, 0.25), embedding=np.arange(4, dtype=np.float32), statistics=(1.5,),
        image_sha256="00" * 32, image_width=3, image_height=2, image_format="png", image_bytes=99, image_kept=True,
        metadata={"camera": "Süd"}, repeated=True,
    )  # fmt: skip

    found = decode_prediction(encode_prediction(sent))

    assert found.embedding is not None
    assert list(found.embedding) == [0, 1, 2, 3]
    assert replace(found, embedding=None) == replace(sent, embedding=None)


def test_a_label_survives_its_trip_through_bytes():
    sent = Label("x", "ein Hund", datetime(2026, 11, 20, 1, 2, 3, 4, tzinfo=UTC), "ada", 77)

    assert decode_label(encode_label(sent)) == sent
    assert Frame(LABEL, encode_label(sent)).kind == LABEL
