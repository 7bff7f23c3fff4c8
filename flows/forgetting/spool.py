"""Before anything is deleted: all that was written so far has to be in the tables, where it can be found."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from tempfile import TemporaryFile

from flows.telling import Teller
from flows.workplace import Workplace
from infra.clock import now
from infra.errors import UserError
from infra.forgettings import Forgetting
from infra.workers import hosts_since

_LOOK_EVERY_S = 1.0
_RECENTLY = timedelta(days=1)
_SLACK_S = 30.0


def ship_everything(place: Workplace, teller: Teller) -> None:
    """
    Have the home's spool shipped up to now: by its own shipper, or by a child process where none runs.

    Raises:
        UserError: it cannot be shipped; the message is the shipper's.
    """
    if not (place.settings.storage.home / "spool").is_dir():
        return  # nothing was ever served from here
    # A process, because the spool is the service's own business, and flows never import it.
    command = (sys.executable, "-m", "service.shipper", "--drain", "--with-parent")
    environment = {**os.environ, "KEDGE_ROOT": str(place.settings.root), "PYTHONSAFEPATH": "1"}
    with (
        TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as process,
    ):
        try:
            _tell(process.stdout or (), teller)
            process.wait()
        finally:
            process.kill()
        if process.returncode:
            complaints.seek(0)
            said = complaints.read().strip().splitlines() or [f"it ended with exit code {process.returncode}"]
            raise UserError(f"What was answered could not be brought to the tables, so nothing was deleted. {said[-1]}")


def _tell(lines: Iterable[str], teller: Teller) -> None:
    most = 0
    for line in lines:
        left = line.split(" ", 1)[0]
        if left.isdecimal():
            most = max(most, int(left))
            teller.progress("segments shipped", most - int(left), most)


def wait_for_other_machines(place: Workplace, asked: Sequence[Forgetting], teller: Teller) -> tuple[str, ...]:
    """
    Give the shippers of other machines the time to ship what they had, and to drop what comes; gives their names.

    Their spools cannot be seen from here. While the request is open they drop every record of it.
    """
    others = hosts_since(place.engine, place.settings.project.name, now() - _RECENTLY) - {os.uname().nodename}
    until = max(one.created_at for one in asked) + timedelta(seconds=2 * place.settings.serve.seal_s + _SLACK_S)
    while others and (left := (until - now()).total_seconds()) > 0:
        teller.progress(f"seconds for {', '.join(sorted(others))} to ship", 0, max(1, round(left)))
        time.sleep(min(_LOOK_EVERY_S, left))
    return tuple(sorted(others))
