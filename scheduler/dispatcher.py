"""From event to outcome: the pool of the function's release, the deadline, the record.

One await a call, for its reply. A failure of user code is an outcome; only what keeps the call from
being taken at all is raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.body import Body
from sandbox.call import Call, Result, encode_call
from sandbox.errors import SandboxError
from scheduler.deadlines import CallTimedOutError
from scheduler.errors import NotFoundError, UnavailableError
from scheduler.events import Ending, Event, Outcome
from scheduler.function_logs import FunctionLogs, dashed
from scheduler.function_pools import FunctionPools
from scheduler.functions import Function
from scheduler.history import History
from scheduler.http_template import HttpTemplate
from scheduler.live_bundle import Launchers
from scheduler.outcomes import Ids, failure_of, outcome_of
from scheduler.pool import Pool
from scheduler.run import Run

_SUCCEEDED: Final[Ending] = Ending.SUCCEEDED
_SUCCESS: Final[str] = Ending.SUCCEEDED.value

Trace = tuple[str, str] | None
Observer = Callable[[str, str, str, float], None]


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """The workers of one function in numbers; calls, failures and cold_starts since the start."""

    total: int = 0
    busy: int = 0
    spare: int = 0
    waiting: int = 0
    calls: int = 0
    failures: int = 0
    cold_starts: int = 0


class Dispatcher:
    """Gives events to the pools, and outcomes to who asked."""

    def __init__(
        self,
        launchers: Launchers,
        logs: FunctionLogs,
        history: History,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        observe: Observer = lambda *_: None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.logs = logs
        self.pools = FunctionPools(launchers, logs, spawn, environment)
        self._history = history
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._ids = Ids()

    # -- calls

    async def invoke(
        self,
        function: Function,
        event: Event,
        *,
        trigger: str = "http",
        trace: Trace = None,
        invocation_id: str | None = None,
        run: Run | None = None,
    ) -> Outcome:
        """Run the function once and return how it ended.

        With `run` the call is that run's, under its id, and the caller keeps its row.

        Raises:
            BusyError: too many calls wait for this function.
            UnavailableError: the platform is stopping.
            NotFoundError: the function is no longer deployed.
        """
        future: asyncio.Future[Outcome | Exception] = self._loop.create_future()

        def settle(outcome: Outcome | Exception) -> None:
            if not future.done():
                future.set_result(outcome)

        self.dispatch(
            function,
            event,
            settle,
            trigger=trigger,
            trace=trace,
            invocation_id=run.public_id if run else invocation_id,
            recorded=run is None,
        )
        outcome = await future
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def dispatch(
        self,
        function: Function,
        event: Event,
        on_outcome: Callable[[Outcome | Exception], object],
        *,
        trigger: str = "http",
        trace: Trace = None,
        invocation_id: str | None = None,
        recorded: bool = True,
    ) -> None:
        """Run the function once; `on_outcome` is called with how it ended.

        It gets a BusyError when the call waited in vain; else this raises like `invoke`.
        """
        pool = self._pool_of(function)
        call_id = bytes.fromhex(invocation_id.replace("-", "")) if invocation_id else self._ids()
        call = _Invocation(call_id, encode_call(call_id, event, trace), self._loop.time())
        call.dispatcher = self
        call.pool = pool
        call.trigger = trigger
        call.recorded = recorded
        call.on_outcome = on_outcome
        pool.submit(call)

    def dispatch_http(
        self,
        function: Function,
        template: HttpTemplate,
        content: bytes | int,
        on_outcome: Callable[[Outcome | Exception], object],
        body: Body | None = None,
    ) -> None:
        """Answer one request like `dispatch` [hot path].

        `content` is its body, or the number of bytes in `body`, which goes beside the frame and is
        closed when the call has ended.
        """
        pool = self._pool_of(function)
        call_id = self._ids()
        call = _Invocation(call_id, template.frame(call_id, content), self._loop.time())
        call.dispatcher = self
        call.pool = pool
        call.trigger = "http"
        call.recorded = True
        call.on_outcome = on_outcome
        call.body = body
        pool.submit(call)

    def finish(self, call: _Invocation, result: Result) -> None:
        """Turn the end of a call into its outcome, record it and hand it on."""
        now = self._loop.time()
        if type(result) is tuple:
            outcome = outcome_of(result, call)
        elif isinstance(result, SandboxError | CallTimedOutError):
            outcome = failure_of(result, call, now)
        else:  # refused after it had waited: nothing ran, so nothing is recorded
            assert isinstance(result, Exception)
            call.on_outcome(result)
            return
        function = call.pool.function
        status = _SUCCESS
        if outcome.ending is not _SUCCEEDED:
            status = outcome.ending.value
            call.pool.failures += 1
            self._tell(function.name, call.id, outcome)
            outcome = outcome._replace(invocation_id=dashed(call.id.hex()))
        self._observe(function.name, call.trigger, status, now - call.queued_at)
        if call.recorded:
            self._history.add(call.id, function, call.trigger, outcome)
        call.on_outcome(outcome)

    def workers(self, name: str) -> WorkerCounts:
        """Return the numbers of a function; zeros when it has never been deployed."""
        pool = self.pools.serving.get(name)
        if pool is None:
            return WorkerCounts()
        total = len(pool.workers)
        busy = pool.busy
        return WorkerCounts(
            total, busy, total - busy, len(pool.waiting), pool.calls, pool.failures,
            pool.cold_starts,
        )  # fmt: skip

    def load(self) -> dict[str, int]:
        """Return the numbers that tell how busy this instance is."""
        pools = self.pools.serving.values()
        return {
            "busy": sum(pool.busy for pool in pools),
            "waiting": sum(len(pool.waiting) for pool in pools),
            "workers": sum(len(pool.workers) for pool in pools),
        }

    def load_error(self, name: str) -> tuple[str, str] | None:
        """Return why a deployed function's code does not load, if it does not."""
        pool = self.pools.serving.get(name)
        return pool.load_error if pool else None

    def sandbox_report(self, name: str) -> Mapping[str, Any]:
        """Return what stands around a function's code; a level of "" before its first start."""
        pool = self.pools.serving.get(name)
        layers = dict(pool.live.layers) if pool else {}
        layers.setdefault("level", "")
        layers.setdefault("degraded_because", "")
        if pool:
            layers["imports_late_because"] = list(pool.live.unforkable)
        return layers

    def _pool_of(self, function: Function) -> Pool:
        pools = self.pools
        pool = pools.serving.get(function.name)
        if pool is None or pools.closing:
            raise self._absent(function)
        return pool

    def _absent(self, function: Function) -> Exception:
        if self.pools.closing:
            return UnavailableError(self.pools.closing)
        return NotFoundError(f"function '{function.name}' is not deployed")

    def _tell(self, name: str, call_id: bytes, outcome: Outcome) -> None:
        """Put a failure into the function's own log, where its author looks."""
        self.logs.failure(name, call_id.hex(), outcome.error, outcome.detail)


class _Invocation(Call):
    """One call of a function on its way through the pool."""

    __slots__ = ("dispatcher", "on_outcome", "pool", "recorded", "trigger")

    dispatcher: Dispatcher
    pool: Pool
    trigger: str
    recorded: bool
    on_outcome: Callable[[Outcome | Exception], object]

    def ended(self, result: Result) -> None:
        """Hand the result to the dispatcher."""
        self.dispatcher.finish(self, result)
