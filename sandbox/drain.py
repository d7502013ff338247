"""The drain: one thread that always reads what user code prints, so that no process ever blocks.

It reads pipes (raw bytes) and datagram sockets (log records) and hands each piece to a callback in
this thread; the event loop has no part in it, so a flood of output costs the loop nothing but the
interpreter lock. It never stops reading: what is over a limit is for the sink to count and drop.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

_log = logging.getLogger("taak.sandbox")
_READ = 1 << 16
_ROUND = 16  # reads of one descriptor before the next has its turn
_LATER_S = 0.1


class Drain:
    """Owner of the thread. `attach` may be called from any thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._sources: dict[int, tuple[Callable[[bytes], None], Callable[[], None]]] = {}
        self._later: deque[tuple[float, Callable[[], None]]] = deque()
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._epoll.register(self._wake_r, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="taak-drain", daemon=True)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Read what is there, end the thread and close what is still open."""
        self._stopping.set()
        os.write(self._wake_w, b"x")
        self._thread.join(timeout=5)
        for fd in list(self._sources):
            os.close(fd)
        self._sources.clear()
        self._epoll.close()
        os.close(self._wake_r)
        os.close(self._wake_w)

    def attach(self, fd: int, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Take ownership of a descriptor; both callbacks run in the drain's thread."""
        os.set_blocking(fd, False)
        self._sources[fd] = (on_data, on_end)
        self._epoll.register(fd, select.EPOLLIN)

    def later(self, action: Callable[[], None]) -> None:
        """Act in a moment. Only from a callback: what is read meanwhile is seen before."""
        self._later.append((time.monotonic() + _LATER_S, action))

    def _run(self) -> None:
        while not self._stopping.is_set():
            for fd, _events in self._epoll.poll(self._pause_s()):
                if fd == self._wake_r:
                    os.read(self._wake_r, 4096)
                else:
                    self._read(fd)
            self._act()
        for fd in list(self._sources):
            self._read(fd)

    def _pause_s(self) -> float | None:
        return max(self._later[0][0] - time.monotonic(), 0.0) if self._later else None

    def _act(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            _due, action = self._later.popleft()
            try:
                action()
            except Exception:  # noqa: BLE001  the boundary to whoever takes the output
                _log.exception("output sink failed; the end of a line is dropped")

    def _read(self, fd: int) -> None:
        on_data, on_end = self._sources[fd]
        try:
            for _ in range(_ROUND):
                data = os.read(fd, _READ)
                if not data:
                    break
                on_data(data)
            else:
                return  # more to come; the others first
        except BlockingIOError:
            return
        except OSError:
            pass  # reset by a dying peer: an end like any other
        except Exception:  # noqa: BLE001  the boundary to whoever takes the output
            # A sink that fails must not stop the reading of all others.
            _log.exception("output sink failed; the output of this process is dropped")
            return
        self._end(fd, on_end)

    def _end(self, fd: int, on_end: Callable[[], None]) -> None:
        del self._sources[fd]
        self._epoll.unregister(fd)
        os.close(fd)
        on_end()
