"""One server from its start to its end: every load it is given, and what that took of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from tests.benchmarks.serving_job import LARGE, SMALL
from tests.benchmarks.serving_load import Callers, Load, Met
from tests.benchmarks.serving_processes import Tree, free_port, running, seconds_until
from tests.benchmarks.serving_servers import OURS, SHELL, Servers, Start
from tests.benchmarks.serving_table import Phase, Trial

_CONNECTIONS, _WARM_UP = 16, 100
_LARGE_SHARE = 10  # a large photo takes about as long as so many small ones


@dataclass(frozen=True)
class Plan:
    """
    How much is sent.

    Attributes:
        requests: small photos as fast as answers come; a tenth as many large ones.
        rates_per_s: small photos at random moments, so many a second on average; with one worker only.
        rate_s: seconds of each rate.
    """

    requests: int
    rates_per_s: tuple[int, ...]
    rate_s: float


class Measuring:
    """One server that runs, and its callers."""

    def __init__(self, start: Start, port: int, tree: Tree, callers: Callers) -> None:
        self._start, self._tree, self._callers = start, tree, callers
        self._url = f"http://127.0.0.1:{port}{start.path}"
        self.answered = 0

    def ready_s(self, workers: int) -> float:
        """Seconds until its first right answer; returns when every worker has had time to give one."""
        found = seconds_until(lambda: self._sent(1).failed == 0, self._tree)
        # A worker that starts later than the first answers nothing, or refuses, until it is ready.
        seconds_until(lambda: self._sent(_WARM_UP * workers).failed == 0, self._tree)
        return found

    def phase(self, kind: str, requests: int, rate_per_s: float = 0.0, seed: int = 0) -> Phase:
        """One load, with the CPU time that the server took meanwhile."""
        before_s = self._tree.cpu_s()
        met = self._sent(requests, kind, rate_per_s, seed)
        cpu_s = self._tree.cpu_s() - before_s
        percentiles = quantiles(met.took_ms, n=100, method="inclusive")
        return Phase(
            requests=requests,
            failed=met.failed,
            cpu_ms=cpu_s * 1000 / requests,
            requests_per_s=requests / met.wall_s,
            p50_ms=percentiles[49],
            p99_ms=percentiles[98],
            client_busy=met.client_cpu_s / met.wall_s,
            mistakes=met.mistakes,
        )

    def _sent(self, requests: int, kind: str = SMALL.name, rate_per_s: float = 0.0, seed: int = 0) -> Met:
        met = self._callers.send(Load(self._url, self._start.field, kind, requests, rate_per_s, _CONNECTIONS, seed))
        self.answered += met.answered
        return met


def measured(servers: Servers, callers: Callers, plan: Plan, name: str, workers: int, round_: int, log: Path) -> Trial:
    """
    Start a server, measure it, stop it.

    Raises:
        RuntimeError: it does not start, or its log does not hold what it answered.
    """
    port = free_port()
    start = servers.start(name, port, workers)
    with running(start.argv, start.env, log.parent, log) as tree:
        server = Measuring(start, port, tree, callers)
        start_s = server.ready_s(workers)
        start_cpu_s = tree.cpu_s()
        before = start.answered()
        phases = {"small": server.phase(SMALL.name, plan.requests)}
        busiest = _busiest(before, start.answered())
        if workers == 1:
            for rate in plan.rates_per_s:
                phases[f"{rate}/s"] = server.phase(SMALL.name, round(rate * plan.rate_s), rate, seed=round_)
        phases["large"] = server.phase(LARGE.name, max(plan.requests // _LARGE_SHARE, 2 * _CONNECTIONS))
        largest_mb, together_mb = tree.memory_mb()
        _check_log(name, sum(start.answered().values()), server.answered)
    return Trial(name, workers, round_, start_s, start_cpu_s, largest_mb, together_mb, phases, busiest)


def _busiest(before: Mapping[str, int], after: Mapping[str, int]) -> float | None:
    """Percent of the answers in between that the busiest worker gave."""
    given = [after[spool] - before.get(spool, 0) for spool in after]
    return 100 * max(given) / sum(given) if sum(given) else None


def _check_log(name: str, kept: int, answered: int) -> None:
    """A figure with logging must be one of a server that logged, and the other way round."""
    wanted = answered if name in (OURS, SHELL) else 0
    if kept != wanted:
        raise RuntimeError(f"{name} kept {kept} records of {answered} answers; expected {wanted}")
