"""The watch flow: one look at the traffic, on a schedule. What it does is in `watching`, which knows no Prefect."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import prefect_environment
from infra import logs
from infra.settings import load


@flow(name="watch", retries=0)
def watch() -> str:
    """Look once; the answer is the verdict's action. A look that fails is in the log, and the next one comes anyway."""
    # Here, and not above: the runner imports this module too, and stays small.
    from flows.watching import look

    settings = load()
    logs.configure("watch", settings.storage.home)
    prefect_environment.quieten()
    seen = look(settings)
    create_markdown_artifact(key="verdict", markdown=seen.markdown, description=seen.action)
    return seen.action
