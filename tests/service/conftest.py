import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.cards import Place, new_place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A project of its own for one test; processes that it started end with it."""
    made = new_place(tmp_path)
    yield made
    for process in made.running:
        if process.poll() is None:
            process.terminate()
    for process in made.running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
