"""The rows of a manifest, from CSV or Parquet, as text."""

import csv
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import UserError

_OTHER_NAMES = {
    "image": ("file", "filename", "file_name", "filepath", "path", "img", "image_path", "picture"),
    "label": ("class", "category", "target", "y", "class_name"),
}


@dataclass(frozen=True)
class ManifestRow:
    """
    One row.

    Attributes:
        number: as a spreadsheet counts: the heading is row 1.
        values: text by column, stripped; empty where nothing stands.
    """

    number: int
    values: Mapping[str, str]


def read_rows(path: Path, wanted: Sequence[str]) -> tuple[ManifestRow, ...]:
    """
    Every row of a CSV or Parquet file.

    Raises:
        UserError: the file cannot be read, or lacks a wanted column (naming the one that was perhaps meant).
    """
    columns, rows = _read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path)
    _check_columns(path, columns, wanted)
    return tuple(rows)


def _read_csv(path: Path) -> tuple[list[str], list[ManifestRow]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            columns = [name.strip() for name in next(reader, [])]
            rows = []
            for line in reader:
                cells = [cell.strip() for cell in line]
                if len(cells) > len(columns):
                    raise UserError(
                        f"{path}: row {reader.line_num} has {len(cells)} cells and the heading {len(columns)}; "
                        "put a value that holds a comma in double quotes"
                    )
                if any(cells):
                    cells += [""] * (len(columns) - len(cells))
                    rows.append(ManifestRow(reader.line_num, dict(zip(columns, cells, strict=True))))
            return columns, rows
    except (UnicodeDecodeError, csv.Error) as problem:
        raise UserError(
            f"the manifest {path} cannot be read as CSV in UTF-8: {problem}; save it as UTF-8, or as Parquet"
        ) from problem


def _read_parquet(path: Path) -> tuple[list[str], list[ManifestRow]]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as problem:
        raise UserError(f"{path} is Parquet, which needs pyarrow: pip install 'kedge[train]'") from problem
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as problem:
        raise UserError(f"the manifest {path} cannot be read as Parquet: {problem}") from problem
    records: list[dict[str, Any]] = table.to_pylist()
    rows = [
        ManifestRow(number, {name: "" if value is None else str(value).strip() for name, value in record.items()})
        for number, record in enumerate(records, start=2)
    ]
    return list(table.column_names), rows


def _check_columns(path: Path, columns: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in columns]
    if not missing:
        return
    lines = [f"no column {name!r}{_nearest(name, columns)}" for name in missing]
    found = ", ".join(repr(name) for name in columns[:12]) or "none"
    hint = "; separate columns by commas" if any(";" in name or "\t" in name for name in columns) else ""
    raise UserError(f"{path} cannot be used:\n  " + "\n  ".join(lines) + f"\n  its columns are {found}{hint}")


def _nearest(name: str, columns: Sequence[str]) -> str:
    lower = {column.lower(): column for column in columns}
    known = [other for other in (name, *_OTHER_NAMES.get(name, ())) if other in lower]
    close = known or difflib.get_close_matches(name, list(lower), n=1)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""
