"""Bytes by key: a local folder or an S3 bucket behind one small interface."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from infra.errors import UserError
from infra.files import write_atomically
from infra.settings_sections import StorageSettings


class ObjectMissing(KeyError):
    """No object is stored under the key."""


@dataclass(frozen=True)
class Stored:
    """One object as it lies there; `written_at` is when it was last put."""

    key: str
    bytes: int
    written_at: datetime


class ObjectStore(Protocol):
    """Whole objects by key. Keys are relative paths with forward slashes; a put replaces atomically."""

    def put(self, key: str, data: bytes) -> None: ...
    def put_file(self, key: str, path: Path) -> None: ...
    def get(self, key: str) -> bytes: ...
    def exists(self, key: str) -> bool: ...
    def list(self, prefix: str) -> Iterator[str]: ...
    def stored(self, prefix: str) -> Iterator[Stored]: ...
    def delete(self, key: str) -> None: ...
    def describe(self) -> str: ...


def open_objects(storage: StorageSettings) -> ObjectStore:
    """The store that `storage.objects` names: `file:///folder` or `s3://bucket/prefix`."""
    url = urlsplit(storage.objects)
    if url.scheme == "file":
        return LocalObjects(Path(unquote(url.path)))
    if url.scheme == "s3" and url.netloc:
        # A quarter of a second of libraries, which a folder does without.
        from infra.bucket import S3Objects

        return S3Objects(url.netloc, url.path.strip("/"), storage.s3_endpoint, storage.s3_region)
    raise UserError(
        f"storage.objects is '{storage.objects}'; expected a folder or 's3://bucket/prefix'. Set it in kedge.toml."
    )


class LocalObjects:
    """Objects as files below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, key: str, data: bytes) -> None:
        write_atomically(self._path(key), data)

    def put_file(self, key: str, path: Path) -> None:
        self.put(key, path.read_bytes())

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ObjectMissing(key) from error

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        # Only the deepest whole folder of the prefix is walked: the rest of it may be a part of a name.
        start = self.folder / checked_key(f"{prefix}-").rpartition("/")[0]
        keys = (
            (Path(folder) / name).relative_to(self.folder).as_posix()
            for folder, _, names in os.walk(start)
            for name in names
            if not (name.startswith(".") and name.endswith(".draft"))  # infra.files is at it
        )
        yield from sorted(key for key in keys if key.startswith(prefix))

    def stored(self, prefix: str) -> Iterator[Stored]:
        for key in self.list(prefix):
            try:
                facts = self._path(key).stat()
            except FileNotFoundError:
                continue  # deleted in this moment
            yield Stored(key, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def describe(self) -> str:
        return str(self.folder)

    def _path(self, key: str) -> Path:
        return self.folder / checked_key(key)


def checked_key(key: str) -> str:
    """The key itself, where it means the same to a folder and to a bucket."""
    path = PurePosixPath(key)
    if not path.parts or path.is_absolute() or ".." in path.parts or str(path) != key:
        raise ValueError(f"'{key}' is not an object key: expected a relative path without '..'")
    return key
