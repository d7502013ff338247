"""Output of user code: whole lines, told apart by call, never blocking, never raising."""

from __future__ import annotations

import contextvars
import io
import logging
import os
import select
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.runtime import context, stdio, streams, wire

if TYPE_CHECKING:
    from collections.abc import Iterator


class Host:
    """The other end of the log socket."""

    def __init__(self) -> None:
        self.socket, self.guests = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def records(self) -> list[list[Any]]:
        """Return what has arrived, without waiting."""
        found = []
        while select.select([self.socket], [], [], 0)[0]:
            data = self.socket.recv(1 << 20)
            if not data:
                break
            found.append(wire.unpack(data))
        return found

    def lines(self) -> list[tuple[str, str, str]]:
        """Return (owner, stream, text) of what has arrived."""
        return [(record[0], record[1], record[4]) for record in self.records()]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host, with the streams and the root logger given back at the end."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setattr(stdio, "_outlets", stdio._Outlets())
    monkeypatch.setattr(os, "register_at_fork", lambda **_hooks: None)
    end = Host()
    yield end
    end.socket.close()
    end.guests.close()
    root.setLevel(level)
    root.handlers[:] = handlers


def installed(host: Host) -> stdio.Capture:
    """Return a capture whose clock stands at 7, installed in the test's own phase.

    Not a fixture: between set-up and call pytest exchanges the streams itself.
    """
    logging.getLogger().handlers.clear()  # pytest's own raise what they cannot format
    made = stdio.Capture(host.guests, wire.pack, clock=lambda: 7.0)
    made.install()
    return made


def test_a_line_is_a_record(host: Host) -> None:
    """print() inside a call is one record with the call's id, stream, level, text and time."""
    capture = installed(host)
    with capture.invocation("a"):
        print("hello", 1)
        print("bad", file=sys.stderr)
    assert host.records() == [
        ["a", "stdout", "INFO", "", "hello 1", 7.0],
        ["a", "stderr", "ERROR", "", "bad", 7.0],
    ]


def test_a_partial_line_leaves_at_the_end_of_the_call(host: Host) -> None:
    """What is printed without a newline is not lost and not given to the next call."""
    capture = installed(host)
    with capture.invocation("a"):
        print("no newline", end="")
        assert host.lines() == []
    with capture.invocation("b"):
        print("next")
    assert host.lines() == [("a", "stdout", "no newline"), ("b", "stdout", "next")]


def test_calls_that_interleave_keep_their_lines_apart(host: Host) -> None:
    """Two coroutines that print parts of lines in turn both get whole lines."""
    capture = installed(host)
    one, two = contextvars.copy_context(), contextvars.copy_context()
    calls = [capture.invocation("one"), capture.invocation("two")]
    for where, call in zip((one, two), calls, strict=True):
        where.run(call.__enter__)
    one.run(sys.stdout.write, "on")
    two.run(sys.stdout.write, "tw")
    one.run(sys.stdout.write, "e\n")
    two.run(sys.stdout.write, "o\n")
    for where, call in zip((one, two), calls, strict=True):
        where.run(call.__exit__, None, None, None)
    assert host.lines() == [("one", "stdout", "one"), ("two", "stdout", "two")]


def test_long_lines_come_in_pieces(host: Host) -> None:
    """A line over the piece size is several records, none of them larger, nothing lost."""
    capture = installed(host)
    text = "x" * (streams.PIECE * 2 + 5)
    with capture.invocation("a"):
        sys.stdout.write(text[:-3])
        sys.stdout.write(text[-3:] + "\n")
    pieces = [line for _owner, _stream, line in host.lines()]
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= streams.PIECE


def test_bytes_are_text_on(host: Host) -> None:
    """sys.stdout.buffer and wrappers around it lead to the same records."""
    capture = installed(host)
    with capture.invocation("a"):
        sys.stdout.buffer.write("é".encode()[:1])
        sys.stdout.buffer.write("é".encode()[1:] + b"\xff\n")
        wrapper = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
        wrapper.write("wrapped\n")
        wrapper.flush()
        del wrapper
        print("still open")
    texts = [text for _owner, _stream, text in host.lines()]
    assert texts == ["é\\xff", "wrapped", "still open"]


def test_the_streams_look_like_streams(host: Host) -> None:
    """What libraries ask of stdout has an answer, and closing it does nothing."""
    installed(host)
    out = sys.stdout
    assert (out.encoding, out.errors, out.isatty(), out.fileno()) == (
        "utf-8", "backslashreplace", False, 1,
    )  # fmt: skip
    assert (sys.stderr.fileno(), out.writable(), out.readable(), out.closed) == (
        2, True, False, False,
    )  # fmt: skip
    out.reconfigure(encoding="utf-8")
    out.close()
    out.writelines(["a\n"])
    with pytest.raises(TypeError):
        out.write(b"bytes")  # type: ignore[call-overload]


def test_surrogates_do_no_harm(host: Host) -> None:
    """A file name that is no UTF-8 can be printed."""
    capture = installed(host)
    with capture.invocation("a"):
        print("\udc80")
    assert host.lines() == [("a", "stdout", "\\udc80")]


def test_log_records_carry_level_logger_and_exception(host: Host) -> None:
    """The message stands alone; exception text follows it; DEBUG is below the level."""
    capture = installed(host)
    with capture.invocation("a"):
        logging.getLogger("my.part").warning("w %d", 1)
        logging.debug("unseen")  # noqa: LOG015
        try:
            raise ValueError("boom")
        except ValueError:
            logging.exception("failed")  # noqa: LOG015
        logging.getLogger("azure.functions.x").info("inner")
    one, two, three = host.records()
    assert one == ["a", "log", "WARNING", "my.part", "w 1", 7.0]
    assert two[:4] == ["a", "log", "ERROR", "root"]
    assert two[4].startswith("failed\nTraceback")
    assert two[4].endswith("ValueError: boom")
    assert three[1] == "system"


def test_a_wrong_log_call_is_printed_and_not_raised(host: Host) -> None:
    """A mistake in the arguments of a log call is shown, as logging shows it."""
    capture = installed(host)
    with capture.invocation("a"):
        logging.info("%d", "x")  # noqa: LOG015
    lines = host.lines()
    assert ("a", "stderr", "--- Logging error ---") in lines


def test_the_debug_setting_lowers_the_level(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHON_ENABLE_DEBUG_LOGGING=1 shows debug records."""
    monkeypatch.setenv("PYTHON_ENABLE_DEBUG_LOGGING", "1")
    stdio.Capture(host.guests, wire.pack).install()
    logging.debug("seen")  # noqa: LOG015
    assert host.lines() == [("", "log", "seen")]


def test_a_stream_that_a_module_kept_at_import_is_captured(host: Host) -> None:
    """A handler made before there was a capture prints into it later."""
    stdio.prepare()
    kept = sys.stderr
    stdio.Capture(host.guests, wire.pack).install()
    print("late", file=kept)
    assert host.lines() == [("", "stderr", "late")]


def test_threads_say_whose_they_are(host: Host) -> None:
    """A thread belongs to the call it names; without a name to the only call there is."""
    capture = installed(host)

    def named() -> None:
        context.thread_local.invocation_id = "b"
        print("named")

    with capture.invocation("a"):
        for work in (named, lambda: print("unnamed")):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    thread = threading.Thread(target=lambda: print("outside"))
    thread.start()
    thread.join()
    assert host.lines() == [
        ("b", "stdout", "named"),
        ("a", "stdout", "unnamed"),
        ("", "stdout", "outside"),
    ]


@pytest.mark.real
def test_a_slow_reader_blocks_nobody_and_losses_are_counted(host: Host) -> None:
    """Beyond the backlog lines are dropped, and their number is told when there is room again."""
    capture = installed(host)
    line = "x" * 1000
    count = 3 * streams.PIECE * 32 // len(line)
    with capture.invocation("a"):
        for _ in range(count):
            print(line)
    received: list[tuple[str, str, str]] = []
    while some := host.lines():
        received += some
        capture.flush()
    lines = [text for _owner, _stream, text in received if text == line]
    (notice,) = [text for _owner, _stream, text in received if "dropped" in text]
    assert int(notice.split()[0]) == count - len(lines) > 0


@pytest.mark.real
def test_a_moderate_burst_is_kept_whole(host: Host) -> None:
    """What fits into the backlog arrives in order once the reader reads."""
    capture = installed(host)
    with capture.invocation("a"):
        for number in range(2000):
            print(number)
    received: list[str] = []
    while some := host.lines():
        received += [text for _owner, _stream, text in some]
        capture.flush()
    assert received == [str(number) for number in range(2000)]


def test_a_reader_that_is_gone_is_no_error(host: Host) -> None:
    """After the host closed its end, printing and logging do nothing."""
    capture = installed(host)
    host.socket.close()
    with capture.invocation("a"):
        print("x")
        logging.warning("y")  # noqa: LOG015
    capture.finish()


def test_a_fork_of_user_code_prints_its_own_lines_only(host: Host) -> None:
    """A child neither repeats the parent's unfinished line nor hangs on its lock."""
    capture = installed(host)
    with capture.invocation("a"):
        sys.stdout.write("parent ")
        pid = os.fork()
        if pid == 0:
            capture._forget()
            print("child", end="")
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        sys.stdout.write("done\n")
    assert host.lines() == [("a", "stdout", "child"), ("a", "stdout", "parent done")]


def test_finish_lets_everything_out(host: Host) -> None:
    """Unfinished lines of background work leave when the process ends."""
    capture = installed(host)
    sys.stdout.write("background")
    capture.finish()
    assert host.lines() == [("", "stdout", "background")]
