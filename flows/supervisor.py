"""
`kedge up`: children started in order, each well before the next, started again when they die, stopped together.

Each child runs under kantoku (its package is named circus), which gives it a session of its own, signals it and
insists when it does not listen. What is decided here is when: kantoku's own loop would start everybody at once,
start a crashing child again without a pause, and give up altogether once one is down.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from flows import process_groups, up_file
from flows.children import Child
from flows.jobs.again import call_for_all
from flows.leash import Leash
from flows.member import Member
from flows.notify import notify
from flows.readiness import check_ports, is_well
from infra.clock import now
from infra.database import open_database
from infra.errors import UserError
from infra.settings import Settings
from monitoring.watching.silence import check_silence

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.2
_LISTEN_EVERY_S = 5.0
_TELL_AFTER_DEATHS = 3
_LEFTOVER_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Happening:
    """Something a person may want to see. `what`: starting | well | died | restarting | up | stopping | stopped."""

    at: datetime
    child: str
    what: str
    words: str = ""


Tell = Callable[[Happening], None]


def up(settings: Settings, children: tuple[Child, ...], tell: Tell = lambda happening: None) -> None:
    """
    Keep the children until Ctrl-C, SIGTERM or a closed terminal; a second Ctrl-C stops them by force.

    Must run in the main thread, where signals arrive.

    Raises:
        UserError: another `kedge up` runs here, a port is taken, or a child did not become well; then all are
            stopped again, and the message ends with the tail of that child's log.
    """
    home = settings.storage.home
    with up_file.only_one(home):
        _end_leftovers(home)
        check_ports(children)
        engine = open_database(settings.storage.database)
        try:
            asyncio.run(_Household(settings, children, engine, tell).live())
        finally:
            engine.dispose()


class _Household:
    def __init__(self, settings: Settings, children: tuple[Child, ...], engine: sa.Engine, tell: Tell) -> None:
        self.settings = settings
        self.home = settings.storage.home
        self.members = [Member(child, self.home / "logs" / f"{child.name}.log") for child in children]
        self.engine = engine
        self.tell = tell
        self.state = "starting"
        self.started_at = now()
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._asked_to_stop)
        with Leash() as leash:
            self.leash = leash
            try:
                for member in self.members:
                    await self._bring_up(member)
                    if self.stop.is_set():
                        return
                self.state = "up"
                self._note("", "up")
                await self._keep()
            finally:
                await self._put_all_down()

    async def _bring_up(self, member: Member) -> None:
        """Start one child and wait until it is well, has failed, or everybody is to stop."""
        await self._spawn(member)
        deadline = time.monotonic() + member.child.ready.within_s
        while not self.stop.is_set():
            if not member.lives():
                raise UserError(member.failure(f"ended with {member.exit_words()} while it was starting"))
            if await is_well(member.child.ready, member.started_at, self.engine):
                member.state = "well"
                self._note(member.child.name, "well", f"after {member.lived_s():.1f} s")
                return
            if time.monotonic() > deadline:
                seconds = member.child.ready.within_s
                raise UserError(member.failure(f"was not well within {seconds:.0f} s ({member.question()})"))
            await self._pause(_LOOK_EVERY_S)

    async def _keep(self) -> None:
        """Look after everybody until asked to stop."""
        listened = time.monotonic()
        silent_since: datetime | None = None
        while not self.stop.is_set():
            for member in self.members:
                await self._look_after(member)
            if time.monotonic() - listened > _LISTEN_EVERY_S:
                listened = time.monotonic()
                silent_since = await asyncio.to_thread(self._listen, silent_since)
            self.leash.renew()
            await self._pause(_LOOK_EVERY_S)

    async def _look_after(self, member: Member) -> None:
        name = member.child.name
        if member.state != "down" and not member.lives():
            self._bury(member)
        elif member.state == "down" and time.monotonic() >= member.again_at:
            member.restarts += 1
            self._note(name, "restarting")
            await self._spawn(member)
        elif member.state == "starting" and await is_well(member.child.ready, member.started_at, self.engine):
            member.state = "well"
            self._note(name, "well", f"after {member.lived_s():.1f} s")
            if member.child.hears_calls:
                await asyncio.to_thread(self._call_again)

    async def _spawn(self, member: Member) -> None:
        member.state, member.started_at, member.started = "starting", now(), time.monotonic()
        if member.watcher is None:
            self._note(member.child.name, "starting")
        await member.spawn(self.settings.root, self.leash)
        if not member.pid:
            raise UserError(f"{member.child.name} cannot be started: {' '.join(member.child.argv)}")
        self._write()

    def _bury(self, member: Member) -> None:
        """A child died by itself: end what it left behind, and set the time of its next life."""
        words, pause_s = member.exit_words(), member.count_death()
        # Its workers and jobs would hold its port, or do its work twice beside its successor.
        process_groups.end(member.pid, 0)
        self.leash.free(member.pid)
        member.watcher.reap_process(member.pid)
        member.state, member.pid, member.again_at = "down", 0, time.monotonic() + pause_s
        self._note(member.child.name, "died", f"with {words}; starts again in {pause_s:.0f} s")
        if member.deaths_in_a_row == _TELL_AFTER_DEATHS:
            text = f"{member.child.name} died {member.deaths_in_a_row} times in a row; see {member.log}"
            notify(self.settings, "process_keeps_dying", text, {"process": member.child.name})

    async def _put_all_down(self) -> None:
        self.state = "stopping"
        self._note("", "stopping")
        for member in reversed(self.members):
            if member.watcher is not None:
                await self._put_down(member)
        self._note("", "stopped")

    async def _put_down(self, member: Member) -> None:
        """Stop one child; what it leaves behind is ended by force."""
        if member.pid:
            relatives = process_groups.family(member.pid)
            force = asyncio.ensure_future(self._force_in_a_hurry(member.pid))
            await member.watcher.stop()
            force.cancel()
            process_groups.end(member.pid, 0, relatives)
            self.leash.free(member.pid)
        member.state, member.pid = "stopped", 0
        self._note(member.child.name, "stopped")

    async def _force_in_a_hurry(self, pid: int) -> None:
        await self.hurry.wait()
        process_groups.end(pid, 0)

    def _asked_to_stop(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stop.wait(), seconds)
        except TimeoutError:
            return

    def _listen(self, silent_since: datetime | None) -> datetime | None:
        """Tell people once when the watcher falls silent; silence is counted from the start of `kedge up`."""
        name, most_s = self.settings.project.name, self.settings.monitor.silent_after_s
        try:
            silence = check_silence(self.engine, name, self.started_at, most_s)
        except sa.exc.SQLAlchemyError:
            _log.exception("Whether the watcher is silent could not be seen")
            return silent_since
        if silence is not None and silence.since != silent_since:
            notify(self.settings, "watcher_silent", silence.words, {"since": silence.since.isoformat()})
        return silence.since if silence is not None else None

    def _call_again(self) -> None:
        """Call for the jobs whose calls nobody heard; where that fails, the watcher's next look calls."""
        try:
            call_for_all(self.settings)
        except (sa.exc.SQLAlchemyError, UserError):
            _log.exception("Jobs that wait were not called for")

    def _note(self, child: str, what: str, words: str = "") -> None:
        _log.info("%s", " ".join(part for part in (child, what, words) if part))
        self._write()
        self.tell(Happening(now(), child, what, words))

    def _write(self) -> None:
        children = tuple(member.noted() for member in self.members)
        own_birth = up_file.born(os.getpid())
        state = up_file.UpState(os.getpid(), own_birth, self.state, self.started_at.isoformat(), children)
        up_file.write(self.home, state)


def _end_leftovers(home: Path) -> None:
    """End the children of a supervisor that was killed, where even its leash could not."""
    state = up_file.last_written(home)
    for child in reversed(state.children if state is not None else ()):
        if child.pid and up_file.alive(child.pid, child.born):
            _log.warning("%s (process %d) is left over from an earlier `kedge up`: ending it", child.name, child.pid)
            process_groups.end(child.pid, _LEFTOVER_PATIENCE_S)
