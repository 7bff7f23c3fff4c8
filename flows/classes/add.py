"""A class more: a candidate whose head is wider, begun from the champion and judged beside it on what both know."""

from collections.abc import Sequence
from difflib import get_close_matches

from flows.classes.quarantine import ClassCount, class_counts
from flows.jobs.releasing import release_dead
from flows.retraining import JobOutcome, check_champion, run_job
from flows.telling import Teller
from flows.workplace import Workplace
from infra.errors import UserError
from infra.jobs import Job, open_jobs, queue_job

REASON = "classes"


def add_classes(place: Workplace, names: Sequence[str], teller: Teller, actor: str) -> JobOutcome:
    """
    Make a candidate that knows the classes too; it is judged, and sent out as any other is.

    Raises:
        UserError: there is no champion, a class is known already or has too few images, or another job is open.
    """
    job = queue_wider(place, names, actor)
    return run_job(place.settings, job.id, REASON, teller)


def queue_wider(place: Workplace, names: Sequence[str], actor: str) -> Job:
    """
    Write the job; whoever claims it trains the wider head.

    Raises:
        UserError: as `add_classes`.
    """
    check_champion(place)
    _check(names, class_counts(place))
    release_dead(place.settings, place.engine)
    before = {job.id for job in open_jobs(place.engine)}
    job = queue_job(place.engine, "retrain", REASON, {"classes": sorted(names), "forecast": False})
    if job.id in before or job.reason != REASON:
        raise UserError("Another training job is open; wait for it: `kedge jobs` shows it. Nothing was added.")
    place.ledger.append("classes", "added", {"classes": sorted(names), "job": job.id}, actor)
    return job


def _check(names: Sequence[str], counts: Sequence[ClassCount]) -> None:
    found = {one.name: one for one in counts}
    mistakes = []
    for name in names:
        one = found.get(name)
        if one is None:
            close = get_close_matches(name, [other.name for other in counts if not other.known], 1)
            hint = f"; did you mean {close[0]!r}?" if close else ". `kedge classes` lists those that people named"
            mistakes.append(f"nobody labelled anything {name!r}{hint}")
        elif one.known:
            mistakes.append(f"the champion knows {name!r} already")
        elif one.lacks:
            mistakes.append(f"{name!r} has {one.images} labelled images that are kept, and lacks {one.lacks}")
    if mistakes:
        raise UserError("No class was added:\n  " + "\n  ".join(mistakes))
