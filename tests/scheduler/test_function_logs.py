"""What functions print: kept, written, followed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.output import Stream
from scheduler import function_logs
from scheduler.function_logs import FunctionLogs, LogLine, dashed

NOW = datetime(2026, 1, 5, 10, 0, 0, 123_456, UTC)
ID = "00112233445566778899aabbccddeeff"
OTHER = "ffeeddccbbaa99887766554433221100"
DASHED = "00112233-4455-6677-8899-aabbccddeeff"


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[FunctionLogs]:
    """Give logs in a folder that does not exist yet."""
    made = FunctionLogs(tmp_path / "functions", now=lambda: NOW)
    yield made
    made.close()


def line(text: str, function: str = "f") -> LogLine:
    return LogLine(NOW, function, "", "log", "INFO", text)


def texts(logs: FunctionLogs, limit: int = 100, name: str = "f") -> list[str]:
    return [each.text for each in logs.tail(name, limit)]


def written(tmp_path: Path, name: str = "f.jsonl") -> list[dict[str, Any]]:
    path = tmp_path / "functions" / name
    return [json.loads(each) for each in path.read_text("utf-8").splitlines()]


# --- Reading


def test_the_tail_is_the_newest_oldest_first(logs: FunctionLogs) -> None:
    """As many as wanted, of this function only; none of an unknown one."""
    for n in range(5):
        logs.add(line(str(n)))
        logs.add(line("other", "g"))
    assert texts(logs, 2) == ["3", "4"]
    assert texts(logs, 99) == ["0", "1", "2", "3", "4"]
    assert texts(logs, 0) == []
    assert logs.tail("nobody", 5) == []


def test_a_failure_is_bounded(logs: FunctionLogs) -> None:
    """Whatever a worker says of it: no line is longer, and no call has more, than may be."""
    logs.failure("f", ID, "x" * (1 << 20), "\n" * (1 << 20))
    assert [len(text) for text in texts(logs, 9999)] == [64 << 10, *[0] * 1000]
    logs.failure("g", ID, "Error", "y" * (1 << 20))
    assert [len(text) for text in texts(logs, name="g")] == [16, 64 << 10]


def test_memory_is_bounded(logs: FunctionLogs) -> None:
    """The newest 2000 lines of a function stay, however much it prints."""
    for n in range(2001):
        logs.add(line(str(n)))
    assert texts(logs, 10_000)[:1] == ["1"]
    assert len(logs.tail("f", 10_000)) == 2000


# --- Raw streams


def test_bytes_become_lines(logs: FunctionLogs) -> None:
    """Each line once it is complete, with its invocation, stream and level."""
    logs.raw("f", ID, Stream.STDOUT, b"one\r\ntwo\nthr")
    logs.raw("f", ID, Stream.STDERR, b"bad\n")
    assert logs.tail("f", 9) == [
        LogLine(NOW, "f", DASHED, "stdout", "INFO", "one"),
        LogLine(NOW, "f", DASHED, "stdout", "INFO", "two"),
        LogLine(NOW, "f", DASHED, "stderr", "ERROR", "bad"),
    ]
    logs.raw("f", ID, Stream.STDOUT, b"ee\n\n")
    assert texts(logs)[3:] == ["three", ""]


def test_a_letter_may_be_cut_anywhere(logs: FunctionLogs) -> None:
    """Chunks end where the pipe was full; bytes that are no text at all do no harm."""
    for byte in "päd\n".encode():
        logs.raw("f", ID, Stream.STDOUT, bytes([byte]))
    logs.raw("f", ID, Stream.STDOUT, b"\xff!\n")
    assert texts(logs) == ["päd", "\ufffd!"]


def test_lines_of_functions_and_streams_do_not_mix(logs: FunctionLogs) -> None:
    """Beginnings are kept for each apart."""
    logs.raw("f", ID, Stream.STDOUT, b"a")
    logs.raw("f", ID, Stream.STDERR, b"b")
    logs.raw("g", ID, Stream.STDOUT, b"c")
    for name, stream in (("f", Stream.STDOUT), ("f", Stream.STDERR), ("g", Stream.STDOUT)):
        logs.raw(name, ID, stream, b"!\n")
    assert texts(logs) == ["a!", "b!"]
    assert texts(logs, name="g") == ["c!"]


def test_a_beginning_is_not_given_to_another_invocation(logs: FunctionLogs) -> None:
    """A line that was never ended is shown as it is, under the call that wrote it."""
    logs.raw("f", ID, Stream.STDOUT, b"no end")
    logs.raw("f", OTHER, Stream.STDOUT, b"mine\n")
    assert [(each.invocation_id, each.text) for each in logs.tail("f", 9)] == [
        (DASHED, "no end"),
        (dashed(OTHER), "mine"),
    ]


def test_what_is_read_after_the_reply_belongs_to_the_call(logs: FunctionLogs) -> None:
    """The pipe may be read late, when no call is in flight any more."""
    logs.raw("f", ID, Stream.STDOUT, b"be")
    logs.raw("f", "", Stream.STDOUT, b"gun\n")
    logs.raw("f", "", Stream.STDOUT, b"free\n")
    assert [(each.invocation_id, each.text) for each in logs.tail("f", 9)] == [
        (DASHED, "begun"),
        ("", "free"),
    ]


def test_a_line_without_end_is_cut(logs: FunctionLogs) -> None:
    """A program that never ends its line does not fill the memory."""
    for _ in range(5):
        logs.raw("f", ID, Stream.STDOUT, b"x" * (32 << 10))
    assert [len(text) for text in texts(logs)] == [96 << 10]
    assert sum(len(partial) for _, partial in logs._partial.values()) == 64 << 10


def test_a_line_without_end_is_shown_when_it_is_over(logs: FunctionLogs) -> None:
    """Once, under the call that wrote it; the next output begins a line of its own."""
    logs.raw("f", ID, Stream.STDOUT, b"no end")
    logs.line_over("f", Stream.STDERR)
    assert texts(logs) == []
    logs.line_over("f", Stream.STDOUT)
    logs.line_over("f", Stream.STDOUT)
    logs.raw("f", "", Stream.STDOUT, b"next\n")
    assert [(each.invocation_id, each.text) for each in logs.tail("f", 9)] == [
        (DASHED, "no end"),
        ("", "next"),
    ]
    assert logs._partial == {}


def test_lines_of_two_workers_do_not_mix(logs: FunctionLogs) -> None:
    """Each process has a beginning of its own."""
    one, two = object(), object()
    logs.raw("f", ID, Stream.STDOUT, b"one ", one)
    logs.raw("f", OTHER, Stream.STDOUT, b"two ", two)
    logs.raw("f", ID, Stream.STDOUT, b"goes on\n", one)
    logs.line_over("f", Stream.STDOUT, two)
    assert [(each.invocation_id, each.text) for each in logs.tail("f", 9)] == [
        (DASHED, "one goes on"),
        (dashed(OTHER), "two "),
    ]


# --- Records of the guest


def test_a_record_is_taken_as_it_was_logged(logs: FunctionLogs) -> None:
    """The guest's own time, a line for each line of the text."""
    logs.record("f", [DASHED, "log", "WARNING", "name", "one\ntwo\n", 1_767_607_200.5])
    at = datetime(2026, 1, 5, 10, 0, 0, 500_000, UTC)
    assert logs.tail("f", 9) == [
        LogLine(at, "f", DASHED, "log", "WARNING", "one"),
        LogLine(at, "f", DASHED, "log", "WARNING", "two"),
    ]


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 1e300, -1e300])
def test_a_time_that_is_none_is_now(logs: FunctionLogs, at: float) -> None:
    """The guest runs user code: what it says about the time is only taken if it can be."""
    logs.record("f", [DASHED, "log", "INFO", "", "text", at])
    assert [(each.at, each.text) for each in logs.tail("f", 9)] == [(NOW, "text")]


@pytest.mark.parametrize(
    "record", [[], ["i", "s", "l", "n", "t"], ["i", "s", "l", "n", "t", 7], [1, 2, 3, 4, 5, 6.0]]
)
def test_what_is_no_record_is_dropped(logs: FunctionLogs, record: list[Any]) -> None:
    """Nothing that the guest sends raises here."""
    logs.record("f", record)
    assert texts(logs) == []


def test_a_failure_stands_in_the_function_s_log(logs: FunctionLogs) -> None:
    """Where its author looks: the error, then the traceback, as errors of that invocation."""
    logs.failure("f", ID, "ValueError: boom", "Traceback\n  line 2\n")
    assert texts(logs) == ["Exception: ValueError: boom", "Traceback", "  line 2"]
    assert {(each.level, each.invocation_id) for each in logs.tail("f", 9)} == {("ERROR", DASHED)}


@pytest.mark.parametrize(("given", "shown"), [(ID, DASHED), (DASHED, DASHED), ("", ""), ("7", "7")])
def test_an_id_is_shown_in_the_usual_form(given: str, shown: str) -> None:
    """Hexadecimal gets its dashes; anything else stays."""
    assert dashed(given) == shown


# --- The file


def test_lines_are_written_at_once(logs: FunctionLogs, tmp_path: Path) -> None:
    """One JSON object each, readable while the platform runs; later lives append."""
    logs.add(LogLine(NOW, "f", DASHED, "stdout", "INFO", 'päd "x"\u2028'))
    first = {
        "ts": "2026-01-05T10:00:00.123+00:00",
        "function": "f",
        "invocation_id": DASHED,
        "stream": "stdout",
        "level": "INFO",
        "text": 'päd "x"\u2028',
    }
    path = tmp_path / "functions" / "f.jsonl"
    assert [json.loads(each) for each in path.read_text("utf-8").split("\n")[:-1]] == [first]
    logs.close()
    again = FunctionLogs(tmp_path / "functions")
    again.add(line("second"))
    again.close()
    assert path.read_text("utf-8").count("\n") == 2


def test_half_a_letter_is_written_as_an_escape(logs: FunctionLogs, tmp_path: Path) -> None:
    """A lone surrogate cannot be UTF-8; the file stays JSON and says which it was."""
    logs.add(line("a\ud800b"))
    assert texts(logs) == ["a\ud800b"]
    assert [each["text"] for each in written(tmp_path)] == ["a\ud800b"]
    assert b"a\\ud800b" in (tmp_path / "functions" / "f.jsonl").read_bytes()


def test_a_file_is_rotated_by_size(
    logs: FunctionLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One older file beside the current one: two bounds of disk a function, no line cut."""
    monkeypatch.setattr(function_logs, "_FILE_BYTES", 1000)
    for n in range(60):
        logs.add(line(f"{n:03}"))
    files = sorted(path.name for path in (tmp_path / "functions").iterdir())
    assert files == ["f.1.jsonl", "f.jsonl"]
    kept = [*written(tmp_path, "f.1.jsonl"), *written(tmp_path)]
    numbers = [int(each["text"]) for each in kept]
    assert numbers == list(range(numbers[0], 60))
    for name in files:
        assert (tmp_path / "functions" / name).stat().st_size < 1300


def test_a_disk_that_refuses_costs_the_file_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The line is there to be read and followed; the platform's log says what is wrong."""
    (tmp_path / "functions").write_text("in the way")
    logs = FunctionLogs(tmp_path / "functions")
    logs.add(line("kept"))
    assert texts(logs) == ["kept"]
    assert "the log of function 'f' cannot be written" in caplog.text


# --- Following


@contextlib.asynccontextmanager
async def following(logs: FunctionLogs, name: str = "f") -> AsyncIterator[AsyncIterator[LogLine]]:
    """Give a reader that listens already."""
    reader = logs.subscribe(name)
    ready: asyncio.Queue[LogLine] = asyncio.Queue()

    async def read() -> None:
        async for each in reader:
            ready.put_nowait(each)

    async def out() -> AsyncIterator[LogLine]:
        while True:
            yield await asyncio.wait_for(ready.get(), 5)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(read())
        await asyncio.sleep(0)
        lines = out()
        yield lines
        await lines.aclose()  # type: ignore[attr-defined]
        task.cancel()


async def test_a_reader_gets_lines_as_they_come(logs: FunctionLogs) -> None:
    """From now on, in order, of its function only, also from another thread."""
    logs.add(line("before"))
    async with following(logs) as lines:
        logs.add(line("other", "g"))
        logs.add(line("one"))
        await asyncio.to_thread(logs.add, line("two"))
        assert [(await anext(lines)).text for _ in range(2)] == ["one", "two"]
        await asyncio.to_thread(logs.add, line("three"))
        assert (await anext(lines)).text == "three"


async def test_readers_do_not_take_from_each_other(logs: FunctionLogs) -> None:
    """Each gets every line."""
    async with following(logs) as first, following(logs) as second:
        logs.add(line("x"))
        assert (await anext(first)).text == (await anext(second)).text == "x"


async def test_a_reader_that_leaves_is_forgotten(logs: FunctionLogs) -> None:
    """Nothing is collected for it any more."""
    async with following(logs):
        assert len(logs._followers["f"]) == 1
    assert logs._followers["f"] == []


async def test_a_slow_reader_is_told_what_it_missed(
    logs: FunctionLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets what fitted, then how many lines were not sent, then goes on; nobody waited."""
    monkeypatch.setattr(function_logs, "_FOLLOWER_LINES", 3)
    async with following(logs) as lines:
        for n in range(5):
            logs.add(line(str(n)))  # the loop has no turn meanwhile
        got = [await anext(lines) for _ in range(4)]
        assert [each.text for each in got[:3]] == ["0", "1", "2"]
        assert (got[3].level, got[3].function) == ("WARNING", "f")
        assert got[3].text == "[2 lines were not sent: the reader was too slow]"
        logs.add(line("later"))
        assert (await anext(lines)).text == "later"
    assert texts(logs)[-1] == "later"
    assert all(each.at - NOW == timedelta() for each in logs.tail("f", 9))
