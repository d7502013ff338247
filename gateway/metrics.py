"""Numbers for Prometheus: cheap marks on the hot path, everything else read at scrape time.

Owns the counters that nobody else keeps. A mark is one dict look-up, one bisection of a short tuple
and two additions; no await, no lock (the event loop is the only writer).
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable

from scheduler.deployment import Deployment

#: Upper bounds of the duration histogram in seconds: 0.5 ms to 10 minutes.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
          30.0, 60.0, 300.0, 600.0)  # fmt: skip
_LAG_EVERY_S = 0.5
#: The lag told is the worst of the last 15 s, so that a scrape every 15 s misses none.
_LAG_SAMPLES = 30


class Series:
    """Durations of one kind of invocation: a count per bucket, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0


class Metrics:
    """The counters of one platform process."""

    def __init__(self) -> None:
        self.invocations: dict[tuple[str, str, str], Series] = {}
        self.requests: dict[tuple[str, int], int] = {}
        self.deploys: dict[str, int] = {}
        self.schedule_lag: dict[tuple[str, str], float] = {}
        self.refusals: dict[tuple[str, str], int] = {}
        self.open_connections: dict[str, Callable[[], int]] = {}  # listener: how many now
        self._counted = ""  # id of the newest deployment that is counted
        self._lags: deque[float] = deque(maxlen=_LAG_SAMPLES)

    def observe_invocation(self, function: str, trigger: str, status: str, seconds: float) -> None:
        """Count an ended invocation; `status` is the value of its `Ending`."""
        series = self.invocations.get((function, trigger, status))
        if series is None:
            series = self.invocations[function, trigger, status] = Series()
        series.counts[bisect_left(BOUNDS, seconds)] += 1
        series.total += seconds

    def count_request(self, listener: str, status: int) -> None:
        """Count an answered HTTP request of the "data" or the "management" listener."""
        place = (listener, status)
        self.requests[place] = self.requests.get(place, 0) + 1

    def count_refusal(self, listener: str, reason: str) -> None:
        """Count a connection or a request that a listener refused before anybody saw it."""
        place = (listener, reason)
        self.refusals[place] = self.refusals.get(place, 0) + 1

    def count_deployments(self, ended: Iterable[Deployment]) -> None:
        """Count those of the newest deployments that were not counted before."""
        fresh = [each for each in ended if each.id > self._counted]  # ids sort by time
        for deployment in fresh:
            result = deployment.state.value
            self.deploys[result] = self.deploys.get(result, 0) + 1
        self._counted = max([self._counted, *(each.id for each in fresh)])

    def observe_lag(self, kind: str, name: str, seconds: float) -> None:
        """Note how late the last tick of a schedule was; `kind` is "function" or "triggered"."""
        self.schedule_lag[kind, name] = seconds

    @property
    def loop_lag_s(self) -> float:
        """Return the worst lag of the event loop within the last seconds."""
        return max(self._lags, default=0.0)

    def keep_only(self, functions: Collection[str], jobs: Collection[str]) -> None:
        """Forget the series of what is no longer deployed, so that they vanish from scrapes."""
        for place in [place for place in self.invocations if place[0] not in functions]:
            del self.invocations[place]
        for kind, name in list(self.schedule_lag):
            if name not in (functions if kind == "function" else jobs):
                del self.schedule_lag[kind, name]

    async def watch_loop(
        self,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Measure the loop's lag for ever; runs in the owner's task group."""
        while True:
            due = clock() + _LAG_EVERY_S
            await sleep(_LAG_EVERY_S)
            self._lags.append(max(0.0, clock() - due))
