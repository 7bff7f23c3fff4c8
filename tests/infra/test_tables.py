import threading
from pathlib import Path

import boto3
import polars as pl
import pytest
from moto.server import ThreadedMotoServer

from infra.objects import open_objects
from infra.settings_sections import StorageSettings
from infra.tables import Table, storage_options

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
