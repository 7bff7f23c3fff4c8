import contextlib
import errno
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

from infra.clock import new_id, time_of_id
from models.prediction import Label, Prediction
from service.records import decode_label, decode_prediction, encode_label, encode_prediction
from service.segments import (
    LABEL,
    OPEN,
    PREDICTION,
    SEALED,
    SHIPPED,
    Frame,
    frames_of,
    highest,
    segments,
    waiting_bytes,
    whole_bytes,
)
from service.sequence import next_sequence
from service.slots import borrowed
from service.spool import Spool, SpoolFull, SpoolLimits

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
        "import sys; from pathlib import Path; from service.segments import *; from service.spool import *\n"
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


def test_a_number_that_a_power_cut_wiped_out_is_given_anew(tmp_path):
    (tmp_path / "sequence").write_bytes(bytes(20))

    first = next_sequence(tmp_path)

    assert next_sequence(tmp_path) > first >= time.time_ns() // 1000 - 5_000_000


def test_a_segment_that_cannot_be_renamed_stays_the_one_that_is_written(tmp_path, monkeypatch):
    spool = Spool(tmp_path, replace(ROOMY, seal_bytes=1))
    rename = Path.rename
    room = [False, True]

    def once_full(path, target):
        if not room.pop(0):
            raise OSError(errno.ENOSPC, "no room for a longer name")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", once_full)

    spool.write([A])
    spool.write([B])
    spool.close()

    # A later one would be shipped first, and this one then taken for shipped.
    assert [path.name for path in segments(spool.folder, SEALED)] == ["000000000001.sealed"]
    assert written(spool.folder) == [A, B]


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


def eventually(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_a_spool_that_nobody_ships_is_full_over_all_its_slots_and_says_what_to_look_at(tmp_path):
    capped = replace(ROOMY, most_bytes=2_000, seal_bytes=500)
    one, other = Spool(tmp_path, capped), Spool(tmp_path, capped)
    one.write([Frame(PREDICTION, b"x" * 1_200)])
    other.write([Frame(PREDICTION, b"x" * 400)])
    one.write([Frame(PREDICTION, b"x" * 600)])

    eventually(lambda: one.full and other.full)
    with pytest.raises(SpoolFull) as refused:
        other.write([A])
    for slot in (one.slot, other.slot):
        for path in segments(tmp_path / slot, SEALED):
            path.unlink()  # as the shipper does
    eventually(lambda: not one.full and not other.full)
    other.write([A])

    assert str(refused.value) == (
        f"{tmp_path} holds 2,000 bytes or more that were not shipped (serve.most_spool_mb); "
        "is the shipper running, and the object store there?"
    )
    assert waiting_bytes(tmp_path) < 2_000
    assert written(tmp_path / other.slot)[-1] == A
    one.close()
    other.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte, or a skip that says what is missing."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system could be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_disk_that_is_truly_full_frames_are_kept_whole_or_not_at_all(small_disk):
    spool = Spool(small_disk, replace(ROOMY, seal_bytes=100_000))
    kept, refused = [], 0
    next_sequence(small_disk)
    for number in range(40):
        frame = Frame(PREDICTION, b"%d " % number * 15_000)
        try:
            spool.write([frame], durable=number % 2 == 0)
            kept.append(frame)
        except SpoolFull:
            refused += 1
    slot = small_disk / spool.slot
    ballast = small_disk / "ballast"
    while_full = written(slot)
    # The little that was left is taken too.
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        file.write(b"x" * 2_000_000)

    segments(slot, SEALED)[0].unlink()  # shipped
    ballast.unlink()
    eventually(lambda: not spool.full)
    spool.write([C])
    spool.close()

    assert refused > 0
    assert while_full == kept
    assert written(slot)[-1] == C
    # Nothing torn: every segment is read to its last byte.
    assert all(whole_bytes(path) == path.stat().st_size for path in segments(slot, SEALED))


def test_a_disk_without_a_free_byte_gives_no_number_instead_of_a_wrong_one(small_disk):
    spool = Spool(small_disk, ROOMY)
    with (small_disk / "ballast").open("wb") as file, contextlib.suppress(OSError):
        file.write(b"x" * 2_000_000)

    with pytest.raises(SpoolFull, match="No space left"):
        next_sequence(small_disk)
    with pytest.raises(SpoolFull):
        spool.write([Frame(PREDICTION, b"x" * 100_000)])
    (small_disk / "ballast").unlink()
    eventually(lambda: not spool.full)
    spool.write([A])

    assert next_sequence(small_disk) > 0
    spool.close()
    assert written(small_disk / spool.slot) == [A]


def test_a_clock_that_jumps_back_breaks_neither_sealing_nor_ids_nor_sequences(tmp_path, monkeypatch):
    clock = {"now": datetime(2026, 11, 21, 12, tzinfo=UTC)}

    class Jumping(datetime):
        @classmethod
        def now(cls, tz=None):
            return clock["now"]

    monkeypatch.setattr("infra.clock.datetime", Jumping)
    monkeypatch.setattr(time, "time_ns", lambda: int(clock["now"].timestamp() * 1e9))
    monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9)
    spool = Spool(tmp_path, replace(ROOMY, seal_s=0.3))
    ids, sequences = [new_id()], [next_sequence(tmp_path)]

    spool.write([A])
    clock["now"] = datetime(2011, 11, 21, 12, tzinfo=UTC)
    spool.write([B])
    ids += [new_id() for _ in range(100)]
    sequences += [next_sequence(tmp_path) for _ in range(100)]
    slot = tmp_path / spool.slot
    eventually(lambda: segments(slot, SEALED) and not segments(slot, OPEN))
    spool.write([C])
    spool.close()

    assert len(set(ids)) == 101
    assert time_of_id(ids[-1]).year == 2011  # an id tells what the clock said, wrong as it was
    assert sequences == sorted(set(sequences))
    assert written(slot) == [A, B, C]
