"""Figures as they are measured, a line each, so that a benchmark that was broken off goes on where it was."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Key = tuple[Any, ...]


class Measured:
    """
    The lines of a file; a line cut short by an interruption is measured again.

    keys: the fields that tell one measurement from another; the last of the same key counts.
    """

    def __init__(self, path: Path, keys: tuple[str, ...]) -> None:
        self._path, self._keys = path, keys
        self._found: dict[Key, dict[str, Any]] = {}
        for line in path.read_text().splitlines() if path.is_file() else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            self._found[self._key(row)] = row

    def __contains__(self, row: Mapping[str, Any]) -> bool:
        return self._key(row) in self._found

    def rows(self) -> list[dict[str, Any]]:
        return list(self._found.values())

    def add(self, row: dict[str, Any]) -> None:
        self._found[self._key(row)] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut_short = self._path.is_file() and not self._path.read_bytes().endswith(b"\n") and self._path.stat().st_size
        with self._path.open("a") as file:
            file.write(("\n" if cut_short else "") + json.dumps(row) + "\n")

    def _key(self, row: Mapping[str, Any]) -> Key:
        return tuple(row.get(name) for name in self._keys)
