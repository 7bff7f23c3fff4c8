"""A ledger row's facts in one line, for people; whoever needs all of them takes the JSON."""

import json
import re
from collections.abc import Mapping
from typing import Any

_HASH = re.compile(r"\b[0-9a-f]{40,}\b")
_SHOWN_DIGITS = 8


def in_short(facts: Mapping[str, Any], most_characters: int) -> str:
    """What the facts say, without what is empty; hashes by their beginning, and no longer than asked for."""
    told = [f"{name} {_value(value)}" for name, value in facts.items() if value not in (None, "", [], {})]
    said = _HASH.sub(lambda found: f"{found.group()[:_SHOWN_DIGITS]}…", ", ".join(told))
    return said if len(said) <= most_characters else f"{said[:most_characters]}…"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
