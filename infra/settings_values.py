"""How one setting's value is read, checked and, when it is wrong, explained."""

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_origin


def typed(value: Any, field: "dataclasses.Field[Any]") -> Any:
    """
    The value as the field's type.

    Raises:
        ValueError: words that continue "section.name …", such as "should be int; found 'many'".
    """
    wanted = field_type(field)
    result = _converted(value, wanted)
    if result is None:
        raise ValueError(f"should be {_words(wanted)}; found {value!r}")
    choices, least = field.metadata["choices"], field.metadata["least"]
    if choices and result not in choices:
        raise ValueError(f"should be one of {', '.join(choices)}; found {value!r}{nearest(str(value), choices)}")
    if least is not None and (not math.isfinite(result) or result < least):
        raise ValueError(f"should be at least {least}; found {value!r}")
    return result


def parse_text(text: str, wanted: type) -> Any:
    """An environment variable's text as the value a TOML file would hold; unreadable text stays text."""
    if wanted in (str, Path):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        # `a,b` is what people write for a list in a shell.
        return [item.strip() for item in text.split(",")] if wanted is tuple and text else text


def field_type(field: "dataclasses.Field[Any]") -> type:
    """The plain type behind the field's annotation: `tuple[str, ...]` is `tuple`."""
    wanted = get_origin(field.type) or field.type
    assert isinstance(wanted, type), f"{field.name} is annotated with a text; settings need real types"
    return wanted


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where something known looks alike, else nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _converted(value: Any, wanted: type) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted is int and isinstance(value, bool):
        return None
    if wanted is Path and isinstance(value, str):
        return Path(value).expanduser()
    if wanted is tuple and isinstance(value, list):
        return tuple(value)
    return value if isinstance(value, wanted) else None


def _words(wanted: type) -> str:
    return {Path: "a path", tuple: "a list", dict: "a table", str: "a text", bool: "true or false"}.get(
        wanted, {int: "a whole number", float: "a number"}.get(wanted, wanted.__name__)
    )
