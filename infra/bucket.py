"""Objects in an S3 bucket, and what its libraries raise. Imported only where a bucket is used: they load slowly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected

from infra.objects import ObjectMissing, Stored, checked_key

_SERVERS_FAULT, _TOO_MANY = 500, 429  # HTTP
# What a caller that wants to wait for a store to come back has to catch.
StoreUnreachable = (BotoCoreError, Boto3Error, ClientError, OSError)


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
        checked_key(f"{prefix}-")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        for page in pages:
            for entry in page.get("Contents", []):
                yield Stored(entry["Key"].removeprefix(self.prefix), int(entry["Size"]), entry["LastModified"])

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def describe(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def _name(self, key: str) -> str:
        return self.prefix + checked_key(key)


def is_away(error: BaseException) -> bool:
    """Whether a bucket did not answer, or said that it cannot now; not where it refused: no such bucket, no right."""
    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= _SERVERS_FAULT or status == _TOO_MANY
    return isinstance(error, HTTPClientError | NotConnected | Boto3Error)


def _is_missing(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NotFound"}
