import logging

import pytest

from infra.logs import configure, tail


@pytest.fixture(autouse=True)
def as_before():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers, root.level = handlers, level


def test_a_process_writes_into_a_file_of_its_own_name(tmp_path):
    configure("runner", tmp_path, echo=False)

    logging.getLogger("flows.runner").info("Serving: %s", "Grüße")

    assert tail(tmp_path / "logs" / "runner.log").endswith("INFO    flows.runner: Serving: Grüße")


def test_configuring_again_does_not_write_twice(tmp_path, capsys):
    configure("runner", tmp_path)
    configure("runner", tmp_path)

    logging.getLogger("flows.runner").warning("once")

    assert tail(tmp_path / "logs" / "runner.log").count("once") == 1
    assert capsys.readouterr().err.count("once") == 1


def test_the_tail_of_a_log_is_its_last_lines_or_says_why_there_is_none(tmp_path):
    path = tmp_path / "some.log"

    assert tail(path) == f"(no log at {path})"
    path.write_text("")
    assert tail(path) == "(the log is empty)"
    path.write_bytes(b"one\ntwo\xff\nthree\n")
    assert tail(path, lines=2) == "two\ufffd\nthree"
