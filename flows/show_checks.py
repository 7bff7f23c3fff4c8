"""The doctor's checks as a person reads them on a terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape

from flows.doctor import Check


def show_checks(console: Console, checks: Iterable[Check]) -> bool:
    """A line for each check as it comes; whether none failed."""
    well = True
    for check in checks:
        well = well and check.state != "fail"
        style = {"ok": "green", "warn": "yellow", "fail": "bold red"}[check.state]
        console.print(f"[{style}]{check.state:<5}[/] {check.name:<10} {escape(check.words)}", highlight=False)
        if check.remedy:
            console.print(f"{'':<17}{escape(check.remedy)}", style="dim", highlight=False)
    return well
