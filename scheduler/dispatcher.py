"""From event to outcome: the pool of the function's release, the deadline, the record.

One await a call, for its reply. A failure of user code is an outcome; only what keeps the call from
being taken at all is raised. The pools of a coming release are made ready by `prepare` and become
the ones that serve by `apply`, in one step: no call ever sees a mix of two releases.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sandbox.body import Body
from sandbox.call import Call, Result, encode_call
from sandbox.errors import SandboxError
from sandbox.output import OutputSink, Stream
from scheduler.deadlines import CallTimedOutError
from scheduler.errors import NotFoundError, UnavailableError
from scheduler.events import Ending, Event, Outcome
from scheduler.function_logs import FunctionLogs, dashed
from scheduler.functions import Function, Problem
from scheduler.history import History
from scheduler.http_template import HttpTemplate
from scheduler.live_bundle import Launchers, LiveBundle
from scheduler.outcomes import Ids, failure_of, outcome_of
from scheduler.pool import Pool
from scheduler.run import Run

if TYPE_CHECKING:
    from scheduler.catalog import Diff
    from scheduler.functions import AppDefinition

_log = logging.getLogger("taak.scheduler")
_PREPARED_AT_ONCE = 4
_SUCCEEDED: Final[Ending] = Ending.SUCCEEDED
_SUCCESS: Final[str] = Ending.SUCCEEDED.value
_COOL_EVERY_S = 15.0
_WARM_POOLS = 64  # functions whose sandbox is kept though nobody calls them

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
    """Owner of all pools."""

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
        self._launchers = launchers
        self._history = history
        self._spawn = spawn
        self._observe = observe
        self._environment = dict(environment or {})
        self._pools: dict[str, Pool] = {}
        self._prepared: dict[tuple[str, str], Pool] = {}
        self._live: dict[str, LiveBundle] = {}
        self._draining: set[Pool] = set()
        self._definition: AppDefinition | None = None
        self._newest: AppDefinition | None = None  # that was seen; perhaps it is refused
        self._closing = ""
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
        pool = self._pools.get(name)
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
        pools = self._pools.values()
        return {
            "busy": sum(pool.busy for pool in pools),
            "waiting": sum(len(pool.waiting) for pool in pools),
            "workers": sum(len(pool.workers) for pool in pools),
        }

    def load_error(self, name: str) -> tuple[str, str] | None:
        """Return why a deployed function's code does not load, if it does not."""
        pool = self._pools.get(name)
        return pool.load_error if pool else None

    def sandbox_report(self, name: str) -> Mapping[str, Any]:
        """Return what stands around a function's code; a level of "" before its first start."""
        pool = self._pools.get(name)
        layers = dict(pool.live.layers) if pool else {}
        layers.setdefault("level", "")
        layers.setdefault("degraded_because", "")
        if pool:
            layers["imports_late_because"] = list(pool.live.unforkable)
        return layers

    # -- releases

    async def prepare(
        self,
        current: AppDefinition,
        coming: AppDefinition,
        *,
        doubtful: Collection[str] | None = None,
    ) -> list[Problem]:
        """Start the first worker of every function that is new or changed in `coming`.

        With `doubtful` functions all others are known to load: of those only as many are started as
        are kept warm, the rest when they are called.
        """
        await self._discard()
        self._newest = coming
        serving = {f.name: f.bundle.digest for f in current.functions}
        changed = [f for f in coming.functions if serving.get(f.name) != f.bundle.digest]
        if doubtful is not None:
            rest = [f for f in changed[_WARM_POOLS:] if f.name in doubtful]
            changed = changed[:_WARM_POOLS] + rest
        gate = asyncio.Semaphore(_PREPARED_AT_ONCE)
        problems: list[Problem] = []
        async with asyncio.TaskGroup() as group:
            for function in changed:
                pool = self._make(function, coming)
                self._prepared[function.name, function.bundle.digest] = pool
                group.create_task(self._prepare_one(pool, gate, problems))
        return problems

    async def serve(self) -> None:
        """Keep the sandboxes of the functions that are used, for ever; the rest start when called.

        A thousand functions that were each called once must not hold a thousand sandboxes.
        """
        while True:
            await asyncio.sleep(_COOL_EVERY_S)
            self.cool_the_rest()

    def cool_the_rest(self) -> None:
        """End the sandboxes of the functions that nobody has called for longest, beyond a bound."""
        warm = sorted((p for p in self._pools.values() if p.workers), key=lambda p: -p.used_at)
        for pool in warm[_WARM_POOLS:]:
            pool.cool()

    def apply(self, diff: Diff) -> None:
        """Let the new release serve; the old one answers what it has and ends."""
        self._definition = self._newest = diff.current
        before, self._pools = self._pools, {}
        for function in diff.current.functions:
            self._pools[function.name] = self._pool_for(function, before.get(function.name))
        kept = set(map(id, self._pools.values()))
        for pool in before.values():
            if id(pool) not in kept:
                self._retire(pool)

    async def drain(self, timeout_s: float) -> None:
        """Refuse new calls, wait for those that are here, then end all workers."""
        self._closing = "the platform is stopping"
        pools = [*self._pools.values(), *self._prepared.values(), *self._draining]
        for pool in pools:
            pool.drain()
        try:
            async with asyncio.timeout(timeout_s):
                for pool in pools:
                    await pool.closed.wait()
        except TimeoutError:
            _log.warning("calls still ran after %g s; they are ended", timeout_s)
        for pool in pools:
            pool.kill()

    def _pool_of(self, function: Function) -> Pool:
        pool = self._pools.get(function.name)
        if pool is None or self._closing:
            raise self._absent(function)
        return pool

    def _absent(self, function: Function) -> Exception:
        if self._closing:
            return UnavailableError(self._closing)
        return NotFoundError(f"function '{function.name}' is not deployed")

    def _pool_for(self, function: Function, serving: Pool | None) -> Pool:
        if serving is not None and serving.function.bundle.digest == function.bundle.digest:
            serving.redefine(function)
            return serving
        prepared = self._prepared.pop((function.name, function.bundle.digest), None)
        assert self._definition is not None
        return prepared or self._make(function, self._definition)

    def _make(self, function: Function, definition: AppDefinition) -> Pool:
        digest = function.bundle.digest
        live = self._live.get(digest)
        if live is None or not live.pools:
            together = tuple(f for f in definition.functions if f.bundle.digest == digest)
            live = LiveBundle(
                function.bundle,
                together,
                self._launchers,
                self._sink,
                self._environment,
                lambda: self._others(digest),
            )
            self._live[digest] = live
        return Pool(function, live, self.logs, self._spawn)

    def _others(self, digest: str) -> str:
        """Return the names of the functions that are not in a bundle, as one text."""
        newest = self._newest.functions if self._newest else ()
        return " ".join(f.name for f in newest if f.bundle.digest != digest)

    async def _prepare_one(
        self, pool: Pool, gate: asyncio.Semaphore, problems: list[Problem]
    ) -> None:
        async with gate:
            error = await pool.warm()
            if error is not None:
                where = pool.function.script_file
                text = "\n".join(filter(None, error))
                owner = pool.function.name
                problems.append(Problem(where, text, field="import", owner=owner))
            elif len(self._pools) + len(self._prepared) > _WARM_POOLS:
                pool.cool()

    def _retire(self, pool: Pool) -> None:
        self._draining.add(pool)
        pool.drain()
        self._spawn(self._watch(pool))

    async def _watch(self, pool: Pool) -> None:
        await pool.closed.wait()
        self._draining.discard(pool)
        digest = pool.function.bundle.digest
        if (live := self._live.get(digest)) is not None and not live.pools:
            del self._live[digest]

    async def _discard(self) -> None:
        """End what was prepared for a release that was refused."""
        prepared, self._prepared = self._prepared, {}
        for pool in prepared.values():
            self._retire(pool)

    def _tell(self, name: str, call_id: bytes, outcome: Outcome) -> None:
        """Put a failure into the function's own log, where its author looks."""
        self.logs.failure(name, call_id.hex(), outcome.error, outcome.detail)

    def _sink(self, name: str) -> OutputSink:
        return _BundleSink(self.logs, name)


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


class _BundleSink:
    """What a bundle prints while it is imported."""

    def __init__(self, logs: FunctionLogs, name: str) -> None:
        self._logs = logs
        self._name = name

    def write(self, stream: Stream, chunk: bytes) -> None:
        self._logs.raw(self._name, "", stream, chunk)

    def close(self) -> None:
        for stream in Stream:
            self._logs.line_over(self._name, stream)
