"""Searching a log: which lines match a text or a pattern, within limits of time and size.

A search runs in a process of its own (`log_search_program.py`) that is killed when its time is up
or nobody waits for it any more. So any regular expression of Python may be asked, a catastrophic
one too: it costs its own seconds, and the answer has what was found until then.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from scheduler.errors import BadRequestError, UnavailableError
from scheduler.log_line import LogLine, parse_line
from scheduler.log_segments import Segment

#: Searches at the same time, and how long another waits for its turn.
MAX_SEARCHES: Final = 2
TURN_S: Final = 10.0
#: A search takes no longer; what was found until then is the answer.
SEARCH_S: Final = 10.0
PATTERN_CHARACTERS: Final = 1000
#: What a search finds at most, in bytes as the program prints it.
ANSWER_BYTES: Final = 16 << 20
_PROGRAM: Final = Path(__file__).with_name("log_search_program.py")
_ALL: Final = 1 << 62
_LAST_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is looked for.

    Attributes:
        text: the line has it, as it is; or
        regex: Python's re finds it in the line's text.
        stream: stdout, stderr or system; empty is any.
        since: aware; only lines of then or later.
        from_line, to_line: only lines from the one to before the other.
        limit: so many lines at most.
        newest: the last ones that match, not the first.
    """

    text: str = ""
    regex: str = ""
    stream: str = ""
    since: datetime | None = None
    from_line: int = 0
    to_line: int = _ALL
    limit: int = 1000
    newest: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The lines that match, in their order.

    Attributes:
        complete: all that was asked for was looked at; else `reason` says why not.
        next: where a search for more goes on; None if there is no more, or if the newest were
            asked for.
    """

    lines: list[LogLine]
    complete: bool
    reason: str = ""
    next: int | None = None


class LogSearch:
    """Runs searches, a few at a time."""

    def __init__(self, *, search_s: float = SEARCH_S, turn_s: float = TURN_S) -> None:
        self._search_s = search_s
        self._turn_s = turn_s
        self._turns = asyncio.Semaphore(MAX_SEARCHES)

    async def search(self, segments: Sequence[Segment], question: Question) -> Found:
        """Return what matches in these segments.

        Raises:
            BadRequestError: the pattern is none, or too long.
            UnavailableError: too many search already.
        """
        for pattern in (question.text, question.regex):
            if len(pattern) > PATTERN_CHARACTERS:
                raise BadRequestError(
                    f"a search for {len(pattern)} characters: {PATTERN_CHARACTERS} is the limit"
                )
        try:
            async with asyncio.timeout(self._turn_s):
                await self._turns.acquire()
        except TimeoutError as error:
            raise UnavailableError(
                f"{MAX_SEARCHES} searches are under way, which is the limit; try again"
            ) from error
        try:
            return await self._run(_asked(segments, question, self._search_s), question)
        finally:
            self._turns.release()

    async def _run(self, asked: bytes, question: Question) -> Found:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(_PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
        )  # fmt: skip
        output = bytearray()
        reason = ""
        try:
            async with asyncio.timeout(self._search_s):
                reason = await _talk(process, asked, output)
        except TimeoutError:
            reason = f"the search was ended after {self._search_s:g} s"
        finally:
            await _end(process)
        return _found(bytes(output), question, reason)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Reap it: it ends by itself when it has said everything, else it is killed."""
    try:
        if process.stdout is not None and process.stdout.at_eof():
            async with asyncio.timeout(_LAST_S):
                await process.wait()
    except TimeoutError:
        pass
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _talk(process: asyncio.subprocess.Process, asked: bytes, output: bytearray) -> str:
    """Ask, and collect the answer; return why it is not whole."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(ConnectionError):
        process.stdin.write(asked)
        process.stdin.write_eof()
    while chunk := await process.stdout.read(1 << 16):
        output += chunk
        if len(output) > ANSWER_BYTES:
            return f"more than {ANSWER_BYTES} bytes match"
    return ""


def _asked(segments: Sequence[Segment], question: Question, search_s: float) -> bytes:
    wanted = [
        (str(one.path), one.line)
        for one, end in zip(segments, _ends(segments), strict=True)
        if one.line < question.to_line and end > question.from_line
    ]
    since = f"{question.since:%Y-%m-%d %H:%M:%S}" if question.since else ""
    if question.since and question.since.microsecond:
        since += f".{question.since.microsecond // 1000:03}"
    return json.dumps(
        {
            "segments": wanted,
            "pattern": question.regex or re.escape(question.text),
            "literal": question.text,  # a segment without it is not looked at line by line
            "stream": question.stream,
            "since": since,
            "from": question.from_line,
            "to": question.to_line,
            "limit": question.limit,
            "backwards": question.newest,
            "cpu_s": int(search_s) + 1,
        }
    ).encode()


def _ends(segments: Sequence[Segment]) -> list[int]:
    return [*(one.line for one in segments[1:]), _ALL]


def _found(output: bytes, question: Question, reason: str) -> Found:
    """Return what the program said, as far as it came."""
    lines, end, at = list[LogLine](), dict[str, Any](), question.from_line
    for said in output.splitlines(keepends=True):
        if not said.endswith(b"\n"):
            break  # it was killed in the middle of a word
        value = json.loads(said)
        if isinstance(value, list):
            lines.append(parse_line(value[0], value[1]))
            at = value[0] + 1
        elif "at" in value:
            at = value["at"]
        else:
            end = value
    if "error" in end:
        raise BadRequestError(f"query parameter 'regex': {end['error']}")
    if not end and not reason:
        reason = "the search took too much memory or processor time"
    lines.sort(key=lambda line: line.number)
    following = end.get("next") if end or question.newest else at
    return Found(lines, complete=not reason, reason=reason, next=following)
