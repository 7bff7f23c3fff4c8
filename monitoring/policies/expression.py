"""The little language of `trigger.when`: names of policies, joined by any(…), all(…) and at_least(2, …)."""

import ast
from collections.abc import Collection
from dataclasses import dataclass

from infra.settings_values import nearest

HARM, PERFORMANCE, BIAS, LABELS, SCHEDULE, REQUESTED = POLICIES = (
    "harm",
    "performance",
    "bias",
    "labels",
    "schedule",
    "requested",
)
ANY, ALL, AT_LEAST = JOINS = ("any", "all", "at_least")
_EXPECTED = f"expected {', '.join(POLICIES)}, joined by any(…), all(…) or at_least(2, …)"


class ExpressionMistake(ValueError):
    """The text says nothing that can be followed; the message says where and what was expected."""


@dataclass(frozen=True)
class Expression:
    """
    A condition on which policies ask for a retrain.

    Attributes:
        policy: Name of one policy; "" where `parts` are joined.
        least: So many of the parts have to hold.
        parts: What is joined.
    """

    policy: str = ""
    least: int = 1
    parts: tuple["Expression", ...] = ()

    def holds(self, fired: Collection[str]) -> bool:
        """Whether it is true when these policies, and no others, ask."""
        if self.policy:
            return self.policy in fired
        return sum(part.holds(fired) for part in self.parts) >= self.least

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies it names, in the order in which they are known."""
        named = {self.policy, *(name for part in self.parts for name in part.policies)}
        return tuple(name for name in POLICIES if name in named)


def parse(text: str) -> Expression:
    """
    Read an expression; nothing in it is ever run.

    Raises:
        ExpressionMistake: with "did you mean" where a name comes near.
    """
    if not text.strip():
        raise ExpressionMistake(f'it is empty; {_EXPECTED}. "any(requested)" waits for people alone')
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return _read(tree)
    except SyntaxError as error:
        where = f" at character {error.offset}" if error.offset else ""
        raise ExpressionMistake(f"it cannot be read{where} ({error.msg}); {_EXPECTED}") from error
    except (RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, ExpressionMistake):
            raise
        raise ExpressionMistake(f"it cannot be read ({error}); {_EXPECTED}") from error


def _read(node: ast.expr) -> Expression:
    if isinstance(node, ast.Name):
        return _policy(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _join(node.func.id, node)
    if isinstance(node, ast.BoolOp):
        word = "all" if isinstance(node.op, ast.And) else "any"
        parts = ", ".join(ast.unparse(each) for each in node.values)
        raise ExpressionMistake(f"'{ast.unparse(node)}' joins with a word; write {word}({parts})")
    raise ExpressionMistake(f"'{ast.unparse(node)}' is no policy and joins none; {_EXPECTED}")


def _policy(name: str) -> Expression:
    if name in JOINS:
        raise ExpressionMistake(f"'{name}' needs its policies in brackets, as in {_example(name)}")
    if name not in POLICIES:
        raise ExpressionMistake(f"'{name}' is no policy{nearest(name.lower(), POLICIES)}; {_EXPECTED}")
    return Expression(name)


def _join(name: str, call: ast.Call) -> Expression:
    if name not in JOINS:
        hint = f"; '{name}' is a policy and takes no brackets" if name in POLICIES else nearest(name.lower(), JOINS)
        raise ExpressionMistake(f"'{name}(…)' joins nothing{hint}; {_EXPECTED}")
    if call.keywords or any(isinstance(each, ast.Starred) for each in call.args):
        raise ExpressionMistake(f"'{ast.unparse(call)}' should list policies and nothing else, as in {_example(name)}")
    given = list(call.args)
    least = _count(given.pop(0) if given else None, call) if name == AT_LEAST else None
    parts = tuple(_read(each) for each in given)
    if not parts:
        raise ExpressionMistake(f"'{ast.unparse(call)}' names no policy; write it as in {_example(name)}")
    wanted = least if least is not None else (len(parts) if name == ALL else 1)
    if not 1 <= wanted <= len(parts):
        raise ExpressionMistake(f"'{ast.unparse(call)}' asks for {wanted} of {len(parts)}; it could never hold or fail")
    return Expression(least=wanted, parts=parts)


def _count(node: ast.expr | None, call: ast.Call) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    raise ExpressionMistake(f"'{ast.unparse(call)}' should begin with a whole number, as in {_example(AT_LEAST)}")


def _example(name: str) -> str:
    return {AT_LEAST: "at_least(2, harm, labels, schedule)"}.get(name, f"{name}(harm, schedule)")
