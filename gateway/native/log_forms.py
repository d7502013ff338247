"""How the lines of a log go out: as text, as JSON lines, as server-sent events.

The id of an event is the number of its line, behind the run's id where runs follow each other: a
client that comes back with it as `Last-Event-ID` misses nothing and sees nothing twice.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from gateway.native.streams import event
from scheduler.log_line import LogLine
from scheduler.log_reader import Gap


class LogForm(Protocol):
    """One form."""

    media: str
    heartbeat: bytes

    def line(self, line: LogLine, mark: str) -> bytes:
        """Return a line."""

    def gap(self, gap: Gap, mark: str) -> bytes:
        """Return what stands in the place of lines that are gone."""

    def end(self, mark: str, facts: dict[str, Any]) -> bytes:
        """Return what stands after the last line."""


class TextForm:
    """The lines as they stand in the log."""

    media = "text/plain"
    heartbeat = b""

    def line(self, line: LogLine, mark: str) -> bytes:
        """Return a line with the end that it has in the file."""
        del mark
        return f"{line.raw}\r\n".encode()

    def gap(self, gap: Gap, mark: str) -> bytes:
        """Return a line that says so."""
        del mark
        return f"{gap}\r\n".encode()

    def end(self, mark: str, facts: dict[str, Any]) -> bytes:
        """Return nothing: a text ends with its last line."""
        del mark, facts
        return b""


class JsonLinesForm:
    """One JSON object a line; an object without `seq` tells something about the lines."""

    media = "application/x-ndjson"
    heartbeat = b"\n"

    def line(self, line: LogLine, mark: str) -> bytes:
        """Return the line's facts."""
        del mark
        return _json_line(line.as_json())

    def gap(self, gap: Gap, mark: str) -> bytes:
        """Return {"gap": ...}."""
        del mark
        return _json_line({"gap": gap_shape(gap)})

    def end(self, mark: str, facts: dict[str, Any]) -> bytes:
        """Return {"end": ...} if there is something to say."""
        del mark
        return _json_line({"end": facts}) if facts else b""


class EventForm:
    """Server-sent events: the line itself, or with `as_json` its facts."""

    media = "text/event-stream"
    heartbeat = b": still here\n\n"

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json

    def line(self, line: LogLine, mark: str) -> bytes:
        """Return a message."""
        data = json.dumps(line.as_json(), ensure_ascii=False) if self._as_json else line.raw
        return event(data, mark=mark)

    def gap(self, gap: Gap, mark: str) -> bytes:
        """Return an event `gap`."""
        return event(json.dumps(gap_shape(gap)), name="gap", mark=mark)

    def end(self, mark: str, facts: dict[str, Any]) -> bytes:
        """Return an event `end`."""
        return event(json.dumps(facts) if facts else "", name="end", mark=mark)


def gap_shape(gap: Gap) -> dict[str, Any]:
    """Return a gap as JSON."""
    return {"from": gap.first, "to": gap.end, "lines": gap.end - gap.first, "bytes": gap.size}


def _json_line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
