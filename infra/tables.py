"""Tables that grow without end: Delta tables on the object store, appended exactly once, read in columns."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import Schema

from infra.errors import UserError
from infra.settings_sections import StorageSettings

_MOST_TRIES = 20
_MOST_OPENS, _BEFORE_NEXT_OPEN_S = 5, 0.05
_CHECKPOINT_EVERY = 50
_LOG_KEPT = "delta.logRetentionDuration"


class Table:
    """
    One Delta table, partitioned by `partitions`; made by its first append.

    It holds no connection: every call opens the table afresh, because a handle that has grown old is
    exactly what must not be trusted by `append_once`.
    """

    def __init__(
        self, storage: StorageSettings, name: str, schema: Mapping[str, pl.DataType], partitions: tuple[str, ...]
    ) -> None:
        self.name, self.schema, self.partitions = name, pl.Schema(schema), partitions
        self.address = f"{_root(storage)}/tables/{name}"
        self.options = storage_options(storage)

    def append_once(self, app_id: str, version: int, rows: pl.DataFrame) -> bool:
        """
        Append the rows unless this `version` of `app_id`, or a later one, is already in the table.

        Versions of one `app_id` must come in rising order from one writer at a time. Delta by itself accepts
        a repeated version and lets a lower one set the counter back; only a commit through a handle that is
        older than the other's commit is refused. Hence: open afresh, look, write through that same handle,
        and after a refused commit begin again from the look.

        Returns:
            True when these rows were appended by this call, False when they were there already.
        """
        # Polars hands over Arrow memory by a protocol that the two libraries' types do not agree about.
        columns: Any = rows.select(pl.col(name).cast(kind) for name, kind in self.schema.items())
        refusal: Exception | None = None
        for _ in range(_MOST_TRIES):
            table = self._open() or self._create()
            try:
                seen = table.transaction_version(app_id)
                if seen is not None and seen >= version:
                    return False
                write_deltalake(
                    table,
                    columns,
                    mode="append",
                    # Only where the table is older than a column: merging costs a look at every field.
                    schema_mode="merge" if self._lacks(table) else None,
                    partition_by=list(self.partitions),
                    commit_properties=CommitProperties(app_transactions=[Transaction(app_id, version)]),
                )
            except (DeltaError, OSError) as error:
                if not _overtaken(error):
                    raise
                refusal = error
                continue
            if (table.version() + 1) % _CHECKPOINT_EVERY == 0:
                self._checkpoint()
            return True
        raise refusal or CommitFailedError(f"the table '{self.name}' was never free to append to")

    def newest(self, app_id: str) -> int | None:
        """The highest version of `app_id` in the table; None when there is none."""
        table = self._open()
        return None if table is None else table.transaction_version(app_id)

    def scan(self) -> pl.LazyFrame | None:
        """All rows, read lazily: a filter on a partition or a sorted column skips whole files. None: no table yet."""
        table = self._open()
        if table is None:
            return None
        frame = pl.scan_delta(table, storage_options=self.options or None)
        # A table that nothing was appended to since a column came reads as if it had always been empty.
        return frame.with_columns(pl.lit(None, self.schema[name]).alias(name) for name in self._lacks(table))

    def commits(self) -> int:
        """How many commits the table has had; 0 before the first."""
        table = self._open()
        return 0 if table is None else table.version() + 1

    def compact(self) -> int:
        """
        Merge small files within each partition and write a checkpoint; rows and their order do not change.

        Returns:
            How many files were merged away. An append that gets in between wins; the next call merges.
        """
        table = self._open()
        if table is None:
            return 0
        try:
            outcome = table.optimize.compact()
            self._checkpoint()
        except (DeltaError, OSError) as error:
            if not _overtaken(error):
                raise
            return 0
        return int(outcome["numFilesRemoved"]) - int(outcome["numFilesAdded"])

    def vacuum(self, keep_hours: int = 168, *, strays: bool = False) -> int:
        """
        Delete files that were replaced or deleted more than `keep_hours` ago; returns how many.

        Only files that the log names as removed go: what a writer has written and not committed yet is safe at any
        `keep_hours`. A reader that opened the table before they were removed fails once and has to open it again.

        strays: also delete files of that age that the log does not name at all, which writers leave that were killed.
        """
        table = self._open()
        if table is None:
            return 0
        gone = table.vacuum(retention_hours=keep_hours, enforce_retention_duration=False, dry_run=False, full=strays)
        return len(gone)

    def delete(self, rows: str) -> int:
        """
        Delete rows and say how many; an append that gets in between wins, and the deletion is tried again.

        The deleted rows stay in older files until `vacuum`, and the condition itself, with the least and the greatest
        value of each column, in the log until `shed_history`: name nothing in it that must not be kept.

        Args:
            rows: a condition in SQL, as `equal_to` and `before` make it. One on partition columns alone drops whole
                files; any other rewrites the files that it matches.
        """
        refusal: Exception | None = None
        for _ in range(_MOST_TRIES):
            table = self._open()
            if table is None:
                return 0
            try:
                return int(table.delete(rows)["num_deleted_rows"] or 0)
            except (DeltaError, OSError) as error:
                if not _overtaken(error):
                    raise
                refusal = error
        raise refusal or CommitFailedError(f"the table '{self.name}' was never free to delete from")

    def shed_history(self) -> None:
        """
        Leave nothing of rows that were deleted: neither in files nor in the log, which keeps the least and the greatest
        value of each column of every file it ever named.

        For once the log is kept from its newest checkpoint on, and files go at once: whoever reads or writes an older
        version in this moment meets a file that is gone, and begins again. Done again it does no harm, so that one that
        was broken off is simply repeated.
        """
        refusal: Exception | None = None
        for _ in range(_MOST_TRIES):
            try:
                return self._shed_history()
            except (DeltaError, OSError) as error:
                if not _overtaken(error):
                    raise
                refusal = error
        raise refusal or CommitFailedError(f"the table '{self.name}' was never free to be cleaned")

    def _shed_history(self) -> None:
        if self._open() is None:
            return
        self.compact()
        self.vacuum(0)
        for kept in ("interval 0 days", "interval 30 days"):
            table = self._open()
            assert table is not None
            table.alter.set_table_properties({_LOG_KEPT: kept})
            self._checkpoint()
            if kept == "interval 0 days":
                newest = self._open()
                assert newest is not None
                # The commit above cleans by itself, but only up to the checkpoint that was there before it.
                newest.cleanup_metadata()

    def _lacks(self, table: DeltaTable) -> list[str]:
        present = {column.name for column in table.schema().fields}
        return [name for name in self.schema if name not in present]

    def _open(self) -> DeltaTable | None:
        for left in reversed(range(_MOST_OPENS)):
            try:
                return DeltaTable(self.address, storage_options=self.options or None)
            except TableNotFoundError:
                return None
            except (DeltaError, OSError) as error:
                if not left or not _overtaken(error):
                    raise
                time.sleep(_BEFORE_NEXT_OPEN_S)
        return None

    def _create(self) -> DeltaTable:
        if self.address.startswith("/"):
            Path(self.address).mkdir(parents=True, exist_ok=True)
        empty = pl.DataFrame(schema=self.schema).to_arrow(compat_level=pl.CompatLevel.oldest())
        try:
            return DeltaTable.create(
                self.address,
                Schema.from_arrow(empty.schema),
                mode="error",
                partition_by=list(self.partitions),
                name=self.name,
                storage_options=self.options or None,
            )
        except DeltaError:
            # Somebody else was first, which is as good; anything worse shows when it is opened.
            table = self._open()
            if table is None:
                raise
            return table

    def _checkpoint(self) -> None:
        # Reading replays the log since the last checkpoint, so without one every append grows dearer.
        table = self._open()
        if table is not None:
            table.create_checkpoint()


def equal_to(rows: Iterable[Mapping[str, str | int]]) -> str:
    """The condition of `Table.delete` on rows that have all these values of any of these mappings, at least one."""
    each = [" AND ".join(f'"{column}" = {_literal(value)}' for column, value in row.items()) for row in rows]
    if not all(each) or not each:
        raise ValueError("a condition without a value would delete everything")
    return " OR ".join(f"({one})" for one in each)


def before(column: str, value: str) -> str:
    """The condition on rows whose column sorts before the value."""
    return f'"{column}" < {_literal(value)}'


def storage_options(storage: StorageSettings) -> dict[str, str]:
    """What the table engine must be told about the object store; the same facts that the object client gets."""
    if urlsplit(storage.objects).scheme != "s3":
        return {}
    options = {"AWS_REGION": storage.s3_region or "us-east-1", "AWS_CONDITIONAL_PUT": "etag"}
    if storage.s3_endpoint:
        options |= {"AWS_ENDPOINT_URL": storage.s3_endpoint, "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false"}
        if storage.s3_endpoint.startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        if os.environ.get(name):
            options[name] = os.environ[name]
    return options


def _literal(value: str | int) -> str:
    # In this dialect a quote is escaped by another one, and a backslash is only itself.
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def _overtaken(error: Exception) -> bool:
    """Whether somebody else's commit came first, or took away the log of the version that was open."""
    words = str(error).lower()
    return isinstance(error, CommitFailedError) or "not found" in words or "invalid table version" in words


def _root(storage: StorageSettings) -> str:
    url = urlsplit(storage.objects)
    if url.scheme == "file":
        return unquote(url.path)
    if url.scheme == "s3" and url.netloc:
        return f"s3://{url.netloc}{url.path}".rstrip("/")
    raise UserError(
        f"storage.objects is '{storage.objects}'; expected a folder or 's3://bucket/prefix'. Set it in kedge.toml."
    )
