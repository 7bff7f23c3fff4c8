"""Where a training job runs: here, as child processes that need nothing but the run directory."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from flows import process_groups
from flows.leash import Leash
from infra import logs
from infra.errors import UserError

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.2
# A trainer that is asked to stop ends its step and writes a checkpoint.
_PATIENCE_S = 8.0
# How the modules end on a mistake that a person can put right; an uncaught exception ends them so, too.
_USER_ERROR = 1
# Signals that come from outside: from a person, the machine going down, a disk that went away, or from the kernel when
# memory runs out. The others are a process's own mistakes, and would be made again.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGBUS)
# Its account of a process that failed begins so, as "E0314 15:09:26.535 …"; its notes with a W, or with stars.
_TORCHRUN = re.compile(r"^E\d{4} \d\d:\d\d:.*torch/distributed/elastic", re.MULTILINE)
# Of the process that failed first: the others it ends by a signal itself.
_TORCHRUN_CODE = re.compile(r"Root Cause.*?exitcode\s*:\s*(-?\d+)", re.DOTALL)
_TORCHRUN_NOTES = re.compile(r"[WI]\d{4} \d\d:\d\d:|\*{5}")


class Killed(UserError):
    """A process was ended from outside, not by its own doing: the same work may well succeed when it goes on."""


@dataclass(frozen=True)
class ProgressLine:
    """
    One line of `progress.jsonl`; what a line leaves out is None.

    Attributes:
        kind: "epoch", or "remark" with its `words`.
        stage: Counts from 0, of `stages`.
        epoch, epochs: Count from 1; the most epochs this stage can have.
        select_macro_recall, select_accuracy: On the *select* images, 0..1.
        metric, value, best_so_far: What decides, on the *select* images; more is better.
        source: What the stage's batches come from: the whole network, or a cache of what is frozen.
        seconds: Since the job began.
        eta_s: Seconds to the end of this stage at the latest.
    """

    at: str | None = None
    kind: str | None = None
    words: str | None = None
    stage: int | None = None
    stages: int | None = None
    stage_name: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    loss: float | None = None
    select_loss: float | None = None
    select_macro_recall: float | None = None
    select_accuracy: float | None = None
    metric: str | None = None
    value: float | None = None
    best_so_far: float | None = None
    learning_rate: float | None = None
    images_per_s: float | None = None
    source: str | None = None
    device: str | None = None
    seconds: float | None = None
    eta_s: float | None = None


OnProgress = Callable[[ProgressLine], None]
_NAMES = frozenset(field.name for field in fields(ProgressLine))


def train(run_dir: Path, on_progress: OnProgress = lambda line: None, devices: int = 1) -> None:
    """
    `python -m models.training`; goes on from the run directory's checkpoint where there is one.

    devices: as many processes train together, each with a GPU (or a CPU, where there is none).

    Raises:
        Killed: it was ended from outside; it goes on from its checkpoint when called again.
        UserError: it failed; the message ends with the tail of `train.log`.
    """
    tail = Tail(run_dir / "progress.jsonl", on_progress)
    run("models.training", run_dir, run_dir / "train.log", tail.read_on, devices)


def export(run_dir: Path) -> None:
    """
    `python -m models.export`: a process of its own, so that the trainer's memory is given back first.

    Raises:
        UserError: it failed; the message ends with the tail of `export.log`.
    """
    run("models.export", run_dir, run_dir / "export.log")


def run(module: str, run_dir: Path, log: Path, meanwhile: Callable[[], None] = lambda: None, devices: int = 1) -> None:
    """
    Run one module to its end, with its output in `log`; with several devices, a process for each.

    Raises:
        Killed: a signal from outside ended it.
        UserError: it ended with anything else but 0. A person's mistake is told in the module's own words, anything
            else with the tail of the log.
    """
    command = [*_starter(devices), module, "--run-dir", str(run_dir)]
    # Safe path: a folder named models/ where the user stands must not be taken for ours.
    # Passive waiting: threads that spin for a core which somebody else has were seen to cost a factor of 25.
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    if devices > 1:
        # Left open, torchrun gives each process one thread, and says so at length.
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    # The log is a file and not a pipe: a pipe's reader who dies takes the writer along, or waits for it for ever.
    with Leash() as leash, log.open("ab") as output:
        begins = output.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        leash.hold(process.pid)
        try:
            while process.poll() is None:
                meanwhile()
                time.sleep(_LOOK_EVERY_S)
            meanwhile()
        finally:
            # However this block is left: a step that raised, Ctrl-C, a cancelled run, or the job's own end.
            process_groups.end(process.pid, _PATIENCE_S if process.poll() is None else 0)
            process.wait()
            leash.free(process.pid)
    if process.returncode != 0:
        raise _failure(module, run_dir, log, begins, process.returncode)


def _starter(devices: int) -> list[str]:
    """What comes before the module's name: torchrun where several processes train as one."""
    if devices == 1:
        return [sys.executable, "-m"]
    together = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(devices), "-m"]
    return [sys.executable, "-m", *together]


def _failure(module: str, run_dir: Path, log: Path, begins: int, code: int) -> UserError:
    said = log.read_bytes()[begins:].decode(errors="replace").strip()
    killed_by = _killed_by(said, code)
    if killed_by is None and code == _USER_ERROR and (words := _last_words(said)):
        return UserError(words)
    how = f"was killed by {killed_by.name}" if killed_by is not None else f"failed with {_exit_words(code)}"
    kept = f"Its checkpoint is kept; the end of {log}:\n{logs.tail(log)}"
    return (UserError if killed_by is None else Killed)(f"{module} {how} in {run_dir}. {kept}")


def _killed_by(said: str, code: int) -> signal.Signals | None:
    """The signal from outside that ended the module, or one of torchrun's processes; None where it was none."""
    codes = [code, *(int(found) for found in _TORCHRUN_CODE.findall(said) if _TORCHRUN.search(said))]
    # A module that heard the signal says its farewell, and ends with 128 and the signal's number.
    return next((number for number in _FROM_OUTSIDE for each in codes if each in (-number, 128 + number)), None)


def _last_words(said: str) -> str:
    """What the module said, for a person; "" where that is a traceback."""
    if _TORCHRUN.search(said):
        # What its processes said stands before torchrun's own account of how they ended; several may say the same.
        before = [line for line in _TORCHRUN.split(said)[0].splitlines() if not _TORCHRUN_NOTES.match(line)]
        said = "\n".join(dict.fromkeys(before)).strip()
    return "" if "Traceback (most recent call last)" in said else said


class Tail:
    """Reads what was added to a file of JSON lines since the last look, line by whole line."""

    def __init__(self, path: Path, on_progress: OnProgress) -> None:
        self.path = path
        self.on_progress = on_progress
        # A job that goes on after a crash has told its first lines already.
        self._read = path.stat().st_size if path.exists() else 0
        self._begun = b""

    def read_on(self) -> None:
        """Hand on the new whole lines. What the listener raises is logged: watching must not stop the work."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            added = file.read()
        self._read += len(added)
        *whole, self._begun = (self._begun + added).split(b"\n")
        for text in whole:
            line = _parsed(text)
            if line is not None:
                self._tell(line)

    def _tell(self, line: ProgressLine) -> None:
        try:
            self.on_progress(line)
        except Exception:  # noqa: BLE001 - logged
            _log.exception("A line of progress could not be shown")


def _parsed(text: bytes) -> ProgressLine | None:
    try:
        document: dict[str, Any] = json.loads(text)
        return ProgressLine(**{name: value for name, value in document.items() if name in _NAMES})
    except (ValueError, AttributeError):
        # The last line of a trainer that was killed may be half a line.
        return None


def _exit_words(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
