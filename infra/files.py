"""Files that are never half-written."""

import hashlib
import os
import threading
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def write_atomically(path: Path, data: bytes | str) -> None:
    """
    Replace `path` as a whole: a reader sees the old content or the new, also after a power cut.

    The folder is made when it is missing. Text is written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The numbers keep two writers of one name, also two threads, from sharing a draft; the last rename wins.
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        # A full disk is not made fuller by what could not be finished.
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
