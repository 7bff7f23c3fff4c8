"""One child of `kedge up` and its present life: how it is started, whether it lives, and what its death means."""

import dataclasses
import os
import signal
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from circus.watcher import Watcher

from flows import up_file
from flows.children import Child
from flows.leash import Leash
from infra import logs
from infra.clock import now

_LONGEST_PAUSE_S = 30.0
_STABLE_S = 60.0
# The shell is replaced by the child: same number, same group. A file takes what a pipe would hold up
# whenever the supervisor is stopped by Ctrl-Z.
_INTO_LOG = 'exec "$@" >>"$0" 2>&1'


@dataclass
class Member:
    """
    A child and its present life.

    Attributes:
        state: "waiting", "starting", "well", "down" or "stopped".
        pid: 0 while it has no process; `born` tells it from another process with that number.
        again_at: When it starts again after a death, on the monotonic clock, as `started`.
    """

    child: Child
    log: Path
    watcher: Any = None
    state: str = "waiting"
    pid: int = 0
    born: float = 0.0
    started_at: datetime = dataclasses.field(default_factory=now)
    started: float = 0.0
    restarts: int = 0
    deaths_in_a_row: int = 0
    again_at: float = 0.0

    async def spawn(self, folder: Path, leash: Leash) -> None:
        """Give it a process in that folder, its first or its next; the leash holds each."""
        if self.watcher is None:
            self.watcher = self._watched(folder, leash)
            await self.watcher.start()
        else:
            await self.watcher.manage_processes()

    def lives(self) -> bool:
        """Whether its process runs."""
        process = self.watcher.processes.get(self.pid)
        return process is not None and bool(process.is_alive())

    def lived_s(self) -> float:
        """How long ago this life began."""
        return time.monotonic() - self.started

    def count_death(self) -> float:
        """One death more; gives the seconds until its next life."""
        self.deaths_in_a_row = 1 if self.lived_s() > _STABLE_S else self.deaths_in_a_row + 1
        # 0, 1, 2, 4 ... seconds: a crash by accident is mended at once, one by nature does not eat the machine.
        pause_s: float = min(_LONGEST_PAUSE_S, (2 ** (self.deaths_in_a_row - 1)) // 2)
        return pause_s

    def exit_words(self) -> str:
        """How its process ended: a signal's name or an exit code."""
        process = self.watcher.processes.get(self.pid)
        code = process.returncode() if process is not None else None
        if code is not None and code < 0:
            return signal.Signals(-code).name
        return f"exit code {code}"

    def question(self) -> str:
        """By what it is asked whether it is well."""
        ready = self.child.ready
        return f"asked {ready.url}" if ready.url else f"waited for its heartbeat '{ready.heartbeat}'"

    def failure(self, words: str) -> str:
        """That it failed while it was starting, with what its log says last."""
        log = logs.tail(self.log)
        return f"{self.child.name} {words}; everything was stopped again. The end of {self.log}:\n{log}"

    def noted(self) -> up_file.ChildState:
        """Its line in the file that tells other commands who runs here."""
        child = self.child
        return up_file.ChildState(
            child.name, self.pid, self.born, self.state, self.restarts, child.ready.url, str(self.log)
        )

    def _watched(self, folder: Path, leash: Leash) -> Watcher:
        self.log.parent.mkdir(parents=True, exist_ok=True)

        def born(*, pid: int, **_facts: Any) -> bool:
            self.pid, self.born = pid, up_file.born(pid)
            leash.hold(pid)
            return True

        return Watcher(
            self.child.name,
            "/bin/sh",
            args=["-c", _INTO_LOG, str(self.log), *self.child.argv],
            # Safe path: a folder named models/ where the user stands must not be taken for ours.
            env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", **self.child.env},
            working_dir=str(folder),
            singleton=True,
            graceful_timeout=self.child.stop_s,
            hooks={"after_spawn": (born, False)},
        )
