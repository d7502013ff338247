"""What the timers reach, put together from the running parts."""

from __future__ import annotations

from gateway.platform import Platform
from gateway.timer_desk import Outlets
from scheduler.clock import SystemClock
from scheduler.function_runs import FunctionRuns
from scheduler.functions import Job
from scheduler.job_log import LogFile
from scheduler.live_settings import laid_over
from scheduler.log_line import Level

_LEVELS = {"info": Level.SYS_INFO, "warn": Level.SYS_WARN, "error": Level.SYS_ERR}


def outlets(platform: Platform) -> Outlets:
    """Return the timers' outlets into this platform."""
    clock = SystemClock()
    runs = FunctionRuns(
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
        record_tick=runs.begin_tick,
        record_again=runs.begin_again,
        fire_function=runs.carry_out_tick,
        start_tick=platform.triggered.start_tick,
        latest_run=platform.triggered.latest,
        scheduler_log=scheduler_log,
        settings=lambda: laid_over(platform.catalog.definition.host.settings, platform.settings),
        observe_lag=platform.metrics.observe_lag,
    )
