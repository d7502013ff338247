"""Host handle of a zygote: bind it to a bundle once, then fork workers from it.

From the bind on, the zygote runs user code: only FORKED, FORK_FAILED, BOUND and WORKER_EXIT are
taken from it, with checked types; anything else ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

from sandbox import channel as channels
from sandbox.channel import Channel
from sandbox.drain import Drain
from sandbox.errors import SpawnFailedError
from sandbox.output import OutputSink
from sandbox.process import Output
from sandbox.runtime import wire
from sandbox.spec import Exit, SandboxSpec
from sandbox.tree import Tree, TreeState
from sandbox.worker import Worker, WorkerState
from sandbox.worker_events import Unclaimed, WorkerEvents

_EXIT_GRACE_S = 0.25  # how long a failed import waits for init's word on how the process ended
_LOOK_S = 5.0  # between two looks whether a zygote without a channel has workers left
_REFILL_S = 0.002  # not at once: the fork would take a processor from the worker just given away
_AT_IMPORT = "the process ended while it imported the function's code"
_UNREADABLE = "the zygote reported an unreadable error"


class Bound(NamedTuple):
    """What the import of a bundle gave.

    errors: per function, (line, detail) of what kept it from loading, or None.
    unforkable: why workers must import by themselves (threads at import …); empty if they need not.
    """

    errors: dict[str, tuple[str, str] | None]
    unforkable: list[str]


class Zygote:
    """The fork parent of one bundle's workers.

    From the second that is wanted, the next is forked ahead, for whichever function will want it; a
    bundle whose first worker lives on pays for no other. It has run no more of the user's code than
    the zygote has, and belongs to nobody until it is claimed.
    """

    def __init__(self, tree: Tree, drain: Drain) -> None:
        self._tree = tree
        self._drain = drain
        self._bound: asyncio.Future[Bound] = asyncio.get_running_loop().create_future()
        self._tokens = itertools.count(1)
        self._coming: dict[int, Worker] = {}
        self._workers: dict[int, Worker] = {}  # by pid, as the zygote says it
        self._forked: list[Worker] = []  # that were not gone at the last look
        self._spare: Worker | None = None
        self._forks_ahead = False
        self._channel: Channel
        self._closed = False
        self.on_closed: Callable[[], None] = lambda: None
        tree.ended.add_done_callback(lambda ended: self._end(ended.result()))

    @classmethod
    async def start(cls, tree: Tree, spec: SandboxSpec, sink: OutputSink, drain: Drain) -> Zygote:
        """Start a zygote in a spare sandbox.

        Raises:
            SpawnFailedError: naming the step that failed.
        """
        self = cls(tree, drain)
        host, guest = channels.pair()
        self._channel = Channel(host, self._on_message, self._on_closed)
        writers = Output(sink, asyncio.Event()).attach(drain)
        try:
            await tree.start("zygote", spec, [*writers, guest.fileno()])
        except BaseException:  # also a cancellation: nobody else knows of the channel
            self._channel.close()
            raise
        finally:
            guest.close()
            for fd in writers:
                os.close(fd)
        return self

    @property
    def alive(self) -> bool:
        """Tell whether new workers can be had."""
        return self._tree.state is TreeState.RUNNING and not self._closed

    @property
    def layers(self) -> dict[str, Any]:
        """Return what stands around the user's code, as init reported it."""
        return self._tree.layers

    @property
    def pid(self) -> int:
        """Return the zygote's pid."""
        return self._tree.main_pid

    @property
    def ended(self) -> asyncio.Future[Exit]:
        """Return the future of the whole sandbox's end."""
        return self._tree.ended

    async def bind(self, bind: dict[str, Any], *, import_here: bool) -> Bound:
        """Load a bundle's code; a module that fails to load is an answer, not an exception.

        Raises:
            SpawnFailedError: the zygote ended while it imported the bundle.
        """
        self._channel.send(wire.encode([wire.BIND, bind, import_here]))
        bound = await self._bound
        # A worker that has to import cannot do it before it is known for which function.
        self._forks_ahead = import_here and not bound.unforkable
        return bound

    def fork(self, function: str, events: WorkerEvents) -> Worker:
        """Ask for one worker; it says by `events.ready` when it serves, or by `gone` why not.

        Raises:
            SpawnFailedError: the zygote is gone, or the platform is out of descriptors.
        """
        if not self.alive:
            raise SpawnFailedError("the zygote is gone")
        again = bool(self._forked)
        worker, self._spare = self._spare, None
        if worker is None:
            worker = self._fork(function, events)
        else:
            worker.claim(function, events)
        self._forked = [*self._left(), worker]
        if again and self._forks_ahead:
            asyncio.get_running_loop().call_later(_REFILL_S, self._refill)
        return worker

    def _refill(self) -> None:
        if self.alive and self._spare is None:
            with contextlib.suppress(SpawnFailedError):  # whoever wants one hears of it
                self._spare = self._fork("", Unclaimed(self._forget_spare))

    def _forget_spare(self, worker: Worker) -> None:
        if worker is self._spare:
            self._spare = None

    def _fork(self, function: str, events: WorkerEvents) -> Worker:
        try:
            worker, fds = Worker.create(events, self._tree, self._drain)
        except OSError as error:
            raise SpawnFailedError(f"no descriptors for a worker: {error.strerror}") from error
        token = next(self._tokens)
        self._coming[token] = worker
        try:
            self._channel.send_with_fds(wire.encode([wire.FORK, token, function]), fds)
        except OSError as error:
            self._break(f"the zygote does not read its channel: {error}")
        finally:
            for fd in fds:
                os.close(fd)
        return worker

    def kill(self) -> None:
        """End the whole sandbox with all workers."""
        self._closed = True
        self._channel.close()
        self._tree.kill()

    def _end(self, exit_: Exit) -> None:
        lost, self._closed = not self._closed, True
        self._channel.close()
        self._fail_bind(_AT_IMPORT if exit_.vanished else f"{_AT_IMPORT} ({exit_})")
        for worker in (*self._coming.values(), *self._workers.values()):
            if exit_.starved:
                worker.exited(exit_)
            worker.fail(str(exit_) if exit_.starved else "its sandbox has ended")
        self._coming.clear()
        self._workers.clear()
        if lost:
            self.on_closed()

    def _on_message(self, message: list[Any]) -> None:
        match message:
            case [wire.BOUND, dict(errors), list(reasons)] if not self._bound.done():
                self._bound.set_result(_bound(errors, reasons))
            case [wire.FORKED, int(token), pid] if token in self._coming and _is_pid(pid):
                worker = self._coming.pop(token)
                worker.forked(pid)
                self._workers[pid] = worker
            case [wire.FORK_FAILED, int(token), str(reason)] if token in self._coming:
                self._coming.pop(token).fail(reason)
            case [wire.WORKER_EXIT, pid, code, number] if _is_pid(pid) and pid in self._workers:
                starved = number == signal.SIGKILL and self._tree.starved()
                limit = self._tree.memory_bytes if starved else 0
                self._workers.pop(pid).exited(Exit(_int(code), _int(number), limit))
                if number is not None:
                    self._tree.tidy()
            case _:
                self._break("the zygote broke the rules of its channel")

    def _break(self, reason: str) -> None:
        self._closed = True
        self._channel.close()
        # Not now: whoever asked for a fork must have its worker before it hears of its end.
        asyncio.get_running_loop().call_soon(self._on_closed, reason)

    def _on_closed(self, reason: str) -> None:
        self._closed = True
        if reason:
            self._fail_bind(reason)
        else:
            asyncio.get_running_loop().call_later(_EXIT_GRACE_S, self._fail_bind, _AT_IMPORT)
        for worker in (*self._coming.values(), *self._workers.values()):
            worker.orphaned()
        self._coming.clear()
        if self._spare is not None:
            self._spare.fail("nobody wanted it")
        self._bury()
        self.on_closed()

    def _bury(self) -> None:
        """End a sandbox whose zygote has no channel any more, when its last worker is gone.

        The process may live on, and it would do so for as long as the platform.
        """
        if self._tree.state is not TreeState.RUNNING:
            return
        if self._left():
            asyncio.get_running_loop().call_later(_LOOK_S, self._bury)
        else:
            self._tree.kill()

    def _left(self) -> list[Worker]:
        return [worker for worker in self._forked if worker.state is not WorkerState.GONE]

    def _fail_bind(self, reason: str) -> None:
        if not self._bound.done():
            self._bound.set_exception(SpawnFailedError(reason))
            self._bound.exception()  # read: it may be that nobody binds it


def _is_pid(value: object) -> bool:
    return type(value) is int and value > 0  # True is an int as well


def _int(value: object) -> int | None:
    return value if type(value) is int else None


def _bound(errors: dict[Any, Any], reasons: list[Any]) -> Bound:
    checked: dict[str, tuple[str, str] | None] = {}
    for name, error in errors.items():
        match error:
            case [str(line), str(detail)]:
                checked[str(name)] = (line, detail)
            case None:
                checked[str(name)] = None
            case _:
                checked[str(name)] = (_UNREADABLE, "")
    # Not str() of whatever it is: that of a list can be deeper than Python goes.
    return Bound(checked, [r if type(r) is str else _UNREADABLE for r in reasons])
