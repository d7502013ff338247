"""/metrics: what Prometheus reads, put together at the moment of the scrape.

The names are ecosystem.md 5.3's with the prefix `taak_`. It only reads; a store that cannot answer
costs its own series, never the scrape.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway.job_facts import continuous_status
from gateway.metrics import BOUNDS, Series
from gateway.platform import PLATFORM, Platform
from scheduler.errors import SchedulerError
from scheduler.functions import JobKind

log = logging.getLogger("taak.metrics")


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the store said; `up` is False when it could not."""

    up: bool
    depth: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class PlatformCollector(Collector):
    """Reads one platform. Made for one scrape: `facts` were asked for just before it."""

    def __init__(self, platform: Platform, facts: StoreFacts) -> None:
        self._platform = platform
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        platform = self._platform
        functions = {function.name for function in platform.catalog.functions()}
        jobs = {job.name for job in platform.catalog.jobs()}
        platform.metrics.keep_only(functions, jobs)
        yield from self._process()
        yield from self._invocations()
        yield from self._workers(sorted(functions))
        yield from self._jobs()
        yield from self._counted()

    def _process(self) -> Iterator[Metric]:
        platform = self._platform
        about = GaugeMetricFamily(
            "taak_build_info", "What runs here; always 1.", labels=["version", "instance"]
        )
        about.add_metric([platform.version, platform.instance], 1)
        yield about
        uptime = (datetime.now(UTC) - platform.started_at).total_seconds()
        yield _gauge("taak_uptime_seconds", "Seconds since the platform started.", uptime)
        yield _gauge("taak_ready", "1 if calls are served.", float(not platform.ready()))
        yield _gauge("taak_store_up", "1 if the store answers.", float(self._facts.up))
        kept = float(platform.history.kept)
        yield _gauge("taak_history_waiting", "Ended calls that are not stored yet.", kept)
        dropped = CounterMetricFamily("taak_history_dropped", "Ended calls that were not stored.")
        dropped.add_metric([], platform.history.dropped)
        yield dropped
        yield _gauge(
            "taak_event_loop_lag_seconds",
            "Worst lag of the event loop within the last 15 seconds.",
            platform.metrics.loop_lag_s,
        )

    def _invocations(self) -> Iterator[Metric]:
        total = CounterMetricFamily(
            "taak_invocations",
            "Ended invocations by how they ended.",
            labels=["function", "trigger", "status"],
        )
        durations = HistogramMetricFamily(
            "taak_invocation_duration_seconds",
            "From the acceptance of an event to its outcome.",
            labels=["function"],
        )
        merged: dict[str, Series] = {}
        for (function, trigger, status), series in self._platform.metrics.invocations.items():
            total.add_metric([function, trigger, status], sum(series.counts))
            whole = merged.setdefault(function, Series())
            whole.counts = [a + b for a, b in zip(whole.counts, series.counts, strict=True)]
            whole.total += series.total
        for function, series in merged.items():
            durations.add_metric([function], _buckets(series), series.total)
        yield total
        yield durations

    def _workers(self, functions: list[str]) -> Iterator[Metric]:
        workers = GaugeMetricFamily(
            "taak_workers", "Worker processes by state.", labels=["function", "state"]
        )
        waiting = GaugeMetricFamily(
            "taak_calls_waiting", "Calls that wait for a worker.", labels=["function"]
        )
        cold = CounterMetricFamily(
            "taak_cold_starts", "Calls that had to wait for a new worker.", labels=["function"]
        )
        for name in functions:
            counts = self._platform.dispatcher.workers(name)
            workers.add_metric([name, "busy"], counts.busy)
            workers.add_metric([name, "idle"], counts.spare)
            waiting.add_metric([name], counts.waiting)
            cold.add_metric([name], counts.cold_starts)
        yield from (workers, waiting, cold)
        depth = GaugeMetricFamily(
            "taak_queue_depth", "Durable queued work by state.", labels=["function", "state"]
        )
        for name, states in self._facts.depth.items():
            for state, count in states.items():
                depth.add_metric([name, state], count)
        yield depth

    def _jobs(self) -> Iterator[Metric]:
        platform = self._platform
        up = GaugeMetricFamily(
            "taak_job_up", "1 while the job's process runs.", labels=["job", "kind", "instance"]
        )
        restarts = CounterMetricFamily(
            "taak_job_restarts", "Restarts of a continuous job.", labels=["job", "instance"]
        )
        for job in platform.catalog.jobs():
            labels = [job.name, job.kind.value, platform.instance]
            if job.kind is JobKind.TRIGGERED:
                up.add_metric(labels, float(platform.triggered.active(job) is not None))
                continue
            status = continuous_status(platform, job)
            up.add_metric(labels, float(status.pid is not None))
            restarts.add_metric([job.name, platform.instance], status.restarts)
        yield from (up, restarts)

    def _counted(self) -> Iterator[Metric]:
        metrics = self._platform.metrics
        deploys = CounterMetricFamily("taak_deploys", "Ended deployments.", labels=["result"])
        for result, count in metrics.deploys.items():
            deploys.add_metric([result], count)
        requests = CounterMetricFamily(
            "taak_http_requests", "Answered HTTP requests.", labels=["listener", "code"]
        )
        for (listener, code), count in metrics.requests.items():
            requests.add_metric([listener, str(code)], count)
        yield from self._connections()
        lag = GaugeMetricFamily(
            "taak_schedule_lag_seconds",
            "How late the last tick of a schedule was.",
            labels=["kind", "name"],
        )
        for (kind, name), seconds in metrics.schedule_lag.items():
            lag.add_metric([kind, name], seconds)
        yield from (deploys, requests, lag)

    def _connections(self) -> Iterator[Metric]:
        metrics = self._platform.metrics
        connections = GaugeMetricFamily(
            "taak_connections", "Open connections of clients.", labels=["listener"]
        )
        for listener, count in metrics.open_connections.items():
            connections.add_metric([listener], count())
        refusals = CounterMetricFamily(
            "taak_http_refused",
            "Connections and requests that were refused before routing, by reason.",
            labels=["listener", "reason"],
        )
        for (listener, reason), times in metrics.refusals.items():
            refusals.add_metric([listener, reason], times)
        yield from (connections, refusals)


async def metrics_page(request: web.Request) -> web.Response:
    """Answer GET /metrics."""
    platform = request.app[PLATFORM]
    facts = await _ask_store(platform)
    platform.metrics.count_deployments(await platform.deployments.history())
    page = generate_latest(PlatformCollector(platform, facts))
    return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _ask_store(platform: Platform) -> StoreFacts:
    names = [function.name for function in platform.catalog.functions()]
    try:
        return StoreFacts(True, _plain_depth(await platform.store.depth(names)))
    except SchedulerError as error:
        log.warning("the store did not answer a scrape: %s", error)
        return StoreFacts(False)


def _plain_depth(depth: Mapping[str, object]) -> dict[str, dict[str, float]]:
    states = ("ready", "delayed", "running", "dead")
    return {
        name: {state: float(getattr(facts, state, 0)) for state in states}
        for name, facts in depth.items()
    }


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)


def _buckets(series: Series) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
    return list(zip(bounds, itertools.accumulate(series.counts), strict=True))
