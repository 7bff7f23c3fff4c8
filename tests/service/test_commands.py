import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infra.cores import usable_cores
from infra.errors import UserError
from infra.settings import Settings
from service import commands
from service.door import is_loopback
from tests.service.cards import Place

HOUSE = Path(__file__).resolve().parents[2]


def with_serve(place: Place, **values) -> Settings:
    return replace(place.settings, serve=replace(place.settings.serve, **values))


def test_the_service_is_not_offered_to_other_machines_without_a_token(place):
    with pytest.raises(UserError) as refused:
        commands.serve(with_serve(place, host="0.0.0.0"))

    assert str(refused.value) == (
        "serve.host is '0.0.0.0', which other machines can reach, and no token is set. "
        "Make one, as in `kedge token create hall-3 --role predict`, or listen on 127.0.0.1."
    )
    assert "0.0.0.0" in commands.serve(with_serve(place, host="0.0.0.0", token="t")).argv


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.7", False), ("example.org", False), ("", False)],
)  # fmt: skip
def test_only_loopback_is_this_machine_alone(host, alone):
    assert is_loopback(host) == alone


def test_a_name_is_turned_into_the_number_that_the_shell_wants(place):
    assert "127.0.0.1" in commands.serve(with_serve(place, host="localhost")).argv


def test_the_children_know_their_project_and_tell_nobody(place):
    env = commands.serve(place.settings).env

    assert env["KEDGE_ROOT"] == str(place.settings.root)
    assert env["BENTOML_HOME"] == str(place.settings.storage.home / "bento")
    assert env["BENTOML_DO_NOT_TRACK"] == "True"
    assert env["PYTHONSAFEPATH"] == "1"
    assert env["OMP_WAIT_POLICY"] == "PASSIVE"
    assert not {"PROMETHEUS_MULTIPROC_DIR", "KEDGE_SUPERVISOR", "BENTOML_CONFIG"} & set(env)


def test_a_port_in_use_is_told_before_anything_starts(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", place.settings.serve.port))
        taken.listen()

        with pytest.raises(UserError) as refused:
            commands.run_serve(place.settings)

    assert str(refused.value) == (
        f"The service cannot listen on 127.0.0.1:{place.settings.serve.port}: Address already in use. "
        "Stop what listens there, or set serve.port in kedge.toml."
    )


def test_serving_needs_no_heavy_library(place):
    heavy = {"torch", "prefect", "evidently", "pandas", "polars", "deltalake", "pyarrow", "sklearn", "matplotlib"}
    program = f"import sys, service.app; print(sorted({heavy} & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=commands.environment(place.settings),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"


def test_zero_workers_are_one_for_each_usable_core(place):
    def workers(number: int) -> str:
        argv = commands.serve(with_serve(place, workers=number)).argv
        return argv[argv.index("--workers") + 1]

    assert (workers(3), workers(0)) == ("3", str(usable_cores()))


@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_insisting_waits_for_the_drain_and_the_longest_request(place, runtime):
    service = commands.serve(with_serve(place, drain_s=7.0, deadline_s=20.0), runtime=runtime)
    default = commands.serve(place.settings, runtime=runtime)

    assert service.stop_s == 37.0
    # What docker-compose.yml grants both together.
    grace = re.search(r"stop_grace_period: (\d+)s\n +healthcheck", (HOUSE / "docker-compose.yml").read_text())
    assert grace
    assert default.stop_s + commands.shipper(place.settings).stop_s <= int(grace[1])
