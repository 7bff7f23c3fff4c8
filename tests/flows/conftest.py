import socket

import pytest

from infra.settings import load


@pytest.fixture
def free_port():
    def one():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return one


@pytest.fixture
def settings(tmp_path):
    return load(tmp_path, {})
