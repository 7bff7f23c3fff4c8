"""`kedge jobs`, `show` and `cancel`: what is being trained, how far it is, and how to stop it."""

from typing import Annotated

import typer

from flows import terminal
from flows.terminal import Json

_Id = Annotated[str, typer.Argument(metavar="ID", help="As `kedge jobs` lists it, or the beginning or end of it.")]


def jobs(
    context: typer.Context,
    last: Annotated[int, typer.Option(min=1, help="So many, the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """
    List the training jobs: why each was asked for, how it goes or how it ended, and what came of it.

    Example: kedge jobs --last 5
    """
    if context.invoked_subcommand is not None:
        return
    from flows.jobs.show import show_jobs
    from flows.jobs.story import story_of
    from infra.jobs import jobs as newest

    place = terminal.place()
    told = [story_of(job) for job in newest(place.engine, last)]
    if as_json:
        terminal.show_json([vars(one) for one in told])
    else:
        show_jobs(terminal.out, told)


def show(job_id: _Id, as_json: Json = False) -> None:
    """
    Show one job: who runs it, its attempts, its training so far, and its rows of the ledger.

    Example: kedge jobs show 4f2a9c
    """
    from flows.jobs.show import show_job
    from flows.jobs.story import whole_story
    from infra.jobs import find_job

    place = terminal.place()
    story = whole_story(place, find_job(place.engine, job_id))
    if as_json:
        terminal.show_json(story)
    else:
        show_job(terminal.out, story)


def cancel(job_id: _Id) -> None:
    """
    Stop a job wherever it runs; its processor is free within ten seconds, and it is not begun again.

    A version that has been registered stays; a rollout that has begun goes on: `kedge rollout stop` ends that. A
    candidate that was to be judged once more is given up with that job.

    Example: kedge jobs cancel 4f2a9c
    """
    from flows.jobs.cancel import cancel_job
    from infra.jobs import find_job

    place = terminal.place()
    words = cancel_job(place, find_job(place.engine, job_id), terminal.person())
    terminal.out.print(words, highlight=False, markup=False, soft_wrap=True)
