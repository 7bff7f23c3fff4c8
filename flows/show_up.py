"""What `kedge up` shows while it starts, runs and stops."""

from collections.abc import Callable

from rich.console import Console

from flows.supervisor import Happening
from infra.settings import Settings

_STYLE = {"well": "green", "died": "bold red", "restarting": "yellow", "stopping": "yellow"}


def teller(console: Console, settings: Settings) -> Callable[[Happening], None]:
    """A listener that prints each happening, and the pages once everything is up."""

    def tell(happening: Happening) -> None:
        if happening.what == "up":
            _pages(console, settings)
            return
        time = happening.at.astimezone().strftime("%H:%M:%S")
        style = _STYLE.get(happening.what, "dim")
        name = happening.child or "all"
        console.print(f"[dim]{time}[/] {name:<9} [{style}]{happening.what}[/] {happening.words}", highlight=False)

    return tell


def _pages(console: Console, settings: Settings) -> None:
    prefect = settings.prefect.api_url.removesuffix("/api") or f"http://127.0.0.1:{settings.prefect.port}"
    console.print("\nEverything is up; Ctrl-C stops it.", style="bold")
    pages = [
        ("predict", f"POST http://{settings.serve.host}:{settings.serve.port}/v1/predict"),
        ("docs", f"http://{settings.serve.host}:{settings.serve.port}/docs"),
        ("console", f"http://{settings.console.host}:{settings.console.port}/"),
        ("prefect", f"{prefect}/"),
    ]
    if settings.monitor.evidently_port:
        pages.append(("evidently", f"http://{settings.console.host}:{settings.monitor.evidently_port}/"))
    for name, address in pages:
        console.print(f"  {name:<9} {address}", highlight=False)
