"""Processes together with everything they started, and how to end them so that nothing is left."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable

import psutil

_LOOK_EVERY_S = 0.05
_KILLED_WITHIN_S = 2.0


def family(pid: int) -> list[psutil.Process]:
    """The process and all its descendants, also those in sessions of their own; [] when it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(pid: int, patience_s: float, relatives: Iterable[psutil.Process] = ()) -> None:
    """
    End the group that `pid` leads and all its descendants: politely, then after `patience_s` by force.

    Args:
        pid: The leader of a process group; it may be gone already.
        patience_s: Seconds between the polite signal and the other one; 0 is by force at once.
        relatives: Descendants seen earlier: once the leader is gone, nothing tells any more that they were its own.
    """
    members = {*family(pid), *relatives}
    if patience_s > 0:
        # The group first: whoever supervises others in it shall see the whole picture at once.
        _signal_group(pid, signal.SIGTERM)
        for member in members:
            _signal(member, signal.SIGTERM)
        _wait(pid, members, patience_s)
    members |= {*family(pid)}
    _signal_group(pid, signal.SIGKILL)
    for member in members:
        _signal(member, signal.SIGKILL)
    # A killed process is not gone at once: whoever starts its successor now might find its files still held.
    _wait(pid, members, _KILLED_WITHIN_S)


def _wait(pid: int, members: Iterable[psutil.Process], most_s: float) -> None:
    deadline = time.monotonic() + most_s
    while time.monotonic() < deadline and (group_lives(pid) or any(_lives(member) for member in members)):
        time.sleep(_LOOK_EVERY_S)


def group_lives(pid: int) -> bool:
    """True while the group that `pid` led has a member that is more than a corpse."""
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        leader = psutil.Process(pid)
        # A leader nobody has waited for yet keeps its group's name alive; it counts only with company.
        return leader.status() != psutil.STATUS_ZOMBIE or _has_company(pid)
    except psutil.NoSuchProcess:
        return True


def _has_company(pid: int) -> bool:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if process.pid != pid and alive and os.getpgid(process.pid) == pid:
                return True
    return False


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    # psutil compares the start time first, so a number that was given to somebody else is left alone.
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
