"""What becomes of triggered runs that were open when the platform was killed (promise D3).

They are closed, never run again: nobody knows how far they came. Files and store are brought to
say the same.
"""

from __future__ import annotations

from dataclasses import replace

from scheduler.job_log import LogFile
from scheduler.run import Run, RunKind, RunState
from scheduler.run_ending import record_end
from scheduler.triggered_run import RunPlace, show_status

HOST_RESTART = "host_restart"


async def close_left_over_runs(place: RunPlace) -> list[Run]:
    """Close the runs that an earlier process of this instance left open, and return them."""
    for run in await place.store.open_runs(place.instance):
        if run.kind is RunKind.TRIGGERED:
            await _take_end_from_file(place, run)
    closed = await place.store.close_orphans(place.instance, HOST_RESTART)
    for run in closed:
        if run.kind is RunKind.TRIGGERED:
            _show_aborted(place, run)
    return closed


async def _take_end_from_file(place: RunPlace, run: Run) -> None:
    """Record an end that the store could not take while it happened, but the file did."""
    try:
        status = place.folders.read_run_status(run, run.public_id)
    except ValueError:
        return  # not a run that this program has made
    if status is None or status.ended_at is None:
        return
    success = status.status == "Success"
    await record_end(
        place.store,
        replace(
            run,
            state=RunState.SUCCESS if success else RunState.FAILED,
            ended_at=status.ended_at,
            exit_code=0 if success else None,
            reason="" if success else "told by the status file only",
            exec_ms=(status.ended_at - status.started_at).total_seconds() * 1000,
        ),
    )


def _show_aborted(place: RunPlace, run: Run) -> None:
    try:
        path = place.folders.output_log(run, run.public_id)
    except ValueError:
        return
    show_status(place.folders, run, run, "Aborted", run.ended_at)
    log = LogFile(path, instance=place.instance, now=place.clock.now)
    log.status("Aborted")
    log.error("WebJob run was aborted: the platform was restarted while it ran")
