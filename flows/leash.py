"""
A leash: nothing that is held on it outlives the one who holds it, not even when that one is killed outright.

A small process of its own session keeps the reading end of a pipe. However the holder ends, the pipe closes, and
whatever is still held is ended with its whole group. The kernel's own "signal at parent's death" would do less: it
exists on Linux only, is lost at the next fork, follows the thread that started the child, and cannot insist.
"""

import signal
import subprocess
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import psutil

from flows.process_groups import end

_PATIENCE_S = 5.0


class Leash:
    """Held by a `with` block; leaving it lets everything go that is still held, unharmed."""

    def __init__(self) -> None:
        self._held: set[int] = set()
        self._process = _start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in tuple(self._held):
            self.free(pid)
        self._process.communicate()

    def hold(self, pid: int) -> None:
        """From now on the group that `pid` leads ends with this process."""
        self._held.add(pid)
        self._say(f"hold {pid}")

    def free(self, pid: int) -> None:
        """`pid` has ended, or may live on."""
        self._held.discard(pid)
        self._say(f"free {pid}")

    def renew(self) -> None:
        """Start another keeper where somebody killed it."""
        if self._process.poll() is not None:
            self._process.communicate()
            self._process = _start()
            for pid in self._held:
                self._say(f"hold {pid}")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            # The keeper was killed; `renew` tells the next one everything.
            return


def _start() -> subprocess.Popen[str]:
    # -P: a folder named flows/ where the user stands must not be taken for ours.
    command = [sys.executable, "-P", "-m", "flows.leash"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)


def _keep(lines: Iterable[str]) -> None:
    held: dict[int, psutil.Process] = {}
    for line in lines:
        word, _, number = line.strip().partition(" ")
        if word == "free":
            held.pop(int(number), None)
        else:
            try:
                held[int(number)] = psutil.Process(int(number))
            except psutil.NoSuchProcess:
                continue
    # The holder is gone. Only who is still the same process is ended: numbers are given out again.
    alive = [pid for pid, process in held.items() if process.is_running()]
    for pid in reversed(alive):
        end(pid, _PATIENCE_S)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    _keep(sys.stdin)
