"""Bytes by key: a local folder or an S3 bucket behind one small interface."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected

from infra.errors import UserError
from infra.files import write_atomically
from infra.settings_sections import StorageSettings

_SERVERS_FAULT, _TOO_MANY = 500, 429  # HTTP


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
        start = self.folder / _checked(f"{prefix}-").rpartition("/")[0]
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
        return self.folder / _checked(key)


class S3Objects:
    """Objects in a bucket; credentials come from the environment, as boto3 finds them."""

    def __init__(self, bucket: str, prefix: str, endpoint: str, region: str) -> None:
        self.bucket, self.prefix = bucket, f"{prefix}/" if prefix else ""
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=region or None,
            # Path style works with every S3 server; virtual hosts need a name server that knows each bucket.
            config=Config(
                s3={"addressing_style": "path"},
                retries={"max_attempts": 4, "mode": "standard"},
                connect_timeout=5,
                read_timeout=30,
            ),
        )

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self._name(key), Body=data)

    def put_file(self, key: str, path: Path) -> None:
        self.client.upload_file(str(path), self.bucket, self._name(key))

    def get(self, key: str) -> bytes:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self._name(key))
        except ClientError as error:
            if _is_missing(error):
                raise ObjectMissing(key) from error
            raise
        data: bytes = answer["Body"].read()
        return data

    def exists(self, key: str) -> bool:
        try:
            self.client.head_object(Bucket=self.bucket, Key=self._name(key))
        except ClientError as error:
            if _is_missing(error):
                return False
            raise
        return True

    def list(self, prefix: str) -> Iterator[str]:
        yield from (one.key for one in self.stored(prefix))

    def stored(self, prefix: str) -> Iterator[Stored]:
        _checked(f"{prefix}-")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        for page in pages:
            for entry in page.get("Contents", []):
                yield Stored(entry["Key"].removeprefix(self.prefix), int(entry["Size"]), entry["LastModified"])

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def describe(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def _name(self, key: str) -> str:
        return self.prefix + _checked(key)


# What a caller that wants to wait for a store to come back has to catch.
StoreUnreachable = (BotoCoreError, Boto3Error, ClientError, OSError)


def is_away(error: BaseException) -> bool:
    """Whether a bucket did not answer, or said that it cannot now; not where it refused: no such bucket, no right."""
    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= _SERVERS_FAULT or status == _TOO_MANY
    return isinstance(error, HTTPClientError | NotConnected | Boto3Error)


def _checked(key: str) -> str:
    """The key itself, where it means the same to a folder and to a bucket."""
    path = PurePosixPath(key)
    if not path.parts or path.is_absolute() or ".." in path.parts or str(path) != key:
        raise ValueError(f"'{key}' is not an object key: expected a relative path without '..'")
    return key


def _is_missing(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NotFound"}
