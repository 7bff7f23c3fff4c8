"""The demo, as `make demo` runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest


@pytest.mark.demo
@pytest.mark.slow
def test_the_demo_brings_accuracy_back_by_itself_and_leaves_nothing_running(tmp_path: Path):
    folder = tmp_path / "demo"

    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "demo", "--json", "--folder", str(folder)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-6000:]
    result = json.loads(done.stdout)
    assert result["failed"] == 0
    assert result["version"] == 2
    assert result["alarm_lane"] == "gross"
    assert result["stages"] == ["shadow", "canary", "promoting", "probation", "done"]
    before = _share(result["old_before"])
    assert _share(result["new_during"]) < before - 0.3, "the new camera hurt, or there was nothing to mend"
    assert _share(result["new_after"]) >= before - 0.10
    assert _share(result["old_after"]) >= before - 0.02
    left = [process.pid for process in psutil.process_iter(["cwd"]) if str(folder) in (process.info["cwd"] or "")]
    assert not left


def _share(part: dict[str, int]) -> float:
    return part["right"] / part["images"]
