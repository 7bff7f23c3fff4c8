"""A registered version that was judged once more: what the gate says now stands in its row."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.database import writing
from infra.ledger import append_within
from models.gate_records import PROMOTE, GateDecision


def note_judged_again(
    engine: sa.Engine, name: str, version: int, decision: GateDecision, scorecard: Mapping[str, Any], *, actor: str
) -> str:
    """
    Keep the newer decision and scores, with the ledger's row in the same transaction; gives the version's state.

    Only a version that is neither champion nor was one changes its state: what happened is not undone by a reading.
    """
    table = schema.model_versions
    mine = (table.c.name == name) & (table.c.version == version)
    gate = json.loads(json.dumps(decision.to_json(), allow_nan=False))
    with writing(engine) as connection:
        state = str(connection.execute(sa.select(table.c.state).where(mine)).scalar_one())
        if state in ("registered", "refused"):
            state = "registered" if decision.outcome == PROMOTE or decision.relief else "refused"
        values = {"gate": gate, "scorecard": dict(scorecard), "state": state}
        connection.execute(table.update().where(mine).values(**values))
        facts = {
            "version": version,
            "outcome": decision.outcome,
            "relief": decision.relief,
            "words": decision.words(),
            "reading": 2,
        }
        append_within(connection, "decisions", "gate", facts, actor)
    return state
