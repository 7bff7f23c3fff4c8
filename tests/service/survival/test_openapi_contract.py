"""The service is asked all that its own description allows, and much that it forbids; it answers as described."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.cards import Place

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
CONFIG = """
[generation]
deterministic = true
max-examples = 20
"""
# A description cannot say that an id is printable, or that with a form the address has no fields: what it allows may be
# refused. What it forbids may not be taken, and whatever is answered must be described.
EXCLUDED = "positive_data_acceptance"


def test_the_service_answers_as_it_is_described_whatever_it_is_asked(place: Place, tmp_path: Path) -> None:
    place.champion()
    place.serve("uvicorn")
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    options = ("--checks", "all", "--exclude-checks", EXCLUDED, "--phases", "examples,coverage,fuzzing", "--no-color")
    hooks = {"SCHEMATHESIS_HOOKS": "tests.service.survival.images_by_hypothesis", "PYTHONPATH": str(ROOT)}

    told = subprocess.run(
        [Path(sys.executable).parent / "schemathesis", "--config-file", config, "run", f"{place.url}/openapi.json",
         "--continue-on-failure", *options],
        check=False, env={**os.environ, **hooks}, cwd=tmp_path, capture_output=True, text=True, timeout=400,
    )  # fmt: skip

    summary = re.search(r"(\d+) generated", told.stdout)
    print(f"\n{summary and summary[0]}")
    assert told.returncode == 0, told.stdout + told.stderr
    # So that an empty description, or one that could not be asked about, does not pass.
    assert summary
    assert int(summary[1]) > 300
