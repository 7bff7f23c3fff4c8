import socket

import pytest

from flows import doctor


def by_name(checks):
    return {check.name: check for check in checks}


@pytest.mark.slow
def test_a_fresh_folder_is_fit_to_begin_and_is_told_what_is_missing(tmp_path, free_port):
    ports = [free_port() for _ in range(3)]
    (tmp_path / "kedge.toml").write_text(
        f"[serve]\nport = {ports[0]}\n[console]\nport = {ports[1]}\n[prefect]\nport = {ports[2]}\n"
    )

    checks = doctor.examine(tmp_path)

    assert [check for check in checks if check.state == "fail"] == []
    found = by_name(checks)
    assert found["manifest"].remedy.endswith("then check it with `kedge data`.")
    assert found["champion"].remedy == "Make the first with `kedge train`."
    assert list((tmp_path / ".kedge" / "objects" / "probe").glob("*")) == []


@pytest.mark.slow
def test_what_is_wrong_is_named_with_what_to_do(tmp_path):
    (tmp_path / "blocked").write_text("a file where a folder should be")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "kedge.toml").write_text(
            f'[serve]\nport = {port}\n[storage]\ndatabase = "postgresql+psycopg://nobody@127.0.0.1:1/none"\n'
            '[prefect]\napi_url = "http://127.0.0.1:1/api"\n[trigger]\ncron = "often"\n'
        )
        failed = by_name(check for check in doctor.examine(tmp_path) if check.state == "fail")

    assert {"ports", "database", "prefect", "settings", "champion"} <= set(failed)
    assert failed["ports"].words == f"serve.port {port} is in use"
    assert "set storage.database in kedge.toml" in failed["database"].words
    assert failed["prefect"].remedy.startswith("Start that server, or set prefect.api_url")


def test_settings_that_cannot_be_read_are_one_failed_check(tmp_path):
    (tmp_path / "kedge.toml").write_text("[serve]\nprot = 3000\n")

    last = doctor.examine(tmp_path)[-1]

    assert (last.name, last.state) == ("settings", "fail")
    assert "serve.prot is not a setting; did you mean port?" in last.words
