import hashlib
import threading

import pytest

from infra.files import sha256_of, write_atomically


def test_a_written_file_holds_the_bytes_and_its_folder_nothing_else(tmp_path):
    path = tmp_path / "deep" / "down" / "file"

    write_atomically(path, b"\x00\xff")

    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_text_is_written_as_utf_8_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("something much longer than what follows")

    write_atomically(path, "Grüße")

    assert path.read_bytes() == b"Gr\xc3\xbc\xc3\x9fe"


def test_a_reader_sees_the_old_content_or_the_new_and_never_a_mixture(tmp_path):
    path = tmp_path / "file"
    contents = {bytes([letter]) * 200_000 for letter in b"abcd"}
    write_atomically(path, min(contents))

    # Threads of one process: two that shared a draft would take it from each other.
    failures = []

    def write(content):
        try:
            for _ in range(15):
                write_atomically(path, content)
        except OSError as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_bytes())

    assert failures == []
    assert seen <= contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_content_and_no_draft(tmp_path):
    path = tmp_path / "a folder is in the way"
    path.mkdir()
    (path / "kept").write_text("kept")

    with pytest.raises(OSError, match="a folder is in the way"):
        write_atomically(path, "new")

    assert list(tmp_path.iterdir()) == [path]
    assert (path / "kept").read_text() == "kept"


@pytest.mark.parametrize("size", [0, 5, (1 << 20) + 1])
def test_the_checksum_covers_the_whole_file(tmp_path, size):
    content = b"x" * size
    (tmp_path / "file").write_bytes(content)

    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
