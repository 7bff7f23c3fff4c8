"""
Versions that were tried on the callers and did not stay, told from rows: none of them returns by itself.

Only the last that happened to a version counts. One that was champion until another was promoted has nothing against
it; one that the pointer went back from, or whose rollout was stopped, has. A rollout that a newer candidate overtook,
whose trial no worker could begin in time, or that had too little traffic, says nothing either way.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise

from models import rollout_runs
from models.registry import Registry
from models.rollout_runs import DONE, ROLLED_BACK, STOPPED, RolloutRun
from monitoring.decisions.moves import BACKWARDS
from monitoring.decisions.rows import gather
from monitoring.decisions.timeline import timeline

_Event = tuple[datetime, int, str]
# What only the words tell of rollouts that ended before `RunFacts.overtaken` was written.
_OVERTAKEN = re.compile(r"overtaken by version |version \d+ became champion meanwhile")


def sent_back(registry: Registry) -> Mapping[int, str]:
    """Each version that did not stay, and what happened to it, as a clause."""
    events = sorted([*_reigns(registry), *_rollouts(registry)], key=lambda event: event[0])
    last = {version: against for _, version, against in events}
    return {version: against for version, against in last.items() if against}


def _reigns(registry: Registry) -> Iterator[_Event]:
    """How each reign ended: with words where somebody went back from it, with "" where a successor was promoted."""
    for reign, following in pairwise(timeline(gather(registry.engine, registry.name)).reigns):
        if following.version != reign.version:
            words = f"{following.how} by {following.actor}: {following.reason}"
            yield following.since, reign.version, words if following.how in BACKWARDS else ""


def _rollouts(registry: Registry) -> Iterator[_Event]:
    for run in rollout_runs.runs(registry.engine, registry.name):
        if run.ended_at is None or _says_nothing(run):
            continue
        if run.stage in (STOPPED, ROLLED_BACK):
            yield run.ended_at, run.version, f"its rollout was {run.stage.replace('_', ' ')}: {run.words}"
        elif run.stage == DONE:
            yield run.stage_since, run.version, ""


def _says_nothing(run: RolloutRun) -> bool:
    """Whether it ended for nothing that was seen of its version."""
    return run.facts.overtaken or run.facts.untried or _OVERTAKEN.match(run.words) is not None
