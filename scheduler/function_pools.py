"""The pools of the functions that are deployed: those that serve, come or leave.

The pools of a coming release are made ready by `prepare` and become the ones that serve by `apply`,
in one step: no call ever sees a mix of two releases. Pools of functions that did not change stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from sandbox.output import OutputSink, Stream
from sandbox.seat import Seat
from scheduler.function_logs import FunctionLogs
from scheduler.functions import Function, Problem
from scheduler.live_bundle import Launchers, LiveBundle
from scheduler.pool import Pool
from scheduler.seating import Seating

if TYPE_CHECKING:
    from scheduler.catalog import Diff
    from scheduler.functions import AppDefinition

_log = logging.getLogger("taak.scheduler")
_PREPARED_AT_ONCE = 4
_COOL_EVERY_S = 15.0
_WARM_POOLS = 64  # functions whose sandbox is kept though nobody calls them


class FunctionPools:
    """`serving` finds the pool of a function by its name; `closing` says why none takes calls."""

    def __init__(
        self,
        launchers: Launchers,
        logs: FunctionLogs,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.serving: dict[str, Pool] = {}
        self.closing = ""
        self._launchers = launchers
        self._logs = logs
        self._spawn = spawn
        self._seating = Seating(Seat())
        self._environment = dict(environment or {})
        self._prepared: dict[tuple[str, str], Pool] = {}
        self._live: dict[str, LiveBundle] = {}
        self._draining: set[Pool] = set()
        self._definition: AppDefinition | None = None
        self._newest: AppDefinition | None = None  # that was seen; perhaps it is refused

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
        warm = sorted((p for p in self.serving.values() if p.workers), key=lambda p: -p.used_at)
        for pool in warm[_WARM_POOLS:]:
            pool.cool()

    def apply(self, diff: Diff) -> None:
        """Let the new release serve; the old one answers what it has and ends."""
        self._definition = self._newest = diff.current
        before, self.serving = self.serving, {}
        for function in diff.current.functions:
            self.serving[function.name] = self._pool_for(function, before.get(function.name))
        kept = set(map(id, self.serving.values()))
        for pool in before.values():
            if id(pool) not in kept:
                self._retire(pool)

    async def drain(self, timeout_s: float) -> None:
        """Refuse new calls, wait for those that are here, then end all workers."""
        self.closing = "the platform is stopping"
        pools = [*self.serving.values(), *self._prepared.values(), *self._draining]
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
        return Pool(function, live, self._logs, self._spawn, self._seating)

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
            elif len(self.serving) + len(self._prepared) > _WARM_POOLS:
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

    def _sink(self, name: str) -> OutputSink:
        return _BundleSink(self._logs, name)


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
