"""The tidy flow: tables and images, on `retention.cron`. What it does is in `tidying`, which knows no Prefect."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import prefect_environment
from infra import logs
from infra.settings import load


@flow(name="tidy", retries=0)
def tidy() -> str:
    """Tidy once; the answer says what came of it. One that fails is in the log, and the next one does its work too."""
    # Here, and not above: the runner imports this module too, and stays small.
    from flows.tidying import tidy_project

    settings = load()
    logs.configure("tidy", settings.storage.home)
    prefect_environment.quieten()
    done = tidy_project(settings)
    lines = "\n".join(f"- {words}" for words in done.words())
    create_markdown_artifact(key="tidy", markdown=f"# Tidied\n\n{lines}\n")
    return "\n".join(done.words())
