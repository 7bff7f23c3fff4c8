"""What the benchmark of serving makes of its measurements, and that it can measure at all."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from models.preprocessing import Preprocessing, decode_for, resize
from tests.benchmarks.serving_job import LARGE, SMALL, Photo, photo
from tests.benchmarks.serving_processes import running, seconds_until
from tests.benchmarks.serving_rivals import seen
from tests.benchmarks.serving_servers import BATCHABLE, OURS, REFERENCE, SHELL
from tests.benchmarks.serving_table import REASONS, Phase, Trial, client_bound, rows
from tests.benchmarks.table import Row

ROOT = Path(__file__).parents[2]


def trial(
    server: str, cpu_ms: float, *, round_: int = 0, workers: int = 1, failed: int = 0, busy: float = 0.2
) -> Trial:
    phase = Phase(100, failed, cpu_ms, 1000 / cpu_ms, 5.0, 9.0, busy, ("status 503",) * bool(failed))
    return Trial(server, workers, round_, 2.0, 1.0, 150.0, 180.0, {"small": phase, "50/s": phase}, 50.0)


def row(found: list[Row], what: str) -> Row:
    return next(each for each in found if each.what == what)


def test_goals_are_judged_by_ratios_to_the_rival_of_the_same_round():
    # The second round was twice as slow for everybody, which is nobody's merit and nobody's fault.
    servers = ((OURS, 0.65), (SHELL, 1.2), (REFERENCE, 0.5), (BATCHABLE, 2.0))
    found = rows([trial(name, ms * slow, round_=slow) for slow in (1, 2) for name, ms in servers])

    uvicorn = row(found, "small JPEG, 1 worker: cost ÷ reference's")
    assert uvicorn.ours.values == pytest.approx((1.3, 1.3))
    shell = row(found, "small JPEG, 1 worker: cost under BentoML ÷ reference's")
    assert (shell.ours.middle, shell.goal, shell.met, shell.reason) == (2.4, "≤ 2.3", False, "2.40 times")
    assert row(found, f"small JPEG, 1 worker: batchable's cost ÷ {OURS}").met is True
    cheaper = row(found, f"small JPEG, 1 worker: batchable's cost ÷ {SHELL}")
    assert (cheaper.met, cheaper.reason) == (False, REASONS[f"small JPEG, 1 worker: batchable's cost ÷ {SHELL}"])


@pytest.mark.parametrize(("ours_ms", "met"), [(0.64, True), (0.66, False)])
def test_a_goal_is_met_by_a_little_or_missed_by_a_little(ours_ms, met):
    found = rows([trial(OURS, ours_ms), trial(REFERENCE, 0.5)])

    assert row(found, "small JPEG, 1 worker: cost ÷ reference's").met is met


def test_a_round_without_the_reference_has_no_ratio():
    found = rows([trial(OURS, 0.5), trial(REFERENCE, 0.5), trial(OURS, 5.0, round_=1)])

    assert row(found, "small JPEG, 1 worker: cost ÷ reference's").ours.values == (1.0,)
    assert row(found, "small JPEG, 1 worker: cost").ours.values == (0.5, 5.0)


def test_one_and_two_workers_are_not_mixed():
    found = rows(
        [trial(OURS, 1.0), trial(REFERENCE, 1.0), trial(OURS, 3.0, workers=2), trial(REFERENCE, 1.0, workers=2)]
    )

    assert row(found, "small JPEG, 1 worker: cost ÷ reference's").met is True
    assert row(found, "small JPEG, 2 workers: cost ÷ reference's").met is False
    shares = [each for each in found if "busier" in each.what]
    assert [(each.what, each.ours.middle) for each in shares] == [
        ("2 workers: answers by the busier one, ours under uvicorn", 50.0)
    ]


def test_failures_are_counted_and_shown():
    failures = rows([trial(OURS, 1.0, failed=3), trial(OURS, 1.0, round_=1), trial(REFERENCE, 1.0)])[-1]

    assert failures.what == "failed or wrong, of 600 requests"
    assert (failures.ours.middle, failures.others[REFERENCE].middle) == (6.0, 0.0)


def test_callers_that_could_not_send_faster_are_named():
    assert client_bound([trial(OURS, 1.0, busy=0.95), trial(REFERENCE, 1.0)]) == [
        "ours (50/s JPEG, 1 worker)",
        "ours (small JPEG, 1 worker)",
    ]


@pytest.mark.parametrize("kind", [SMALL, LARGE], ids=lambda kind: kind.name)
def test_every_way_to_decode_gives_the_network_the_same_pixels(kind, tmp_path):
    wanted = Preprocessing(96, (0.5,) * 3, (0.5,) * 3)
    jpeg = photo(kind, seed=1)

    ours = resize(decode_for(jpeg, wanted).pixels, wanted)
    (tmp_path / "photo.jpg").write_bytes(jpeg)

    assert np.array_equal(seen(Image.open(tmp_path / "photo.jpg"), wanted), ours)


def test_numbered_photos_differ_as_files_and_not_as_pictures():
    picture = Photo(photo(SMALL, seed=1), "class-0")
    first, second = picture.numbered(1), picture.numbered(2)
    wanted = Preprocessing(96, (0.5,) * 3, (0.5,) * 3)

    assert first != second
    assert np.array_equal(decode_for(first, wanted).pixels, decode_for(picture.jpeg, wanted).pixels)


def test_the_cpu_time_of_a_tree_counts_grandchildren_and_those_that_ended(tmp_path):
    spend = "import time; [None for _ in iter(lambda: time.process_time() < 0.6, False)]"
    child = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {spend!r}]); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    with running([sys.executable, "-c", parent], {}, tmp_path, tmp_path / "log") as tree:
        seconds_until(lambda: tree.cpu_s() >= 0.6 and len(tree.members()) == 2, tree)
        members = tree.members()

    # Whoever adopts orphans here may bury them later.
    assert not [each for each in members if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_a_server_that_ends_says_why(tmp_path):
    words = "import sys; sys.exit('no port was free')"

    with (
        running([sys.executable, "-c", words], {}, tmp_path, tmp_path / "log") as tree,
        pytest.raises(RuntimeError, match="no port was free"),
    ):
        seconds_until(lambda: False, tree)


@pytest.mark.slow
def test_one_short_round_measures_ours_and_the_reference_and_leaves_nothing_behind():
    before = {process.pid for process in psutil.process_iter()}
    command = [sys.executable, "-m", "tests.benchmarks.serving", "--quick", "--requests", "60", "--workers", "1"]

    done = subprocess.run(
        [*command, "--only", OURS, REFERENCE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "| small JPEG, 1 worker: cost, CPU-ms per request |" in done.stdout
    failures = next(line for line in done.stdout.splitlines() if line.startswith("| failed or wrong"))
    assert failures.split("|")[2:4] == [" 0 ", " 0 "]
    after = [each for each in psutil.process_iter(["environ"]) if each.pid not in before]
    assert not [each for each in after if "bench-serving" in (each.info["environ"] or {}).get("KEDGE_ROOT", "")]
