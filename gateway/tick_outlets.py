"""What the timers reach, put together from the running parts."""

from __future__ import annotations

from datetime import datetime

from gateway.platform import Platform
from gateway.timer_desk import Outlets
from scheduler.clock import SystemClock
from scheduler.events import DataEvent
from scheduler.functions import Function, Job
from scheduler.job_log import Level, LogFile

_LEVELS = {"info": Level.SYS_INFO, "warn": Level.SYS_WARN, "error": Level.SYS_ERR}


def outlets(platform: Platform) -> Outlets:
    """Return the timers' outlets into this platform."""
    clock = SystemClock()

    async def fire_function(
        function: Function, event: DataEvent, _due_at: datetime, trigger: str
    ) -> object:
        return await platform.dispatcher.invoke(function, event, trigger=trigger)

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
        fire_function=fire_function,
        start_tick=platform.triggered.start_tick,
        latest_run=platform.triggered.latest,
        scheduler_log=scheduler_log,
        settings=lambda: platform.catalog.definition.host.settings,
        observe_lag=platform.metrics.observe_lag,
    )
