"""The HTTP side of the verbs: `/v1` of the management listener over the standard library.

One connection a call, because a command makes two or three. Turns every refusal into the exit code
that scripts rely on, and an answer that never comes into "no platform runs there".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from gateway.cli.exits import CliError, ExitCode
from gateway.cli.target import Target

TIMEOUT_S = 60.0

_EXITS = {
    400: ExitCode.USAGE,
    401: ExitCode.NOT_AUTHORISED,
    403: ExitCode.NOT_AUTHORISED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    412: ExitCode.CONFLICT,
    422: ExitCode.INVALID,
    429: ExitCode.UNREACHABLE,
    503: ExitCode.UNREACHABLE,
    504: ExitCode.TIMED_OUT,
}


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event."""

    name: str
    data: str
    id: str = ""


def segment(name: str) -> str:
    """Return a name as one segment of a path."""
    return quote(name, safe="")


class Client:
    """Calls of one platform. Paths are below its URL, such as "/v1/functions"."""

    def __init__(self, target: Target, *, timeout_s: float | None = TIMEOUT_S) -> None:
        self.target = target
        self._timeout_s = timeout_s
        self._base = urlsplit(target.url)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON document at a path."""
        return _document(self._read("GET", path, query))

    def post(self, path: str, body: object = None) -> Any:
        """Send a JSON body and return the JSON answer ({} when there is none)."""
        return _document(self._read("POST", path, None, body))

    def delete(self, path: str) -> Any:
        """Send DELETE and return the JSON answer."""
        return _document(self._read("DELETE", path, None))

    def upload(self, path: str, query: Mapping[str, Any], file: BinaryIO) -> Mapping[str, str]:
        """Send a zip archive and return the answer's headers, their names in lower case."""
        headers = {"Content-Type": "application/zip"}
        with self._answer(
            "POST", path, query, raw=file, headers=headers, timeout_s=self._timeout_s
        ) as answer:
            answer.read()
            return {name.lower(): value for name, value in answer.getheaders()}

    def text(self, path: str, query: Mapping[str, Any] | None = None) -> str:
        """Return a text such as a log."""
        return self._read("GET", path, query).decode("utf-8", "replace")

    def stream(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[str]:
        """Yield a long text, whole lines at a time: a log may be larger than memory."""
        headers = {"Accept": "text/plain"}
        with self._answer("GET", path, query, headers=headers, timeout_s=self._timeout_s) as answer:
            while lines := answer.readlines(1 << 16):
                yield b"".join(lines).decode("utf-8", "replace")

    def find(self, path: str) -> Any | None:
        """Return the document at a path, None when the platform knows no such thing."""
        try:
            return self.get(path)
        except CliError as error:
            if error.code is ExitCode.NOT_FOUND:
                return None
            raise

    def events(
        self, path: str, query: Mapping[str, Any] | None = None, *, last_id: str = ""
    ) -> Iterator[ServerEvent]:
        """Yield the events of a stream until the platform ends it."""
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        # No time-out: a quiet job says nothing for hours.
        with self._answer("GET", path, query, headers=headers, timeout_s=None) as answer:
            yield from parse_events(answer)

    def _read(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: object = None
    ) -> bytes:
        with self._answer(method, path, query, body=body, timeout_s=self._timeout_s) as answer:
            return answer.read()

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        *,
        body: object = None,
        raw: BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None,
    ) -> Iterator[HTTPResponse]:
        connection = self._connect(timeout_s)
        try:
            payload = raw if body is None else json.dumps(body).encode()
            connection.request(method, self._path(path, query), payload, self._headers(headers))
            answer = connection.getresponse()
            if answer.status >= 400:
                raise _refusal(answer.status, answer.read(), self.target)
            yield answer
        except TimeoutError as error:
            message = f"{self.target.url} did not answer in {self._timeout_s:g} s"
            raise CliError(message, ExitCode.TIMED_OUT) from error
        except (OSError, HTTPException) as error:
            raise _unreachable(self.target, error) from error
        finally:
            connection.close()

    def _connect(self, timeout_s: float | None) -> HTTPConnection:
        kind = HTTPSConnection if self._base.scheme == "https" else HTTPConnection
        try:
            return kind(self._base.hostname or "", self._base.port, timeout=timeout_s)
        except ValueError as error:
            raise CliError(f"{self.target.url}: {error}", ExitCode.USAGE) from error

    def _path(self, path: str, query: Mapping[str, Any] | None) -> str:
        wanted = {k: v for k, v in (query or {}).items() if v is not None and v != ""}
        return self._base.path + path + (f"?{urlencode(wanted)}" if wanted else "")

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "taak-cli"}
        if self.target.key:
            headers["x-functions-key"] = self.target.key
        return {**headers, "Content-Type": "application/json", **(more or {})}


def parse_events(lines: Iterator[bytes] | HTTPResponse) -> Iterator[ServerEvent]:
    """Yield the events of a text/event-stream; comments (keep-alives) say nothing."""
    name, event_id, data = "", "", list[str]()
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data or name:
                yield ServerEvent(name or "message", "\n".join(data), event_id)
            name, data = "", []
        elif key == "data":
            data.append(value)
        elif key == "event":
            name = value
        elif key == "id":
            event_id = value


def _document(body: bytes) -> Any:
    try:
        return json.loads(body) if body.strip() else {}
    except ValueError as error:
        message = "the answer is not JSON; is this the management listener?"
        raise CliError(
            message, ExitCode.UNEXPECTED, hint="it is at port 7072 by default"
        ) from error


def _refusal(status: int, body: bytes, target: Target) -> CliError:
    """Turn an RFC 9457 problem, or any other refusal, into the command's error."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    code = _EXITS.get(status, ExitCode.USAGE if status < 500 else ExitCode.UNEXPECTED)
    told = "" if problem else body.decode("utf-8", "replace").strip()[:4000]
    message = problem.get("detail") or problem.get("title") or told or f"HTTP status {status}"
    hint = problem.get("hint") or (_key_hint(target) if code is ExitCode.NOT_AUTHORISED else "")
    facts = {"status": status, "code": problem.get("code", "")}
    return CliError(str(message), code, hint=str(hint), facts=facts)


def _key_hint(target: Target) -> str:
    if target.key:
        return "the key was refused; give another with --key or TAAK_KEY"
    return "give a key with --key or TAAK_KEY, or --home of the platform on this machine"


def _unreachable(target: Target, error: Exception) -> CliError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    hint = "start one with `taak run`, or name another with --host URL or --home DIR"
    if target.found.endswith("run.json"):
        hint = f"{target.found} names it, but it is gone; start it again with `taak run`"
    return CliError(
        f"no platform answers at {target.url} (from {target.found}): {reason}",
        ExitCode.UNREACHABLE,
        hint=hint,
    )
