"""What is asked of a log: which lines, which of them match, in which form."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from aiohttp import web

from gateway.native.log_forms import EventForm, JsonLinesForm, LogForm, TextForm
from gateway.native.route import Param, flag, instant, integer
from scheduler.errors import BadRequestError
from scheduler.log_line import LogLine
from scheduler.log_search import Question

MAX_LOG_LINES: Final = 100_000
#: Lines that a search finds unless `tail` or `limit` says otherwise.
FOUND_LINES: Final = 1000
STREAMS: Final = ("stdout", "stderr", "system")
_LAST_LINE: Final = 1 << 53
_MARK: Final = re.compile(r"(?:([0-9]{18})-)?([0-9]{1,16})")

LOG_PARAMS: Final = (
    Param("tail", {"type": "integer", "minimum": 0, "maximum": MAX_LOG_LINES}, "the last lines"),
    Param("from_line", {"type": "integer", "minimum": 0}, "from this line on; they count from 0"),
    Param("to_line", {"type": "integer", "minimum": 0}, "up to before this line"),
    Param("stream", {"enum": list(STREAMS)}, "only lines of this stream"),
    Param("q", {"type": "string"}, "only lines that have this text"),
    Param("regex", {"type": "string"}, "only lines in which Python's re finds this"),
    Param("since", {"type": "string", "format": "date-time"}, "only lines of then or later"),
    Param("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LOG_LINES}, "of a search"),
    Param("format", {"enum": ["text", "json"]}, "json: objects with seq, at, stream, level, text"),
    Param("follow", {"type": "boolean"}, "an event stream; ids are line numbers"),
)
LOG_MEDIA: Final = ("text/plain", "application/x-ndjson", "text/event-stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """One question to a log.

    Attributes:
        tail: so many lines from the end; None if from_line and to_line decide.
        to_line: None is the end.
        follow: go on with what comes.
        as_json: facts instead of text.
    """

    tail: int | None
    from_line: int
    to_line: int | None
    stream: str
    text: str
    regex: str
    since: datetime | None
    limit: int
    follow: bool
    as_json: bool

    @classmethod
    def of(cls, request: web.Request, *, default_tail: int | None = None) -> LogQuery:
        """Read a request; BadRequestError says what does not fit together."""
        asked = request.query
        by_line = "from_line" in asked or "to_line" in asked
        if by_line and "tail" in asked:
            raise BadRequestError("give either tail, or from_line and to_line")
        if "q" in asked and "regex" in asked:
            raise BadRequestError("give either q or regex")
        stream = asked.get("stream", "")
        if stream and stream not in STREAMS:
            raise BadRequestError(
                f"query parameter 'stream': {stream!r} is none of {', '.join(STREAMS)}"
            )
        accept = request.headers.get("Accept", "")
        form = asked.get("format", "json" if JsonLinesForm.media in accept else "text")
        if form not in {"text", "json"}:
            raise BadRequestError(f"query parameter 'format': {form!r} is none of text, json")
        tail = _number(request, "tail", MAX_LOG_LINES)
        if tail is None and not by_line and "since" not in asked:
            tail = default_tail
        query = cls(
            tail=tail,
            from_line=_number(request, "from_line", _LAST_LINE) or 0,
            to_line=_number(request, "to_line", _LAST_LINE),
            stream=stream,
            text=asked.get("q", ""),
            regex=asked.get("regex", ""),
            since=instant(request, "since"),
            limit=integer(request, "limit", default=FOUND_LINES, low=1, high=MAX_LOG_LINES),
            follow=flag(request, "follow"),
            as_json=form == "json",
        )
        query._check_follow()
        return query

    @property
    def searches(self) -> bool:
        """Tell whether not every line is an answer."""
        return bool(self.stream or self.text or self.regex or self.since)

    @property
    def question(self) -> Question:
        """Return what is to be searched for."""
        question = Question(
            text=self.text,
            regex=self.regex,
            stream=self.stream,
            since=self.since,
            from_line=self.from_line,
            limit=self.limit,
        )
        if self.to_line is not None:
            question = replace(question, to_line=self.to_line)
        if self.tail is not None:
            question = replace(question, limit=self.tail, newest=True)
        return question

    def takes(self, line: LogLine) -> bool:
        """Tell whether a line that has just come is an answer; never asked about `regex`."""
        return not (
            (self.stream and line.stream != self.stream)
            or (self.text and self.text not in line.text)
            or (self.since and (line.at is None or line.at < self.since))
        )

    def form(self, request: web.Request) -> LogForm:
        """Return how the lines go out."""
        if self.follow and JsonLinesForm.media not in request.headers.get("Accept", ""):
            return EventForm(as_json=self.as_json)
        return JsonLinesForm() if self.as_json else TextForm()

    def _check_follow(self) -> None:
        if self.follow and self.regex:
            raise BadRequestError("follow does not go with regex; q looks for a text")
        if self.follow and self.to_line is not None:
            raise BadRequestError("follow does not go with to_line: it has no end")


def resume_mark(request: web.Request) -> tuple[str, int] | None:
    """Return the run's id, if any, and the line that a client saw last; None for a new one."""
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return None
    found = _MARK.fullmatch(text)
    if found is None:
        raise BadRequestError(f"header Last-Event-ID: {text!r} is no id of an event of a log")
    return found[1] or "", int(found[2])


def _number(request: web.Request, name: str, high: int) -> int | None:
    if name not in request.query:
        return None
    return integer(request, name, default=0, low=0, high=high)
