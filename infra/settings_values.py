"""How one setting's value is read, checked and, when it is wrong, explained."""

import dataclasses
import difflib
import math
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args, get_origin

_PLURALS = {str: "texts", float: "numbers"}


def typed(value: Any, field: "dataclasses.Field[Any]") -> Any:
    """
    The value as the field's type.

    Raises:
        ValueError: words that continue "section.name …", such as "should be a whole number; found 'many'".
    """
    wanted = field_type(field)
    result = _converted(value, wanted)
    if isinstance(result, tuple):
        item = get_args(field.type)[0]
        result = tuple(_converted(each, item) for each in result)
        if None in result:
            raise ValueError(f"should be a list of {_PLURALS[item]}; found {value!r}")
    if result is None:
        raise ValueError(f"should be {_words(wanted)}; found {value!r}")
    _check_form(result, field)
    for number in result if isinstance(result, tuple) else (result,):
        _check_range(number, value, field)
    return result


def parse_text(text: str, field: "dataclasses.Field[Any]") -> Any:
    """An environment variable's text as the value a TOML file would hold; unreadable text stays text."""
    wanted = field_type(field)
    if wanted in (str, Path):
        return text
    if wanted is tuple and not text.startswith("["):
        # `a,b` is what people write for a list in a shell.
        items = [item.strip() for item in text.split(",") if item.strip()]
        return items if get_args(field.type)[0] is str else [_parsed(item) for item in items]
    return _parsed(text)


def field_type(field: "dataclasses.Field[Any]") -> type:
    """The plain type behind the field's annotation: `tuple[str, ...]` is `tuple`."""
    wanted = get_origin(field.type) or field.type
    assert isinstance(wanted, type), f"{field.name} is annotated with a text; settings need real types"
    return wanted


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where something known looks alike, else nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _check_form(value: Any, field: "dataclasses.Field[Any]") -> None:
    choices, form, sizes = (field.metadata[name] for name in ("choices", "form", "sizes"))
    if choices and value not in choices:
        raise ValueError(f"should be one of {', '.join(choices)}; found {value!r}{nearest(str(value), choices)}")
    if form and not re.fullmatch(form, value):
        raise ValueError(
            "should be 1 to 64 letters (a-z), digits, '.', '_' or '-', and begin with a letter or a digit; "
            f"found {value!r}"
        )
    if sizes and len(value) not in sizes:
        allowed = " or ".join(str(size) for size in sizes)
        raise ValueError(f"should have {allowed} values; found {len(value)}: {list(value)}")


def _check_range(number: Any, found: Any, field: "dataclasses.Field[Any]") -> None:
    least, most = field.metadata["least"], field.metadata["most"]
    # Asked this way round, nan is refused as well.
    if least is not None and not least <= number < math.inf:
        raise ValueError(f"should be at least {least}; found {found!r}")
    if most is not None and not number <= most:
        raise ValueError(f"should be at most {most}; found {found!r}")


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


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
