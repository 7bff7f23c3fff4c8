import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import polars as pl
import pytest
from moto.server import ThreadedMotoServer

from infra.objects import open_objects
from infra.settings_sections import StorageSettings
from infra.tables import Table, before, equal_to, storage_options

SCHEMA = {"id": pl.String(), "date": pl.String(), "spool": pl.String(), "segment": pl.Int64()}


def rows(segment: int, count: int = 3, spool: str = "a-0") -> pl.DataFrame:
    return pl.DataFrame(
        [{"id": f"{segment}-{n}", "date": "2026-11-20", "spool": spool, "segment": segment} for n in range(count)],
        schema=SCHEMA,
    )


def table_in(folder: Path) -> Table:
    return Table(StorageSettings(home=folder, objects=f"file://{folder}/objects"), "things", SCHEMA, ("date", "spool"))


def ids(table: Table) -> list[str]:
    frame = table.scan()
    assert frame is not None
    return sorted(frame.select("id").collect()["id"].to_list())


def test_there_is_no_table_before_the_first_append(tmp_path):
    table = table_in(tmp_path)

    assert table.scan() is None
    assert table.newest("a-0") is None
    assert table.commits() == 0
    assert table.compact() == 0


def test_a_repeated_segment_is_appended_once(tmp_path):
    table = table_in(tmp_path)

    outcomes = [table.append_once("a-0", 1, rows(1)), table.append_once("a-0", 1, rows(1))]

    assert outcomes == [True, False]
    assert ids(table) == ["1-0", "1-1", "1-2"]


def test_an_older_segment_does_not_set_the_count_back(tmp_path):
    table = table_in(tmp_path)
    table.append_once("a-0", 5, rows(5))

    assert not table.append_once("a-0", 4, rows(4))
    assert not table.append_once("a-0", 5, rows(5))
    assert table.newest("a-0") == 5
    assert len(ids(table)) == 3


def test_two_spools_count_by_themselves(tmp_path):
    table = table_in(tmp_path)

    assert table.append_once("a-0", 7, rows(7))
    assert table.append_once("b-0", 1, rows(1, spool="b-0"))

    assert (table.newest("a-0"), table.newest("b-0")) == (7, 1)


def test_racing_appends_of_the_same_segments_leave_each_row_once(tmp_path):
    table = table_in(tmp_path)
    start = threading.Barrier(4)

    def ship() -> None:
        start.wait()
        for segment in range(1, 6):
            table.append_once("a-0", segment, rows(segment))

    racers = [threading.Thread(target=ship) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert ids(table) == sorted(f"{segment}-{n}" for segment in range(1, 6) for n in range(3))


def test_compaction_keeps_every_row_and_the_count_of_segments(tmp_path):
    table = table_in(tmp_path)
    for segment in range(1, 9):
        table.append_once("a-0", segment, rows(segment))

    merged = table.compact()

    assert merged == 7
    assert len(ids(table)) == 24
    assert not table.append_once("a-0", 8, rows(8))
    assert table.append_once("a-0", 9, rows(9))


def test_a_filter_on_new_segments_opens_only_their_files(tmp_path):
    table = table_in(tmp_path)
    for segment in range(1, 6):
        table.append_once("a-0", segment, rows(segment))

    frame = table.scan()
    assert frame is not None
    plan = frame.filter(pl.col("segment") > 4).explain()

    assert plan.count(".parquet") == 1


def test_options_follow_the_settings_of_the_object_store(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)

    local = storage_options(StorageSettings(objects="file:///somewhere"))
    remote = storage_options(StorageSettings(objects="s3://b/p", s3_endpoint="http://127.0.0.1:9000", s3_region="eu-1"))

    assert local == {}
    assert remote == {
        "AWS_REGION": "eu-1",
        "AWS_CONDITIONAL_PUT": "etag",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "a secret",
    }


@pytest.fixture
def s3_storage(monkeypatch, tmp_path):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    endpoint = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="team")
    yield StorageSettings(home=tmp_path, objects="s3://team/kedge", s3_endpoint=endpoint)
    server.stop()


def test_a_table_in_a_bucket_lies_beside_the_objects(s3_storage):
    table = Table(s3_storage, "things", SCHEMA, ("date", "spool"))

    assert [table.append_once("a-0", n, rows(n)) for n in (1, 1, 2)] == [True, False, True]
    assert len(ids(table)) == 6

    assert table.compact() == 1
    keys = list(open_objects(s3_storage).list("tables/things/"))
    assert any(key.endswith(".parquet") for key in keys)


def add_first(table: Table, rows_: pl.DataFrame) -> None:
    table.append_once("a-0", 1, rows_)


def everything_under(table: Table) -> bytes:
    """All files of a table; those of Parquet as text, since their columns are compressed."""
    parts = []
    for path in sorted(Path(table.address).rglob("*")):
        if path.suffix == ".parquet":
            parts.append(json.dumps(pl.read_parquet(path, hive_partitioning=False).to_dicts(), default=str).encode())
        if path.is_file():
            parts.append(path.read_bytes())
    return b"\n".join(parts)


def test_a_table_from_before_a_column_takes_it_at_its_next_append(tmp_path):
    older = Table(StorageSettings(home=tmp_path, objects=f"file://{tmp_path}/objects"), "things", SCHEMA, ("date",))
    older.append_once("a-0", 1, rows(1, count=1))
    newer = Table(
        StorageSettings(home=tmp_path, objects=f"file://{tmp_path}/objects"), "things",
        {**SCHEMA, "forward_ms": pl.Float32()}, ("date",),
    )  # fmt: skip

    before_append = newer.scan().collect()["forward_ms"].to_list()
    newer.append_once("a-0", 2, rows(2, count=1).with_columns(forward_ms=pl.lit(2.5)))

    assert before_append == [None]
    assert dict(newer.scan().select("id", "forward_ms").collect().iter_rows()) == {"1-0": None, "2-0": 2.5}
    assert not newer.append_once("a-0", 2, rows(2, count=1).with_columns(forward_ms=pl.lit(2.5)))


@pytest.mark.parametrize(
    "name",
    ["it's", "' OR '1'='1", "a\\", "\\' OR 1=1 --", '"', 'x" = "x', "a'; DROP TABLE things; --", "%", "Łódź 🚢", "''"],
)
def test_deleting_by_a_value_deletes_exactly_the_rows_that_have_it(tmp_path, name):
    table = table_in(tmp_path)
    add_first(table, rows(1).with_columns(id=pl.Series([name, f"{name} ", "another"])))

    deleted = table.delete(equal_to([{"id": name}]))

    assert deleted == 1
    assert ids(table) == sorted([f"{name} ", "another"])


def test_a_deletion_without_a_value_is_refused():
    with pytest.raises(ValueError, match="would delete everything"):
        equal_to([])
    with pytest.raises(ValueError, match="would delete everything"):
        equal_to([{"id": "a"}, {}])


def test_whole_days_are_deleted_without_rewriting_a_file(tmp_path):
    table = table_in(tmp_path)
    table.append_once("a-0", 1, rows(1).with_columns(date=pl.lit("2026-10-01")))
    table.append_once("a-0", 2, rows(2))
    files_before = set(Path(table.address).rglob("*.parquet"))

    deleted = table.delete(before("date", "2026-11-20"))

    assert deleted == 3
    assert ids(table) == ["2-0", "2-1", "2-2"]
    assert set(Path(table.address).rglob("*.parquet")) == files_before


def test_vacuum_spares_what_a_writer_has_not_committed_yet(tmp_path):
    table = table_in(tmp_path)
    for segment in range(1, 4):
        table.append_once("a-0", segment, rows(segment))
    (data, *_) = Path(table.address).rglob("*.parquet")
    uncommitted = data.with_name("part-00000-of-a-writer-at-work.parquet")
    uncommitted.write_bytes(data.read_bytes())
    table.compact()

    gone = table.vacuum(0)

    assert gone == 3
    assert uncommitted.exists()
    assert len(ids(table)) == 9


def test_files_that_a_killed_writer_left_go_once_they_are_old(tmp_path):
    table = table_in(tmp_path)
    table.append_once("a-0", 1, rows(1))
    (data, *_) = Path(table.address).rglob("*.parquet")
    old, young = data.with_name("part-00000-old.parquet"), data.with_name("part-00000-young.parquet")
    for path in (old, young):
        path.write_bytes(data.read_bytes())
    os.utime(old, (time.time() - 8 * 86400,) * 2)

    table.vacuum(168, strays=True)

    assert (old.exists(), young.exists()) == (False, True)
    assert len(ids(table)) == 3


def test_nothing_of_a_deleted_row_is_left_once_the_history_is_shed(tmp_path):
    table = table_in(tmp_path)
    for segment, name in enumerate(["one", "the-person-to-forget", "three"], start=1):
        table.append_once("a-0", segment, rows(segment, count=1).with_columns(id=pl.lit(name)))
    table.delete(equal_to([{"spool": "a-0", "segment": 2}]))
    table.vacuum(0)
    held_by_the_log_alone = b"the-person-to-forget" in everything_under(table)

    table.shed_history()

    assert held_by_the_log_alone
    assert b"the-person-to-forget" not in everything_under(table)
    assert ids(table) == ["one", "three"]
    assert not table.append_once("a-0", 3, rows(3))
    assert table.append_once("a-0", 4, rows(4, count=1))


def test_an_append_through_a_handle_whose_log_was_shed_begins_again(tmp_path, monkeypatch):
    table = table_in(tmp_path)
    for segment in (1, 2, 3):
        table.append_once("a-0", segment, rows(segment, count=1))
    fresh, stale = table._open, [table._open()]
    table.shed_history()
    monkeypatch.setattr(table, "_open", lambda: stale.pop() if stale else fresh())

    assert table.append_once("a-0", 4, rows(4, count=1))
    assert (stale, len(ids(table)), table.newest("a-0")) == ([], 4, 4)


@pytest.mark.slow
def test_deleting_and_shedding_beside_two_shippers_loses_nothing_and_doubles_nothing(tmp_path):
    faults: list[Exception] = []

    def ship(spool: str) -> None:
        for segment in range(1, 26):
            for _ in range(20):  # as the shipper does: what fails is tried again
                try:
                    table_in(tmp_path).append_once(spool, segment, rows(segment, spool=spool))
                    break
                except Exception as error:  # noqa: BLE001 - counted below
                    faults.append(error)

    def clean() -> None:
        for segment in range(1, 9):
            table_in(tmp_path).delete(equal_to([{"spool": "a-0", "segment": segment}]))
            table_in(tmp_path).shed_history()

    table_in(tmp_path).append_once("c-0", 1, rows(1, spool="c-0"))
    workers = [threading.Thread(target=ship, args=(name,)) for name in ("a-0", "b-0")]
    workers.append(threading.Thread(target=clean))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for segment in range(1, 9):
        table_in(tmp_path).delete(equal_to([{"spool": "a-0", "segment": segment}]))

    found = table_in(tmp_path).scan().select("spool", "segment", "id").collect()
    assert found.height == found.unique().height
    assert sorted(found.filter(pl.col("spool") == "a-0")["segment"].unique().to_list()) == list(range(9, 26))
    assert found.filter(pl.col("spool") == "b-0").height == 75
    assert len(faults) < 20, faults


@pytest.fixture
def s3_elsewhere(monkeypatch, tmp_path):
    """As `s3_storage`, with the server in a process of its own: some calls of the engine stop all threads of ours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    endpoint = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="team")
    yield StorageSettings(home=tmp_path, objects="s3://team/kedge", s3_endpoint=endpoint)
    server.kill()
    server.wait()


@pytest.mark.slow
def test_a_table_in_a_bucket_sheds_its_history_too(s3_elsewhere):
    table = Table(s3_elsewhere, "things", SCHEMA, ("date", "spool"))
    for segment, name in enumerate(["one", "the-person-to-forget"], start=1):
        table.append_once("a-0", segment, rows(segment, count=1).with_columns(id=pl.lit(name)))
    objects = open_objects(s3_elsewhere)

    def held() -> list[str]:
        logs = [key for key in objects.list("tables/things/") if key.endswith(".json")]
        return [key for key in logs if b"the-person-to-forget" in objects.get(key)]

    before_it = held()
    table.delete(equal_to([{"spool": "a-0", "segment": 2}]))
    table.shed_history()

    assert len(before_it) == 1
    assert held() == []
    assert ids(table) == ["one"]
    assert sum(key.endswith(".zstd.parquet") or "snappy" in key for key in objects.list("tables/things/")) == 1
