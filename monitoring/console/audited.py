"""The newest audit in a few lines, with a link to its page."""

from dataclasses import dataclass
from datetime import datetime

from monitoring.console import words
from monitoring.console.champion import report_href
from monitoring.console.rows import Rows


@dataclass(frozen=True)
class Audited:
    """
    What `kedge audit` last said.

    Attributes:
        tone: "bad" where a group differs, "warn" where none can be judged or the labels are not to be trusted.
        verdict: For a pill.
        lines: Differing groups, undecided ones, weak slices.
        warning: Of the labels it rests on; "" where there is nothing to beware of.
    """

    at: datetime
    tone: str
    verdict: str
    title: str
    lines: tuple[str, ...]
    warning: str
    href: str


def newest(found: Rows) -> Audited | None:
    """None before the first audit."""
    if not found.audits:
        return None
    row = found.audits[-1]
    facts = row["facts"]
    # Audits of an older version of the program kept only the number of images.
    differ, undecided, slices = facts.get("differ", ()), facts.get("undecided", 0), facts.get("weak_slices", ())
    lines = [f"{name} is treated differently from the rest." for name in differ]
    if undecided:
        lines.append(f"{words.plural(undecided, 'group')} undecided: too few labels to clear or blame.")
    lines += [f"Weak where {one}." for one in slices]
    judged = facts.get("judged", 0)
    tone = "bad" if differ else "warn" if slices or not judged or facts.get("warning") else "good"
    verdict = f"{len(differ)} differ" if differ else "nothing judged" if not judged else "no difference found"
    return Audited(
        at=row["at"],
        tone=tone,
        verdict=verdict,
        title=row["title"],
        lines=tuple(lines),
        warning=facts.get("warning", ""),
        href=report_href(row["object_key"]),
    )
