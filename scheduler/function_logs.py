"""What user code printed and logged, line by line, with the invocation that it belongs to.

Lines come from the drain's thread. The newest are kept in memory for reading and following; all go
to one JSON-lines file a function, rotated by size. A slow reader misses lines and is told how many;
it never makes a function wait.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from sandbox.output import Stream

_log = logging.getLogger("taak.scheduler")
_KEPT_LINES = 2000
_FILE_BYTES = 10 << 20
_FOLLOWER_LINES = 10_000
_LINE_CHARS = 64 << 10
# Of one call's failure: its texts come from a worker, and each line is a write of the loop's.
_FAILURE_CHARS, _FAILURE_LINES = 256 << 10, 1000


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of user code. `stream` is stdout, stderr or log; `level` is logging's word."""

    at: datetime
    function: str
    invocation_id: str
    stream: str
    level: str
    text: str

    def as_json(self) -> dict[str, str]:
        """Return the line as it stands in the file and in `/v1`."""
        return {
            "ts": self.at.isoformat(timespec="milliseconds"),
            "function": self.function,
            "invocation_id": self.invocation_id,
            "stream": self.stream,
            "level": self.level,
            "text": self.text,
        }


class FunctionLogs:
    """Owner of all functions' logs. `folder` holds NAME.jsonl and NAME.1.jsonl."""

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)):
        self._folder = folder
        self._now = now
        self._lock = threading.Lock()
        self._lines: dict[str, deque[LogLine]] = {}
        self._files: dict[str, TextIO] = {}
        self._partial: dict[tuple[str, Stream, object], tuple[str, bytes]] = {}
        self._followers: dict[str, list[_Follower]] = {}

    def tail(self, name: str, limit: int) -> list[LogLine]:
        """Return the newest lines of a function, oldest first."""
        with self._lock:
            lines = list(self._lines.get(name, ()))
        return lines[-limit:] if limit else []

    async def subscribe(self, name: str) -> AsyncIterator[LogLine]:
        """Yield lines as they come, until the reader leaves."""
        follower = _Follower(asyncio.get_running_loop())
        with self._lock:
            self._followers.setdefault(name, []).append(follower)
        try:
            while True:
                for line in await follower.take():
                    yield line
        finally:
            with self._lock:
                self._followers[name].remove(follower)

    def raw(
        self, name: str, invocation: str, stream: Stream, data: bytes, source: object = None
    ) -> None:
        """Take bytes of a raw stream (subprocesses, C code). From the drain's thread.

        `source` is who writes: what two of them write never joins into one line.
        """
        key = (name, stream, source)
        began, partial = self._partial.pop(key, ("", b""))
        if began and invocation and began != invocation:
            # It never ended its line, which is not the beginning of the next one's.
            self._raw_lines(name, began, stream, [partial])
            partial = b""
        invocation = invocation or began  # what is read after the reply still belongs to the call
        *lines, rest = (partial + data).split(b"\n")
        if len(rest) > _LINE_CHARS:
            lines.append(rest)
            rest = b""
        if rest:
            self._partial[key] = (invocation, rest)
        self._raw_lines(name, invocation, stream, lines)

    def line_over(self, name: str, stream: Stream, source: object = None) -> None:
        """Take what a raw line began with as all of it. From the drain's thread."""
        invocation, partial = self._partial.pop((name, stream, source), ("", b""))
        if partial:
            self._raw_lines(name, invocation, stream, [partial])

    def _raw_lines(self, name: str, invocation: str, stream: Stream, lines: list[bytes]) -> None:
        level = "INFO" if stream is Stream.STDOUT else "ERROR"
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip("\r")
            self.add(LogLine(self._now(), name, dashed(invocation), stream.value, level, text))

    def record(self, name: str, record: list[Any]) -> None:
        """Take one record of the guest's stdio module. From the drain's thread."""
        match record:
            case [str(invocation), str(stream), str(level), _, str(text), float(at)]:
                try:
                    when = datetime.fromtimestamp(at, UTC)
                except (ValueError, OverflowError, OSError):
                    when = self._now()
                for line in text.removesuffix("\n").split("\n"):
                    self.add(LogLine(when, name, invocation, stream, level, line))

    def failure(self, name: str, invocation: str, error: str, detail: str) -> None:
        """Note why an invocation failed, with the user's traceback below it."""
        lines = [f"Exception: {error}", *detail[:_FAILURE_CHARS].splitlines()[:_FAILURE_LINES]]
        for text in lines:
            line = text[:_LINE_CHARS]
            self.add(LogLine(self._now(), name, dashed(invocation), "log", "ERROR", line))

    def add(self, line: LogLine) -> None:
        """Keep one line. From any thread."""
        with self._lock:
            self._lines.setdefault(line.function, deque(maxlen=_KEPT_LINES)).append(line)
            followers = self._followers.get(line.function, ())
            for follower in followers:
                follower.put(line)
            try:
                self._write(line)
            except OSError as error:
                _log.warning("the log of function '%s' cannot be written: %s", line.function, error)

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _write(self, line: LogLine) -> None:
        file = self._files.get(line.function)
        if file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{line.function}.jsonl"
            file = self._files[line.function] = path.open(
                "a", encoding="utf-8", errors="backslashreplace", buffering=1
            )
        file.write(json.dumps(line.as_json(), ensure_ascii=False) + "\n")
        if file.tell() > _FILE_BYTES:
            self._files.pop(line.function).close()
            path = self._folder / f"{line.function}.jsonl"
            path.replace(path.with_suffix(".1.jsonl"))


class _Follower:
    """Lines on their way from the drain's thread to one reader in the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: deque[LogLine] = deque()
        self._missed = 0
        self._there = asyncio.Event()

    def put(self, line: LogLine) -> None:
        if len(self._lines) >= _FOLLOWER_LINES:
            self._missed += 1
            return
        self._lines.append(line)
        if len(self._lines) == 1:
            self._loop.call_soon_threadsafe(self._there.set)

    async def take(self) -> list[LogLine]:
        await self._there.wait()
        self._there.clear()
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        if self._missed:
            missed, self._missed = self._missed, 0
            last = lines[-1]
            text = f"[{missed} lines were not sent: the reader was too slow]"
            lines.append(LogLine(last.at, last.function, "", "log", "WARNING", text))
        return lines


def dashed(invocation: str) -> str:
    """Return an id in the usual UUID form; anything else as it is."""
    h = invocation
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" if len(h) == 32 else h
