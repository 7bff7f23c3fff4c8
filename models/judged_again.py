"""What the gate's word makes of a version, at first and when it is judged once more: that stands in its row."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.database import writing
from infra.ledger import append_within
from models.gate_needs import needs_of
from models.gate_records import PROMOTE, GateDecision
from models.registry import WAITING


def state_of(decision: GateDecision, *, last: bool) -> str:
    """
    The state of a version that was just judged: "registered", "refused" or, where labels would decide, "waiting".

    last: Whether no other reading is planned, so that nothing can be waited for.
    """
    if decision.outcome == PROMOTE or decision.relief:
        return "registered"
    return WAITING if needs_of(decision) and not last else "refused"


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
        if state in ("registered", "refused", WAITING):
            state = state_of(decision, last=True)
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
