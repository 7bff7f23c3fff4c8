"""What each change of champion was: where an older version is promoted, nobody went back."""

from collections.abc import Sequence

from infra.ledger import LedgerRow
from monitoring.decisions.rows import Row

STREAM = "models"
KINDS = PROMOTED, ROLLED_BACK, PUT_BACK = "promoted", "rolled back", "put back"
BACKWARDS = (ROLLED_BACK, PUT_BACK)


def noted_moves(moves: Sequence[Row], noted: Sequence[LedgerRow]) -> dict[int, LedgerRow]:
    """
    The ledger's row of each change of champion, by the change's sequence; what has none is left out.

    Args:
        moves: Of the pointer's history, oldest first.
        noted: Of the ledger's stream of models, oldest first.
    """
    # Both were written in one transaction and in one order, so that each row is looked for after the one before.
    rows, place = [row for row in noted if row.kind in KINDS], 0
    told: dict[int, LedgerRow] = {}
    for move in moves:
        fitting = (number for number in range(place, len(rows)) if _tells(rows[number], move))
        number = next(fitting, None)
        if number is not None:
            told[move["sequence"]], place = rows[number], number + 1
    return told


def _tells(row: LedgerRow, move: Row) -> bool:
    told = (row.facts.get("version"), row.facts.get("previous_version"), row.actor, row.facts.get("reason"))
    return told == (move["version"], move["previous_version"], move["actor"], move["reason"])
