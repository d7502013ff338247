"""One step of a run, as a pure function: what every adapter writes, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from scheduler.run import TRANSITIONS, Run, RunKind, RunState, is_final
from scheduler.store.errors import Conflict
from scheduler.store.port_runs import NewRun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from scheduler.store.port_runs import EndedCall
    from scheduler.store.port_work import NewWork


def advance(
    run: Run,
    state: RunState,
    now: datetime,
    *,
    started_at: datetime | None = None,
    ended_at: datetime | None = None,
    exit_code: int | None = None,
    reason: str | None = None,
    public_id: str | None = None,
    exec_ms: float | None = None,
    instance: str | None = None,
) -> Run:
    """Return the run after the step; the rules are told in `RunsPort.update_run`."""
    _allow(run, state, amend=instance is None)
    started = started_at or run.started_at
    if started is None and state is RunState.RUNNING:
        started = now
    ended = ended_at or run.ended_at
    if ended is None and is_final(state):
        ended = now
    return replace(
        run,
        state=state,
        started_at=started,
        ended_at=ended,
        exit_code=run.exit_code if exit_code is None else exit_code,
        reason=run.reason if reason is None else reason,
        public_id=run.public_id if public_id is None else public_id,
        exec_ms=_exec_ms(run, started, ended, exec_ms),
        instance=run.instance if instance is None else instance,
        wait_ms=run.wait_ms if instance is None else _waited_ms(run, now),
    )


def _allow(run: Run, state: RunState, *, amend: bool) -> None:
    amends = amend and state is run.state and not is_final(state)
    if not amends and state not in TRANSITIONS[run.state]:
        raise Conflict(
            f"run {run.id} of {run.name!r} is {run.state.value}: it cannot become {state.value}"
        )


def _exec_ms(
    run: Run, started: datetime | None, ended: datetime | None, exec_ms: float | None
) -> float:
    if exec_ms is not None:
        return round(exec_ms, 3)
    if run.exec_ms or started is None or ended is None:
        return run.exec_ms
    return round(max(0.0, (ended - started).total_seconds() * 1000), 3)


def check_ended(rows: Sequence[NewRun] | Sequence[EndedCall]) -> None:
    """Refuse a batch of ends that holds something else."""
    for row in rows:
        # Most succeed, and this stands on the way of every call's record: no look-up for those.
        if row.state is not RunState.SUCCESS and not is_final(row.state):
            raise ValueError(f"run {row.public_id} of {row.name!r} has not ended")


def start_attempt(run: Run, now: datetime, *, owner: str, attempt: int) -> Run:
    """Return the run of queued work that an owner has just leased."""
    return replace(
        run,
        state=RunState.RUNNING,
        started_at=now,
        instance=owner,
        attempt=attempt,
        wait_ms=_waited_ms(run, now),
    )


def _waited_ms(run: Run, now: datetime) -> float:
    return round(max(0.0, (now - run.created_at).total_seconds() * 1000), 3)


def run_of(work: NewWork, now: datetime, *, owner: str | None = None) -> NewRun:
    """Return the run that an enqueue makes; with an owner it has its first attempt at once."""
    return NewRun(
        public_id=work.public_id,
        kind=RunKind.FUNCTION,
        name=work.function,
        trigger=work.trigger,
        state=RunState.QUEUED if owner is None else RunState.RUNNING,
        instance=work.instance if owner is None else owner,
        release=work.release,
        created_at=now,
        started_at=None if owner is None else now,
        parent=work.parent,
    )


def again(work: NewWork, dead_id: int, instance: str) -> NewWork:
    """Return the dead letter as new work: due now, with all its attempts, under a new run."""
    return replace(
        work,
        run_at=None,
        expires_at=None,
        dedup_key=None,
        parent=dead_id,
        public_id=str(uuid4()),
        instance=instance,
        lease_to=None,
    )


def full(function: str, max_depth: int) -> str:
    """Say that a queue is full."""
    return (
        f"the queue of function {function!r} holds {max_depth} events, its limit; try again "
        "later, or raise the function's max_depth"
    )
