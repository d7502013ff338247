"""The sandbox of one bundle: a zygote that is built when it is wanted and rebuilt when it dies.

Pools ask it for workers. It decides which launcher the sandbox comes from (an app with packages of
its own never meets ours) and whether workers import by themselves (sandbox.md T7).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sandbox.errors import SpawnFailedError
from sandbox.output import OutputSink
from sandbox.spec import Level, Mount, SandboxSpec
from sandbox.zygote import Zygote
from scheduler.attempts import Attempts
from scheduler.functions import Bundle, Function

_log = logging.getLogger("taak.scheduler")
_PROVED_S = 1.0  # a zygote that lived so long was not ended by its own import


class LateStartError(SpawnFailedError):
    """An import that has had its time and is given up."""

    def __init__(self, allowed_s: float) -> None:
        super().__init__(
            f"importing the code took longer than {allowed_s:g} s and was given up; do slow work "
            'when it is first needed, or raise "taak": {"start_timeout_s"} in function.json or '
            "host.json"
        )


class Launchers(Protocol):
    """Where sandboxes come from."""

    async def zygote(self, spec: SandboxSpec, sink: OutputSink, *, preload: bool) -> Zygote:
        """Return a fresh zygote of the launcher with or without the preloaded library."""


class LiveBundle:
    """One bundle at work. `zygote()` is awaited by whoever needs workers; one build at a time."""

    def __init__(
        self,
        bundle: Bundle,
        functions: tuple[Function, ...],
        launchers: Launchers,
        sink: Callable[[str], OutputSink],
        environment: Mapping[str, str],
        others: Callable[[], str] = str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bundle = bundle
        self.attempts = Attempts(now)
        self.errors: dict[str, tuple[str, str]] = {}
        self.unforkable: list[str] = []
        self.pools = 0  # how many pools stand on it
        self._functions = functions
        self._launchers = launchers
        self._sink = sink
        self._others = others  # the names of the functions outside of the bundle, for hints
        # Later names win: what the app sets, the app gets.
        self._environment = {
            **environment,
            "AzureWebJobsScriptRoot": str(bundle.root),
            **functions[0].environment,
        }
        # Code that nobody trusts is never run where its siblings are forked from.
        self._imports_late = bundle.isolation.sandbox is Level.STRICT
        self._lock = asyncio.Lock()
        self._zygote: Zygote | None = None
        self._old: list[Zygote] = []  # cannot fork any more, their workers still serve
        self._now = now
        self._built_at = 0.0
        self.on_lost: list[Callable[[], None]] = []

    @property
    def ready(self) -> Zygote | None:
        """Return the zygote if it can fork right now."""
        return self._zygote if self._zygote is not None and self._zygote.alive else None

    @property
    def layers(self) -> Mapping[str, Any]:
        """Return what stands around the bundle's code; empty before the first build."""
        return self._zygote.layers if self._zygote is not None else {}

    async def zygote(self) -> Zygote:
        """Return a zygote that can fork, building one if there is none.

        Raises:
            SpawnFailedError: it cannot be built, or its code ended the process at import. Between
                two attempts that are far apart everybody is told so at once.
        """
        async with self._lock:
            if (ready := self.ready) is not None:
                return ready
            if self.attempts.refusal:
                raise SpawnFailedError(self.attempts.refusal)
            await asyncio.sleep(self.attempts.pause)
            try:
                self._zygote = await self._build()
            except SpawnFailedError as failure:
                self.attempts.failed(str(failure), slow=isinstance(failure, LateStartError))
                raise
            self.attempts.succeeded()
            self._built_at = self._now()
            return self._zygote

    def retire(self) -> None:
        """End the sandbox; the pools have drained before."""
        for zygote in (*self._old, *([self._zygote] if self._zygote else [])):
            zygote.kill()
        self._old.clear()
        self._zygote = None

    async def _build(self) -> Zygote:
        zygote = await self._bound(import_here=not self._imports_late)
        if self.unforkable and not self._imports_late:
            zygote.kill()  # it holds the threads or sockets that the import made
            _log.warning(
                "%s: workers import by themselves: %s",
                self.bundle.name,
                "; ".join(self.unforkable),
            )
            self._imports_late = True
            zygote = await self._bound(import_here=False)
        zygote.on_closed = lambda: self._lost(zygote)
        return zygote

    async def _bound(self, *, import_here: bool) -> Zygote:
        root = self.bundle.root
        spec = self.bundle.isolation.spec(
            f"function-{self.bundle.name}",
            cwd=str(root),
            env=self._environment,
            mounts=(Mount.at(root / path) for path in self.bundle.visible),
        )
        preload = not self.bundle.own_packages
        zygote = await self._launchers.zygote(spec, self._sink(self.bundle.name), preload=preload)
        allowed_s = max(function.limits.start_timeout_s for function in self._functions)
        try:
            async with asyncio.timeout(allowed_s):
                bound = await zygote.bind(self._bind(preload=preload), import_here=import_here)
        except SpawnFailedError:
            zygote.kill()
            raise
        except TimeoutError:
            zygote.kill()
            raise LateStartError(allowed_s) from None
        if import_here:
            self.errors = {name: error for name, error in bound.errors.items() if error}
            self.unforkable = bound.unforkable
        return zygote

    def _bind(self, *, preload: bool) -> dict[str, Any]:
        return {
            "root": str(self.bundle.root),
            "package_paths": list(self.bundle.package_paths),
            "settings": {},
            "functions": [_described(function) for function in self._functions],
            "preloaded": preload,
            "network": self.bundle.isolation.network.value,
            "others": self._others(),
        }

    def _lost(self, zygote: Zygote) -> None:
        """Keep the workers of a dead zygote until their calls are answered; build another."""
        if zygote is self._zygote:
            self._zygote = None
            self._old.append(zygote)
            if self._now() - self._built_at < _PROVED_S:
                self.attempts.failed("the process that imported the code ended right after it")
            else:
                self.attempts.proved()
            zygote.ended.add_done_callback(lambda _: self._forget(zygote))
            for notify in self.on_lost:
                notify()

    def _forget(self, zygote: Zygote) -> None:
        if zygote in self._old:
            self._old.remove(zygote)


def _described(function: Function) -> dict[str, Any]:
    """Return the definition as the guest's loader reads it."""
    trigger = next(b for b in function.bindings if b.name == function.trigger_name)
    return {
        "name": function.name,
        "directory": function.directory,
        "script_file": function.script_file,
        "entry_point": function.entry_point,
        "trigger_type": trigger.type.lower(),
        "trigger_name": function.trigger_name,
        "function_directory": str(function.bundle.root / function.directory),
        "bindings": [
            {
                "name": binding.name,
                "type": binding.type,
                "direction": binding.direction,
                "data_type": str(binding.properties.get("dataType", "")).lower(),
            }
            for binding in function.bindings
        ],
    }
