"""One suite for both object stores: what holds for a folder holds for a bucket."""

import os
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import boto3
import pytest

from infra.bucket import S3Objects, StoreUnreachable
from infra.clock import now
from infra.errors import UserError
from infra.objects import LocalObjects, ObjectMissing, open_objects
from infra.settings_sections import StorageSettings

PATIENCE_S = 60


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory):
    """An S3 server in a process of its own, with the bucket `team`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    endpoint = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "somebody")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
        try:
            _until_it_listens(process, port, Path(log.name))
            boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="team")
            yield endpoint
        finally:
            # Asked politely, it would wait for every connection that is kept open.
            process.kill()
            process.wait()
            log.close()


@pytest.fixture(params=["folder", "bucket", "bucket without a prefix"])
def objects(request, tmp_path):
    if request.param == "folder":
        store = open_objects(StorageSettings(objects=f"file://{tmp_path}/objects"))
        assert isinstance(store, LocalObjects)
        yield store
        return
    endpoint = request.getfixturevalue("s3_server")
    url = "s3://team/kedge/here" if request.param == "bucket" else "s3://team"
    store = open_objects(StorageSettings(objects=url, s3_endpoint=endpoint))
    assert isinstance(store, S3Objects)
    yield store
    for key in list(store.list("")):
        store.delete(key)


def test_what_is_put_is_got_back(objects):
    objects.put("models/digits/1/model.onnx", b"\x00\xffbytes")

    assert objects.get("models/digits/1/model.onnx") == b"\x00\xffbytes"
    assert objects.exists("models/digits/1/model.onnx")


def test_an_object_may_be_empty_and_a_key_may_hold_blanks_and_umlauts(objects):
    objects.put("reports/Müller's 100 % #1?.html", b"")

    assert objects.get("reports/Müller's 100 % #1?.html") == b""
    assert list(objects.list("reports/")) == ["reports/Müller's 100 % #1?.html"]


def test_a_file_is_put_as_it_is(objects, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(300_000))

    objects.put_file("models/digits/1/model.safetensors", path)

    assert objects.get("models/digits/1/model.safetensors") == path.read_bytes()


def test_a_second_put_replaces_the_first(objects):
    objects.put("a/b", b"something long")
    objects.put("a/b", b"short")

    assert objects.get("a/b") == b"short"
    assert list(objects.list("a/")) == ["a/b"]


def test_a_reader_never_sees_a_half_replaced_object(objects):
    contents = {bytes([letter]) * 300_000 for letter in b"xy"}
    objects.put("a/b", min(contents))
    finished = threading.Event()

    def replace():
        for _ in range(10):
            for content in sorted(contents):
                objects.put("a/b", content)
        finished.set()

    writer = threading.Thread(target=replace)
    writer.start()
    seen = {objects.get("a/b")}
    while not finished.is_set():
        seen.add(objects.get("a/b"))
        assert set(objects.list("a/")) == {"a/b"}
    writer.join()

    assert seen <= contents


@pytest.mark.parametrize("key", ["a/c", "a", "a/b/c", "nothing"])
def test_what_was_never_put_is_missing(objects, key):
    objects.put("a/b", b"bytes")

    assert not objects.exists(key)
    with pytest.raises(ObjectMissing) as missing:
        objects.get(key)
    assert missing.value.args == (key,)


def test_a_deleted_object_is_gone_and_deleting_it_again_does_no_harm(objects):
    objects.put("a/b", b"bytes")
    objects.put("a/c", b"bytes")

    objects.delete("a/b")
    objects.delete("a/b")

    assert not objects.exists("a/b")
    assert list(objects.list("")) == ["a/c"]


def test_keys_are_listed_in_order_by_what_they_begin_with(objects):
    for key in ("models/2/b", "models/1/a", "models/10/a", "models-of-old/1", "modelsheet", "reports/1"):
        objects.put(key, b"")

    assert list(objects.list("models/")) == ["models/1/a", "models/10/a", "models/2/b"]
    assert list(objects.list("models/1")) == ["models/1/a", "models/10/a"]
    assert list(objects.list("models")) == [
        "models-of-old/1", "models/1/a", "models/10/a", "models/2/b", "modelsheet",
    ]  # fmt: skip
    assert len(list(objects.list(""))) == 6
    assert list(objects.list("nothing/")) == []


def test_what_is_stored_is_listed_with_its_size_and_when_it_was_written(objects):
    began = now() - timedelta(seconds=2)  # a bucket tells whole seconds
    objects.put("images/a", b"four")
    objects.put("images/b", b"")
    objects.put("models/c", b"elsewhere")

    found = list(objects.stored("images/"))

    assert [(one.key, one.bytes) for one in found] == [("images/a", 4), ("images/b", 0)]
    assert all(began <= one.written_at <= now() + timedelta(seconds=2) for one in found)


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "a/..", "/etc/passwd", "", ".", "a//b", "a/", "./a"])
def test_a_key_that_leaves_the_store_or_has_two_spellings_is_refused(objects, key, tmp_path):
    (tmp_path / "secret").write_text("not for callers")

    for use in (objects.get, objects.exists, objects.delete, lambda key: objects.put(key, b"")):
        with pytest.raises(ValueError) as refusal:
            use(key)
        assert str(refusal.value) == f"'{key}' is not an object key: expected a relative path without '..'"
    assert (tmp_path / "secret").read_text() == "not for callers"


@pytest.mark.parametrize("prefix", ["../", "/", "a/../"])
def test_a_listing_that_leaves_the_store_is_refused(objects, prefix):
    with pytest.raises(ValueError, match="is not an object key"):
        list(objects.list(prefix))


def test_two_prefixes_of_one_bucket_do_not_see_each_other(s3_server):
    here, there = (
        open_objects(StorageSettings(objects=f"s3://team/{prefix}", s3_endpoint=s3_server)) for prefix in ("one", "on")
    )
    here.put("a", b"bytes")

    assert list(there.list("")) == []
    assert not there.exists("e/a")
    assert here.describe() == "s3://team/one/"


def test_a_bucket_that_nobody_made_is_an_error_that_can_be_waited_for(s3_server, tmp_path):
    (tmp_path / "file").write_bytes(b"bytes")
    no_bucket = S3Objects("nobody-made-this", "", s3_server, "us-east-1")

    for use in (lambda: no_bucket.put("a", b""), lambda: no_bucket.put_file("a", tmp_path / "file")):
        with pytest.raises(StoreUnreachable):
            use()
    assert not no_bucket.exists("a")


@pytest.mark.slow
def test_a_server_that_is_away_is_an_error_that_can_be_waited_for(s3_server):
    away = S3Objects("team", "", "http://127.0.0.1:1", "us-east-1")

    with pytest.raises(StoreUnreachable):
        away.get("a")


@pytest.mark.parametrize("url", ["ftp://host/folder", "s3:///prefix", ""])
def test_an_address_that_names_no_store_is_explained(url):
    with pytest.raises(UserError) as refusal:
        open_objects(StorageSettings(objects=url))

    assert str(refusal.value) == (
        f"storage.objects is '{url}'; expected a folder or 's3://bucket/prefix'. Set it in kedge.toml."
    )


def _until_it_listens(process, port, log):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        else:
            return
