"""What the timers reach, put together from the running parts."""

from __future__ import annotations

from gateway.platform import Platform
from gateway.timer_desk import Outlets
from scheduler.clock import SystemClock
from scheduler.functions import Job
from scheduler.job_log import Level, LogFile
from scheduler.tick_runs import TickRuns

_LEVELS = {"info": Level.SYS_INFO, "warn": Level.SYS_WARN, "error": Level.SYS_ERR}


def outlets(platform: Platform) -> Outlets:
    """Return the timers' outlets into this platform."""
    clock = SystemClock()
    runs = TickRuns(
        platform.store, platform.dispatcher.invoke, instance=platform.instance, clock=clock
    )

    def scheduler_log(job: Job, level: str, message: str) -> None:
        log = LogFile(
            platform.folders.scheduler_log(job),
            instance=platform.instance,
            now=clock.now,
            previous=platform.folders.previous_log(job),
        )
        log.append(_LEVELS[level], [message])

    return Outlets(
        store=platform.store,
        clock=clock,
        record_tick=runs.record,
        record_again=runs.record_again,
        fire_function=runs.carry_out,
        start_tick=platform.triggered.start_tick,
        latest_run=platform.triggered.latest,
        scheduler_log=scheduler_log,
        settings=lambda: platform.catalog.definition.host.settings,
        observe_lag=platform.metrics.observe_lag,
    )
