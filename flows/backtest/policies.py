"""The policies that a backtest sets side by side: by name, by name and number, or from a file."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.backtest.policy_kinds import KEDGE, KINDS, Made, Usual
from infra.errors import UserError
from infra.settings_values import nearest
from monitoring.backtesting.judging import JUDGES

_KIND, _JUDGE = "kind", "judge"


@dataclass(frozen=True)
class Policy:
    """
    One policy.

    Attributes:
        judge: Who lets its candidates through: "gate", "guard" or "nobody".
    """

    name: str
    judge: str
    made: Made


def policies_of(text: str, usual: Usual, judge: str) -> tuple[Policy, ...]:
    """
    Read what `--policies` says: a TOML file, or names with commas between, each perhaps with a number (labels=200).

    Raises:
        UserError: a name, a key or a value that cannot be meant.
    """
    if judge not in JUDGES:
        raise UserError(f"--judge {judge} is nobody; {_one_of(judge, JUDGES)}")
    if text.endswith(".toml"):
        return tuple(_policy(name, given, usual, judge) for name, given in _read(Path(text)).items())
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UserError("--policies names none; expected a .toml file, or names such as never,labels=200,kedge.")
    return tuple(_policy(name, _said(name), usual, judge) for name in names)


def _read(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"--policies {path} is not there; expected a TOML file with a section for each.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--policies {path} is not valid TOML: {error}. Mend that place.") from None
    loose = [name for name, given in found.items() if not isinstance(given, dict)]
    if loose or not found:
        what = f"{', '.join(loose)} outside any section" if loose else "no section"
        raise UserError(f'{path} has {what}; expected one for each policy, as [cautious] with kind = "kedge" in it.')
    return found


def _said(text: str) -> Mapping[str, Any]:
    """A name, perhaps with a number, as a section would say it."""
    kind, equals, number = (part.strip() for part in text.partition("="))
    if not equals:
        return {_KIND: kind}
    if kind in KINDS and not KINDS[kind].number:
        raise UserError(f"--policies {text}: {kind} takes no number; expected {kind} alone, or a .toml file.")
    try:
        return {_KIND: kind, KINDS[kind].number if kind in KINDS else "": float(number)}
    except ValueError:
        raise UserError(f"--policies {text}: {number!r} is no number; expected one as in labels=200.") from None


def _policy(name: str, given: Mapping[str, Any], usual: Usual, judge: str) -> Policy:
    kind, judged = str(given.get(_KIND, "")), str(given.get(_JUDGE, judge))
    if kind not in KINDS:
        raise UserError(f"Policy {name!r} is of the kind {kind!r}; {_one_of(kind, KINDS)}")
    if judged not in JUDGES:
        raise UserError(f"Policy {name!r} is judged by {judged!r}; {_one_of(judged, JUDGES)}")
    rest = {key: value for key, value in given.items() if key not in (_KIND, _JUDGE)}
    for key, value in rest.items():
        if key not in KINDS[kind].keys:
            known = (_KIND, _JUDGE, *KINDS[kind].keys)
            raise UserError(f"Policy {name!r} has {key!r}, which its kind does not know; {_one_of(key, known)}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind != KEDGE and not (is_number and value > 0):
            raise UserError(f"Policy {name!r}: {key} should be a number above 0; found {value!r}.")
    try:
        return Policy(name, judged, KINDS[kind].make(rest, usual))
    except UserError as mistake:
        raise UserError(f"Policy {name!r}: {mistake}") from None


def _one_of(word: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"expected one of {', '.join(names)}{nearest(word, names) or '.'}"
