"""Host handle of one worker: calls in, replies out, and the exact account of a death.

Per call: one dict entry, one frame queued, one callback; no await here. A reply counts only on the
socket that its call was sent on, with the call's random id, in order for synchronous workers
(sandbox.md, channel rules); anything else ends the worker and fails what it had begun.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from sandbox.call import Call
from sandbox.channel import Channel
from sandbox.death import Death
from sandbox.drain import Drain
from sandbox.errors import ProtocolBrokenError
from sandbox.kept_answers import MAX_EXEC_US, KeptAnswers
from sandbox.lent_bodies import LentBodies, NotTakenError
from sandbox.output import Stream
from sandbox.raw_output import RawOutput
from sandbox.runtime import wire
from sandbox.spec import Exit
from sandbox.tree import Tree
from sandbox.worker_ends import WorkerEnds, make_ends
from sandbox.worker_events import WorkerEvents
from sandbox.worker_process import WorkerProcess
from sandbox.worker_state import TRANSITIONS, WorkerState

__all__ = ["Worker", "WorkerState"]

_RECALL_S = 0.001  # until what the worker wrote before it looked is surely seen
_AHEAD_BYTES = 8 << 20  # with more of them unread, a worker gets no further call


class Worker:
    """One forked guest process that serves one function."""

    def __init__(self, ends: WorkerEnds, events: WorkerEvents, tree: Tree):
        self.is_coroutine = False
        self.usable = False  # calls may be sent: the state BOUND, as an attribute for the hot path
        self.load_error: tuple[str, str] | None = None
        self.in_flight: dict[bytes, Call] = {}
        self.served = 0
        self.idle_since = 0.0
        self.failed_start = False  # it has ended by itself before it was given a call
        self._phase = WorkerState.FORKED
        self._sent = 0
        self._held = 0  # frames up to this number are held back; 0: none
        self._process = WorkerProcess(tree)
        self._bodies = LentBodies(ends.lane)
        self._page = ends.page
        self._kept = KeptAnswers(ends.page)
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._death = Death()
        self._channel = Channel(
            ends.channel,
            self._on_message,
            self._on_closed,
            on_part=self._on_part,
            on_room=self._on_room,
        )

    @classmethod
    def create(cls, events: WorkerEvents, tree: Tree, drain: Drain) -> tuple[Worker, list[int]]:
        """Make the host's half; return it with the descriptors that the zygote is to fork with.

        Raises:
            OSError: there are not enough descriptors; none is kept.
        """
        ends, given = make_ends()
        worker = cls(ends, events, tree)
        drain.attach(ends.records, worker._on_record, _nothing)
        for stream, reader in zip(Stream, ends.outputs, strict=True):
            raw = RawOutput(worker, stream, drain)
            drain.attach(reader, raw.read, raw.ended)
        return worker, given

    @property
    def pid(self) -> int:
        """Return the process's number, 0 as long as it has not spoken."""
        return self._process.pid

    @property
    def state(self) -> WorkerState:
        """Return where the worker stands now."""
        if self._phase is WorkerState.BOUND and self.in_flight:
            return WorkerState.BUSY
        return self._phase

    @property
    def facts(self) -> str:
        """Return why or how the worker ended, as far as it is known."""
        return self._death.facts

    @property
    def running(self) -> bytes:
        """Return the id of the one call that runs, if there is just one. From any thread."""
        if self.is_coroutine or self._phase is WorkerState.GONE:
            return b""
        with contextlib.suppress(ValueError):  # it ends just now
            begun = self._page.begun
            return next((c.id for c in list(self.in_flight.values()) if c.number == begun), b"")
        return b""

    def claim(self, function: str, events: WorkerEvents) -> None:
        """Give a worker that was forked for nobody yet to an owner, who hears of it from now on."""
        self._events = events
        self._channel.send(wire.encode([wire.TAKE, function]))

    def take(self) -> None:
        """Claim the spare for its pool: from now on calls may be sent."""
        self._step(WorkerState.BOUND)

    def send(self, call: Call, now: float) -> None:
        """Give a call to the worker."""
        call.sent_at = now
        self.in_flight[call.id] = call
        self._sent = call.number = self._sent + 1
        if call.body is not None:
            self._lend(call)
        channel = self._channel
        channel.send(call.frame)
        if channel.queued > _AHEAD_BYTES:
            self.usable = False

    def recall(self) -> None:
        """Ask back what waits behind the call that runs; the owner hears of it by `returned`.

        The worker gets nothing new until it has answered.
        """
        if self.usable and not self.is_coroutine and len(self.in_flight) > 1:
            self.usable = False
            self._held = self._sent
            self._page.hold(self._held)
            self._loop.call_later(_RECALL_S, self._take_back)

    def cancel(self, call: Call) -> None:
        """Ask a coroutine worker to stop one call; its reply, if any, is dropped."""
        self._channel.send(wire.encode([wire.CANCEL, call.id]))

    def drain(self) -> None:
        """Take no new call and end when the last one is answered."""
        if self._phase in (WorkerState.BOUND, WorkerState.SPARE):
            self._step(WorkerState.DRAINING)
        if not self.in_flight:
            self._end()

    def kill(self, why: str = "killed by the platform") -> None:
        """End the worker and everything that it started, now."""
        if self._phase is WorkerState.GONE:
            return
        self.usable = False
        self._death.because(why)
        if not self._process.kill():
            self._end(why)

    def fail(self, reason: str) -> None:
        """Take the zygote's word that the fork failed."""
        self._end(reason)

    def forked(self, pid: int) -> None:
        """Take the zygote's word for the pid inside the sandbox."""
        self._process.forked(pid)

    def exited(self, exit_: Exit) -> None:
        """Take the zygote's word for how the process ended, and the kernel's for its memory."""
        self._death.exited(exit_)
        if self._phase is WorkerState.GONE:
            self._process.forget()

    def orphaned(self) -> None:
        """Learn that the zygote is gone: no exit status will come, a fork under way fails."""
        if self._phase is WorkerState.FORKED and not self._process.inside:
            self._end("the zygote ended during the fork")
        self._death.tell()

    def wrote(self, stream: Stream, data: bytes) -> None:
        """Pass on what user code wrote to a raw stream. From the drain's thread."""
        self._events.output(self, stream, data)

    def line_over(self, stream: Stream) -> None:
        """Pass on that a raw line without an end is complete. From the drain's thread."""
        self._events.output_over(self, stream)

    def _step(self, to: WorkerState) -> None:
        assert to in TRANSITIONS[self.state], f"{self.state} -> {to}"
        self._phase = to
        self.usable = to is WorkerState.BOUND

    def _on_message(self, message: list[Any]) -> None:
        if message[0] == wire.REPLY and len(message) == 5:
            self._on_reply(message)
        elif message[0] == wire.HELLO and self._phase is WorkerState.FORKED:
            self._on_hello(message)
        elif message[0] == wire.WANTED and len(message) == 3:
            self._on_wanted(message)
        else:
            self._break("a message that nobody asked for")

    def _on_hello(self, message: list[Any]) -> None:
        match message:
            case [_, bool(is_coroutine), None]:
                self.is_coroutine = is_coroutine
            case [_, bool(), [str(line), str(detail)]]:
                self.load_error = (line, detail)
            case _:
                self._break("an unreadable greeting")
                return
        self._process.identify(self._channel.peer_pid)
        self._channel.allow(wire.MAX_GUEST_FRAME)
        self._step(WorkerState.SPARE)
        self._events.ready(self)

    def _on_reply(self, message: list[Any]) -> None:
        _kind, call_id, status, exec_us, payload = message
        in_flight = self.in_flight
        if type(call_id) is not bytes or call_id not in in_flight:
            if type(call_id) is bytes and self._kept.met(call_id):
                return
            self._break("a reply to a call that it does not have")
            return
        if not self.is_coroutine and next(iter(in_flight)) != call_id:
            self._break("replies out of order")
            return
        if type(status) is not int or type(exec_us) is not int or not 0 <= exec_us < MAX_EXEC_US:
            self._break("an unreadable reply")
            return
        call = in_flight.pop(call_id)
        self.served += 1
        if not self.usable:
            self._reopen()  # after a recall, or when it has read what was sent ahead
        call.answer((status, exec_us, payload))
        self._events.replied(self, call, exec_us)
        if self._phase is WorkerState.DRAINING and not in_flight:
            self._end()

    def _lend(self, call: Call) -> None:
        """Lend the body of a call's request: it is there before the frame is."""
        assert call.body is not None
        if self._bodies.are_many(self.in_flight.values()):
            self.usable = False
        try:
            self._bodies.lend(call, call.body)
        except NotTakenError:
            self._kill_soon()

    def _on_wanted(self, message: list[Any]) -> None:
        """Lend room for the body of a reply, once a call: the worker's memory, but not its size."""
        _kind, call_id, size = message
        call = self.in_flight.get(call_id) if type(call_id) is bytes else None
        if call is None:
            self._break("a wish for room that no call of it has")
        elif not self.is_coroutine and next(iter(self.in_flight)) != call_id:
            self._break("a wish for room out of order")
        else:
            try:
                if wrong := self._bodies.room(call, size):
                    self._break(wrong)
            except NotTakenError:
                self._kill_soon()

    def _kill_soon(self) -> None:
        # Not now: its owner is in the middle of a thought.
        self._loop.call_soon(self.kill, "it does not take the bodies that it is lent")

    def _take_kept(self) -> None:
        """Answer the calls whose replies the worker has made but not sent."""
        for call_id, status, exec_us, payload in self._kept.take():
            if (call := self.in_flight.pop(call_id, None)) is not None:
                self._kept.note(call_id)
                self.served += 1
                call.answer((status, exec_us, payload))
                self._events.replied(self, call, exec_us)

    def _on_part(self) -> None:
        # What is kept of a reply belongs to a call, and is kept no longer than its deadline.
        if self._phase is not WorkerState.FORKED and not self.in_flight:
            self._break("a part of a message that nobody asked for")

    def _on_room(self) -> None:
        if not self.usable and self._phase is WorkerState.BOUND:
            self._reopen()
            self._events.returned(self, [])  # nothing comes back, but there is room again

    def _reopen(self) -> None:
        if self._held or self._death.why or self._channel.queued > _AHEAD_BYTES:
            return
        if not self._bodies.are_many(self.in_flight.values()):
            self.usable = self._phase is WorkerState.BOUND

    def _break(self, what: str) -> None:
        self._process.identify(self._channel.peer_pid)
        self._channel.close()
        reason = f"the worker sent {what}; it has been ended"
        calls, self.in_flight = list(self.in_flight.values()), {}
        for call in calls:
            call.answer(ProtocolBrokenError(reason))
        self.kill(reason)
        self._end(reason)

    def _on_closed(self, reason: str) -> None:
        if reason:
            self._break(f"what breaks the rules of its channel ({reason})")
        elif self._phase is WorkerState.FORKED:
            self._death.when_known(self._end)  # no call waits for it, but its reason is wanted
        else:
            self._end()

    def _end(self, reason: str = "") -> None:
        if self._phase is WorkerState.GONE:
            return
        self.failed_start = self._phase is not WorkerState.DRAINING and not self._sent
        self._step(WorkerState.GONE)
        self._death.because(reason)
        self._channel.close()
        self._bodies.close()
        self._take_kept()
        begun = self._page.begun
        if self._held:
            self._page.decide()  # it may wait for it
        self._page.close()
        self._process.abandon()
        calls, self.in_flight = list(self.in_flight.values()), {}
        not_begun = self._death.part(calls, begun, self.pid)
        self._events.gone(self, not_begun)

    def _take_back(self) -> None:
        if self._phase is not WorkerState.GONE and not self._death.why:
            self._take_kept()
        held, self._held = self._held, 0
        if self._phase is WorkerState.GONE or self._death.why:
            return  # its end parts the calls
        first = self._page.decide()
        calls = [call for call in self.in_flight.values() if first <= call.number <= held]
        for call in calls:
            del self.in_flight[call.id]
        if not self.in_flight:  # it has answered meanwhile
            self._reopen()
        self._events.returned(self, calls)
        if self._phase is WorkerState.DRAINING and not self.in_flight:
            self._end()

    def _on_record(self, data: bytes) -> None:
        try:
            record = wire.unpack_guest(data)
        except wire.WireError:
            return  # a forged record harms nobody but the log of its own function
        if isinstance(record, list):
            self._events.record(self, record)


def _nothing() -> None:
    """Do nothing at the end of a stream."""
