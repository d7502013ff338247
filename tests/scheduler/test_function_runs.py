"""Runs of functions that are recorded before they begin: what becomes of them in every case."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from job_fakes import START, FakeClock, settle

from scheduler.errors import BusyError, UnavailableError
from scheduler.events import DataEvent, Ending, Outcome
from scheduler.function_runs import PATIENCE_S, FunctionRuns
from scheduler.functions import Bundle, BundleKind, Function, Limits, OtherTrigger
from scheduler.run import Run, RunKind, RunState
from scheduler.store.memory import MemoryStore
from scheduler.store.port import Unavailable

TICK = Function(
    name="tick",
    bundle=Bundle("tick", BundleKind.FUNCTION, "digest", Path("/nowhere")),
    directory="tick",
    script_file="x.py",
    entry_point="main",
    trigger=OtherTrigger("timerTrigger"),
    trigger_name="timer",
    bindings=(),
    limits=Limits(),
)
EVENT = DataEvent("timertrigger", "json", "{}")


class Bench:
    """Such runs on a store in memory; `outcome` is how the next one ends."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(clock=self.clock)
        self.outcome: Outcome | Exception = Outcome(Ending.SUCCEEDED, exec_s=0.25)
        self.calls: list[tuple[str, str]] = []
        self.runs = FunctionRuns(self.store, self._invoke, instance="here", clock=self.clock)

    async def _invoke(
        self, _function: Function, _event: object, *, trigger: str, run: Run
    ) -> Outcome:
        self.calls.append((trigger, run.public_id))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def begin(self) -> Run:
        """Record a tick."""
        run = await self.runs.begin_tick(TICK, START)
        assert run is not None
        return run

    async def row(self, run: Run) -> Run:
        """Return what the store has."""
        found = await self.store.get_run(run.id)
        assert found is not None
        return found


@pytest.fixture
def bench() -> Bench:
    """Return a bench."""
    return Bench()


async def test_a_tick_and_its_run_are_one_record(bench: Bench) -> None:
    """sandbox.md D4: open from the moment of the tick, and the tick is recorded once."""
    run = await bench.begin()
    assert (run.state, run.kind, run.trigger, run.attempt) == (
        RunState.RUNNING, RunKind.FUNCTION, "timer", 1
    )  # fmt: skip
    tick = await bench.store.last_tick("function/tick")
    assert tick is not None
    assert (tick.due_at, tick.run_id) == (START, run.id)
    assert await bench.runs.begin_tick(TICK, START) is None
    assert await bench.store.close_orphans("here", "host_restart") == [await bench.row(run)]


async def test_the_end_is_recorded_under_the_runs_own_id(bench: Bench) -> None:
    """The invocation has the run's id; what the function did is in the row."""
    run = await bench.begin()
    await bench.runs.carry_out_tick(run, TICK, EVENT)
    assert bench.calls == [("timer", run.public_id)]
    row = await bench.row(run)
    assert (row.state, row.exec_ms) == (RunState.SUCCESS, 250)


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (Outcome(Ending.FAILED, error="ValueError: boom"), RunState.FAILED, "ValueError: boom"),
        (Outcome(Ending.TIMED_OUT, error="300 s"), RunState.TIMED_OUT, "300 s"),
        (UnavailableError("stopping"), RunState.ABORTED, "stopping"),
        (RuntimeError("ours"), RunState.FAILED, "ours"),
        (BusyError("1000 wait"), RunState.RUNNING, ""),
    ],
)
async def test_every_end_of_a_tick(
    bench: Bench, outcome: Any, state: RunState, reason: str
) -> None:
    """Where nothing ran it may be tried again: it stays open, or is aborted at a stop."""
    bench.outcome = outcome
    run = await bench.begin()
    if isinstance(outcome, Exception):
        with pytest.raises(type(outcome)):
            await bench.runs.carry_out_tick(run, TICK, EVENT)
    else:
        await bench.runs.carry_out_tick(run, TICK, EVENT)
    row = await bench.row(run)
    assert (row.state, row.reason) == (state, reason)


async def test_only_a_tick_that_was_cut_off_is_run_again(bench: Bench) -> None:
    """sandbox.md D2: with its attempt number; a run that came to its end is not repeated."""
    run = await bench.begin()
    await bench.store.close_orphans("here", "host_restart")
    second = await bench.runs.begin_again(TICK)
    assert second is not None
    assert (second.attempt, second.id > run.id) == (2, True)
    await bench.runs.carry_out_tick(second, TICK, EVENT)
    assert await bench.runs.begin_again(TICK) is None


async def test_an_order_is_recorded_before_it_is_accepted(bench: Bench) -> None:
    """sandbox.md D1: and its end is returned to whoever carries it out."""
    run = await bench.runs.begin(TICK, "manual")
    assert (await bench.row(run)).state is RunState.RUNNING
    assert await bench.runs.carry_out(run, TICK, EVENT) is bench.outcome
    assert (await bench.row(run)).state is RunState.SUCCESS


@pytest.mark.parametrize("order", [False, True])
async def test_an_end_waits_for_the_store(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, order: bool
) -> None:
    """sandbox.md D9: a tick's for as long as it takes, an order's no longer than a stop may."""

    async def away(*_args: object, **_fields: object) -> Run:
        raise Unavailable("the disk is full")

    run = await bench.begin()
    monkeypatch.setattr(bench.store, "update_run", away)
    carry_out = bench.runs.carry_out if order else bench.runs.carry_out_tick
    ending = asyncio.create_task(carry_out(run, TICK, EVENT))
    await settle()
    await bench.clock.pass_time(PATIENCE_S * 3)
    assert ending.done() is order
    monkeypatch.undo()
    await bench.clock.pass_time(6)
    await ending
    assert (await bench.row(run)).state is (RunState.RUNNING if order else RunState.SUCCESS)
