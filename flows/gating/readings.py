"""Readings of the judge images, as the ledger has them: how often, for whom, and what was replaced since."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.ledger import Ledger, LedgerRow

STREAM = "judge-readings"
READING, AGAIN, COMPARISON, REPLACED = "reading", "read again", "comparison", "oldest replaced"


@dataclass(frozen=True)
class Readings:
    """
    What the ledger says.

    Attributes:
        rows: Every reading and comparison, oldest first.
        since_replaced: How many of them came after the oldest images were last replaced.
        began: When the images that judge now began to be read: the last replacing, else the first reading.
        retired_until: By class, the age of the youngest image that judges no more.
    """

    rows: tuple[LedgerRow, ...]
    since_replaced: int
    began: datetime | None
    retired_until: Mapping[str, str]

    def of_candidate(self, onnx_sha256: str, champion: int | None) -> tuple[LedgerRow, ...]:
        """Those in which the gate held this model against this champion."""
        mine = [row for row in self.rows if row.kind == READING]
        return tuple(
            row for row in mine if (row.facts.get("onnx_sha256"), row.facts.get("champion")) == (onnx_sha256, champion)
        )


def readings(ledger: Ledger) -> Readings:
    """Read the stream."""
    rows, since, began, retired = [], 0, None, {}
    for row in ledger.rows(STREAM):
        if row.kind == REPLACED:
            since, began, retired = 0, row.at, dict(row.facts["retired_until"])
        elif row.kind in (READING, COMPARISON):
            rows.append(row)
            since += 1
            began = began or row.at
    return Readings(tuple(rows), since, began, retired)


def seen(facts: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a reading looked at: the same candidate on the same images says nothing new, and is the same reading."""
    recent = facts.get("recent")
    return facts["old"]["fingerprint"], None if recent is None else recent["fingerprint"]
