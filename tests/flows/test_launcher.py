"""The launcher with a real child process that writes progress as a trainer does."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from flows import launcher
from infra.errors import UserError

TRAINER = """
import json, subprocess, sys, time
from pathlib import Path
run_dir = Path(sys.argv[sys.argv.index("--run-dir") + 1])
mode = (run_dir / "mode").read_text()
helper = subprocess.Popen(["sleep", "600"])
(run_dir / "pids").write_text(f"{__import__('os').getpid()} {helper.pid}")
with (run_dir / "progress.jsonl").open("a") as progress:
    for epoch in range(1, 4):
        progress.write(json.dumps({"stage": 0, "stage_name": "head", "epoch": epoch, "epochs": 3, "extra": 1}) + "\\n")
        progress.flush()
        time.sleep(0.05)
    if mode == "half":
        progress.write('{"stage": 1, "epo')
if mode == "fail":
    print("no such file: 7.png", file=sys.stderr)
    sys.exit(3)
if mode == "wait":
    time.sleep(600)
helper.kill()
"""


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "tiny_trainer.py").write_text(TRAINER)
    monkeypatch.setenv("PYTHONPATH", str(modules))
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def pids(run_dir):
    deadline = time.monotonic() + 30
    while not (run_dir / "pids").exists() or not (run_dir / "pids").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(pid) for pid in (run_dir / "pids").read_text().split()]


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def run_tiny(run_dir, mode, told):
    (run_dir / "mode").write_text(mode)
    tail = launcher.Tail(run_dir / "progress.jsonl", told)
    launcher.run("tiny_trainer", run_dir, run_dir / "train.log", tail.read_on)


def test_every_whole_line_of_progress_is_told_and_half_a_line_is_not(run_dir):
    told = []

    run_tiny(run_dir, "half", told.append)

    assert [(line.stage_name, line.epoch, line.epochs) for line in told] == [("head", n, 3) for n in (1, 2, 3)]
    assert told[0].loss is None


def test_a_job_that_goes_on_tells_only_what_is_new(run_dir):
    told = []
    (run_dir / "progress.jsonl").write_text('{"stage": 0, "epoch": 1}\n{"stage": 0, "ep')

    run_tiny(run_dir, "done", told.append)

    assert [line.epoch for line in told] == [1, 2, 3]


def test_a_remark_is_told_and_what_a_newer_trainer_says_besides_is_left_out(run_dir):
    told = []
    lines = [
        '{"kind": "remark", "words": "from scratch"}',
        '{"kind": "epoch", "stage": 1, "eta_s": 2.5, "new": {}}',
        "[]",
    ]
    tail = launcher.Tail(run_dir / "progress.jsonl", told.append)

    (run_dir / "progress.jsonl").write_text("".join(f"{line}\n" for line in lines))
    tail.read_on()

    assert [(line.kind, line.words, line.stage, line.eta_s) for line in told] == [
        ("remark", "from scratch", None, None),
        ("epoch", None, 1, 2.5),
    ]


RANKS = """
import os, sys
from pathlib import Path
run_dir = Path(sys.argv[sys.argv.index("--run-dir") + 1])
(run_dir / f"rank{os.environ['RANK']}").write_text(os.environ["WORLD_SIZE"])
if (run_dir / "mode").exists():
    print("train.devices is 2, but there is 1 GPU", file=sys.stderr)
    sys.exit(1)
"""


@pytest.mark.slow
def test_several_devices_are_as_many_processes_and_their_own_words_are_what_a_person_reads(run_dir, tmp_path):
    (tmp_path / "modules" / "ranks.py").write_text(RANKS)

    launcher.run("ranks", run_dir, run_dir / "train.log", devices=2)

    assert {path.name: path.read_text() for path in run_dir.glob("rank*")} == {"rank0": "2", "rank1": "2"}
    (run_dir / "mode").write_text("refuse")
    with pytest.raises(UserError) as raised:
        launcher.run("ranks", run_dir, run_dir / "train.log", devices=2)
    assert str(raised.value) == "train.devices is 2, but there is 1 GPU"


def test_a_failing_trainer_is_explained_by_the_end_of_its_log(run_dir):
    with pytest.raises(UserError) as raised:
        run_tiny(run_dir, "fail", lambda line: None)

    assert str(raised.value) == (
        f"tiny_trainer failed with exit code 3 in {run_dir}. Its checkpoint is kept; "
        f"the end of {run_dir / 'train.log'}:\nno such file: 7.png"
    )
    assert not any(alive(pid) for pid in pids(run_dir))


@pytest.mark.parametrize("ends", ["os.kill(os.getpid(), 9)", "sys.exit(143)"])
def test_a_trainer_that_was_killed_from_outside_is_told_from_one_that_failed(run_dir, tmp_path, ends):
    (tmp_path / "modules" / "killed.py").write_text(f"import os, sys\nprint('step 3', flush=True)\n{ends}")
    name = "SIGKILL" if "9" in ends else "SIGTERM"

    with pytest.raises(launcher.Killed) as raised:
        launcher.run("killed", run_dir, run_dir / "train.log")

    assert str(raised.value) == (
        f"killed was killed by {name} in {run_dir}. Its checkpoint is kept; the end of {run_dir / 'train.log'}:\nstep 3"
    )


def test_a_trainer_that_aborts_by_itself_has_failed_and_was_not_killed(run_dir, tmp_path):
    (tmp_path / "modules" / "aborts.py").write_text("import os\nos.abort()")

    with pytest.raises(UserError, match="aborts failed with SIGABRT") as raised:
        launcher.run("aborts", run_dir, run_dir / "train.log")

    assert not isinstance(raised.value, launcher.Killed)


@pytest.mark.slow
def test_one_killed_process_of_several_counts_as_killed(run_dir, tmp_path):
    script = "import os, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\ntime.sleep(600)"
    (tmp_path / "modules" / "ranks.py").write_text(script)

    with pytest.raises(launcher.Killed, match="ranks was killed by SIGKILL"):
        launcher.run("ranks", run_dir, run_dir / "train.log", devices=2)


def test_a_listener_that_raises_does_not_stop_the_work(run_dir, caplog):
    def stumble(line):
        raise ValueError(line.epoch)

    run_tiny(run_dir, "done", stumble)

    assert "A line of progress could not be shown" in caplog.text


def test_an_interrupted_caller_leaves_no_trainer_behind(run_dir):
    (run_dir / "mode").write_text("wait")

    def interrupt():
        if (run_dir / "pids").exists() and (run_dir / "pids").read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launcher.run("tiny_trainer", run_dir, run_dir / "train.log", interrupt)

    assert not any(alive(pid) for pid in pids(run_dir))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_trainer_does_not_outlive_a_caller_that_was_killed(run_dir, number):
    (run_dir / "mode").write_text("wait")
    call = "import sys; from pathlib import Path; from flows import launcher; d = Path(sys.argv[1]); "
    call += "launcher.run('tiny_trainer', d, d / 'train.log')"
    caller = subprocess.Popen([sys.executable, "-c", call, str(run_dir)])
    trainer = pids(run_dir)
    assert all(alive(pid) for pid in trainer)

    os.kill(caller.pid, number)
    caller.wait()

    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in trainer):
        assert time.monotonic() < deadline
        time.sleep(0.05)
