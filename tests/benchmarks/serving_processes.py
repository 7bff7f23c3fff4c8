"""A server as processes: started, asked until it answers, its CPU time and memory read, and gone without a trace."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

_READY_S, _STOP_S = 60.0, 8.0


class Tree:
    """A process with all that it started, at whatever remove."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process, self._log = process, log

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def words(self) -> str:
        """The last that it said."""
        return self._log.read_text(errors="replace")[-3000:]

    def cpu_s(self) -> float:
        """User and system time of all of them, with that of children that ended and were waited for."""
        total = 0.0
        for process in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory_mb(self) -> tuple[float, float]:
        """Resident memory of the largest, and of all together, where what they share counts once."""
        largest = together = 0.0
        for process in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                memory = process.memory_full_info()
                largest, together = max(largest, memory.rss / 1e6), together + getattr(memory, "pss", memory.uss) / 1e6
        return largest, together

    def stop(self) -> None:
        """Ask the first; kill whoever is left after some seconds."""
        members = self.members()
        if not self.ended:
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        _, left = psutil.wait_procs(members, timeout=1.0)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        psutil.wait_procs(left, timeout=2.0)

    def members(self) -> list[psutil.Process]:
        """All of them that live."""
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


@contextlib.contextmanager
def running(argv: Sequence[str], env: Mapping[str, str], folder: Path, log: Path) -> Iterator[Tree]:
    """Start a server in a session of its own, so that Ctrl-C reaches this process only, which then stops it."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env=dict(env), cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    tree = Tree(process, log)
    try:
        yield tree
    finally:
        tree.stop()


def seconds_until(answers: Callable[[], bool], tree: Tree) -> float:
    """
    How long until it answers, counted from this call.

    Raises:
        RuntimeError: it ended, or never did; its last words.
    """
    began = time.monotonic()
    while not answers():
        if tree.ended or time.monotonic() - began > _READY_S:
            state = "ended" if tree.ended else f"did not answer in {_READY_S:.0f} s"
            raise RuntimeError(f"the server {state}:\n{tree.words()}")
        time.sleep(0.02)
    return time.monotonic() - began


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
