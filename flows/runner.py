"""
`python -m flows.runner`: starts looks and tidying on their schedules and retrains at their events, each in a process
of its own.

`prefect serve` in a file, with what it lacks: nothing that piled up while nobody ran is caught up on, and runs that
died with an earlier runner are closed, since they would hold their deployment's only slot for ever.
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil

from flows import prefect_environment, summons, timetable
from flows.jobs.again import call_for_all
from flows.rollout.following import following
from infra import logs
from infra.clock import now
from infra.database import open_database
from infra.heartbeat import beating
from infra.settings import Settings, load

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.events import DeploymentEventTrigger
    from prefect.runner import Runner

_log = logging.getLogger(__name__)
# Calls for one job within this time start one run: the watcher calls at every look until somebody has taken it.
_DEBOUNCE = timedelta(seconds=60)
# Three heartbeats of a run (prefect_environment) and some air.
_DEAD_AFTER = timedelta(seconds=120)
# Within the patience that `kedge up` has with the runner (children.runner).
_FAREWELL_S = 8.0


def main() -> None:
    """Serve until SIGTERM."""
    settings = load()
    logs.configure("runner", settings.storage.home)
    timetable.check(settings)
    prefect_environment.apply(settings)
    prefect_environment.quieten()
    asyncio.run(serve(settings))


async def serve(settings: Settings) -> None:
    """
    Register the deployments, tidy up, then start what is due until SIGTERM.

    The heartbeat begins once all that is done: a runner that beats will take an event.
    """
    from prefect.client.orchestration import get_client
    from prefect.runner import Runner

    # Without prefetching: a run fetched ten seconds early would hold the only slot against the one before it.
    runner = Runner(name=f"kedge-{settings.project.name}", pause_on_shutdown=False, prefetch_seconds=0)
    deployments = [await runner.aadd_deployment(each) for each in await deployments_of(settings)]
    async with get_client() as client:
        await _close_old_runs(client, deployments, alone=not settings.prefect.api_url)
        await _notice_dead_jobs(client, settings, deployments[-1])
    engine = open_database(settings.storage.database)
    with beating(engine, "runner"), following(settings):
        _log.info("Serving: watch every %g s, retrain at %s", settings.monitor.every_s, summons.REQUESTED)
        # What died with an earlier runner, or was asked for while none ran, need not wait for the next look.
        await asyncio.to_thread(call_for_all, settings)
        await _until_sigterm(runner)


async def _until_sigterm(runner: "Runner") -> None:
    serving = asyncio.create_task(runner.start())
    # Runner says that it has started by nothing but this attribute.
    while not (runner.started or serving.done()):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    farewells: list[asyncio.Task[None]] = []
    # In place of Runner's own, which in 3.8 exits before it has ended the runs it started.
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: farewells.append(asyncio.create_task(_farewell(serving)))
    )
    try:
        await serving
    except asyncio.CancelledError:
        _log.info("Stopped")


async def _farewell(serving: "asyncio.Task[Any]") -> None:
    """Ask every run to end, so that it hands its job back, and only then stop: Runner would kill them at once."""
    runs = [child for child in psutil.Process().children() if _is_run(child)]
    for run in runs:
        with contextlib.suppress(psutil.Error):
            run.terminate()
    deadline = time.monotonic() + _FAREWELL_S
    # A process's end is no event of this loop.
    while any(_is_run(run) for run in runs) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    serving.cancel()


def _is_run(process: psutil.Process) -> bool:
    """Whether it is a flow's process; of one that has ended nothing can be read."""
    with contextlib.suppress(psutil.Error):
        return any("prefect" in word for word in process.cmdline())
    return False


async def deployments_of(settings: Settings) -> list[Any]:
    """Prefect's records of `watch`, `tidy` and `retrain`, as this project wants them."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.types.entrypoint import EntrypointType

    from flows.retrain import retrain
    from flows.tidy import tidy
    from flows.watch import watch

    # By module: loaded by path, a flow's module would exist twice, and its folder would be put on sys.path.
    common: dict[str, Any] = {"name": settings.project.name, "entrypoint_type": EntrypointType.MODULE_PATH}
    return [
        await watch.ato_deployment(
            **common,
            schedules=[timetable.watch_schedule(settings)],
            # A look that comes while another still looks has nothing to see.
            concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        ),
        await tidy.ato_deployment(
            **common,
            schedules=timetable.tidy_schedules(settings),
            concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        ),
        await retrain.ato_deployment(
            **common,
            # trigger.cron is the watcher's business: it weighs the time together with everything else.
            schedules=[],
            triggers=[trigger_of(settings)],
            concurrency_limit=1,
        ),
    ]


def trigger_of(settings: Settings) -> "DeploymentEventTrigger":
    """A call for a job starts one run that is told the job's id, and nothing else: the row says the rest."""
    from prefect.events import DeploymentEventTrigger

    return DeploymentEventTrigger(
        name=f"kedge {settings.project.name}: retrain when asked",
        expect={summons.REQUESTED},
        match={"prefect.resource.id": summons.resource_of(settings, "*")},
        for_each={"prefect.resource.id"},
        threshold=1,
        within=_DEBOUNCE,
        # Named as a template, it is always a text; a bare one would become whatever JSON type it looks like.
        parameters={"job_id": {"__prefect_kind": "jinja", "template": "{{ event.payload.job_id }}"}},
    )


async def _close_old_runs(client: "PrefectClient", deployments: list[UUID], *, alone: bool) -> None:
    """Cancel what was due before now; if this is the only runner there can be, whatever still `runs` has crashed."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled, Crashed

    ours = filters.DeploymentFilter(id=filters.DeploymentFilterId(any_=deployments))
    dead = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING] if alone else []
    final: Callable[..., Any]
    for states, final in ((dead, Crashed), ([StateType.SCHEDULED], Cancelled)):
        if not states:
            continue
        due = filters.FlowRunFilterExpectedStartTime.model_validate({"before_": now()})
        kind = filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=states))
        query = filters.FlowRunFilter(state=kind, expected_start_time=due)
        # Each answer has at most 200; what was closed does not come again.
        while runs := await client.read_flow_runs(flow_run_filter=query, deployment_filter=ours):
            for run in runs:
                state: Any = final(message="left over from before this runner started")
                await client.set_flow_run_state(run.id, state, force=True)
            _log.info("Closed %d old runs as %s", len(runs), final.__name__)


async def _notice_dead_jobs(client: "PrefectClient", settings: Settings, retrain: UUID) -> None:
    """
    Have the server close a retrain whose heartbeat stopped: with its runner on another machine, nobody else would.

    A look is over before its heartbeat arrives, and so is left out: its slot comes free when its lease runs out.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events import EventTrigger, Posture
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore

    beat = "prefect.flow-run.heartbeat"
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    automation = AutomationCore(
        name=f"kedge {settings.project.name}: close dead jobs",
        trigger=EventTrigger(
            after={beat},
            expect={beat, *ends},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            # Ours only: a team's server has other people's runs.
            match_related={
                "prefect.resource.role": "deployment",
                "prefect.resource.id": f"prefect.deployment.{retrain}",
            },
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=_DEAD_AFTER,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed", state=StateType.CRASHED, message="no heartbeat: its process is gone", force=False
            )
        ],
    )
    for earlier in await client.read_automations_by_name(automation.name):
        await client.delete_automation(earlier.id)
    await client.create_automation(automation)


if __name__ == "__main__":
    main()
