import io
import socket
import sys

import pytest

from flows import cli, terminal
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


@pytest.fixture
def kedge(capsys, monkeypatch):
    """The command in this process and the current folder: its exit code, standard output and standard error."""

    def call(*arguments, width=200, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["kedge", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        monkeypatch.setattr(terminal, "out", cli.Console(width=width))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return call
