"""Sending events to their hooks: bounded in time, size and number, once, without redirects.

Who may set hooks decides where we connect to; the answer is looked at no further than its status.
Contract: webjobs.md 7. With a `secret` (ours) a request is signed: `x-taak-signature` is
`sha256=` and the hexadecimal HMAC-SHA256 of `TIMESTAMP.BODY`, `x-taak-timestamp` the seconds since
1970; a receiver that compares both keeps forged and old requests out.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import aiohttp
from yarl import URL

from gateway.kudu.hook_book import Hook, HookBook
from gateway.kudu.shapes import NO_DATE, date

_log = logging.getLogger("taak.hooks")

TIMEOUT_S = 10.0
#: Deliveries at the same time; others wait, up to a bound beyond which events are dropped.
AT_ONCE = 8
MAX_WAITING = 1000
MAX_CONTEXT_CHARS = 64 * 1024
_GONE = 410
_ABSENT = (None, NO_DATE)


class Hooks:
    """Publishes events to the hooks of a book."""

    def __init__(self, book: HookBook) -> None:
        self.book = book
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def publish(self, event: str, content: object) -> None:
        """Send an event to everyone who subscribed to it; returns when all are told. Never fails.

        A hook that is slow, wrong or gone costs its own note in the book, nothing else.
        """
        hooks = [hook for hook in self.book if hook.event == event]
        if not hooks:
            return
        if self._waiting + len(hooks) > MAX_WAITING:
            _log.warning("the event %s is dropped: %d deliveries wait", event, self._waiting)
            return
        body = json.dumps(without_defaults(content), indent=2, ensure_ascii=False)
        self._waiting += len(hooks)
        try:
            await asyncio.gather(*(self._deliver(hook, body) for hook in hooks))
        finally:
            self._waiting -= len(hooks)

    async def _deliver(self, hook: Hook, body: str) -> None:
        try:
            async with self._turns, asyncio.timeout(TIMEOUT_S):
                status, reason = await _post(hook, body.encode())
        except TimeoutError:
            status, reason = 0, f"no answer within {TIMEOUT_S:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            status, reason = 0, f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - a boundary: a delivery ends, nothing else does
            _log.exception("hook %s failed", hook.id)
            status, reason = 0, type(error).__name__
        if status == _GONE:
            _log.info("hook %s is gone and is removed", hook.id)
            self._forget(hook)
            return
        self.book.note(
            hook.id,
            last_status=_word(status),
            last_reason=reason[:1000],
            last_datetime=date(datetime.now(UTC)),
            last_context=body[:MAX_CONTEXT_CHARS],
        )

    def _forget(self, hook: Hook) -> None:
        try:
            self.book.remove(hook.id)
        except OSError as error:
            _log.warning("hook %s cannot be removed: %s", hook.id, error)


def without_defaults(value: object) -> object:
    """Return a JSON value without fields that say nothing: nulls, dates that are not set."""
    if isinstance(value, dict):
        return {key: without_defaults(each) for key, each in value.items() if each not in _ABSENT}
    if isinstance(value, list):
        return [without_defaults(each) for each in value]
    return value


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what `x-taak-signature` says."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


async def _post(hook: Hook, body: bytes) -> tuple[int, str]:
    url = URL(hook.url)
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Taak"}
    if url.user:
        proof = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
        headers["Authorization"] = f"Basic {proof}"
    if hook.secret:
        now = str(int(time.time()))
        headers["x-taak-timestamp"] = now
        headers["x-taak-signature"] = signature(hook.secret, now, body)
    # One connection, which is not kept: hooks are rare, and nothing is left open at the end.
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(force_close=True)
    ) as session:
        request: Any = session.post(
            url.with_user(None),
            data=body,
            headers=headers,
            allow_redirects=False,
            ssl=not hook.insecure_ssl,
        )
        async with request as answer:
            return answer.status, answer.reason or ""


def _word(status: int) -> str:
    """Return a status as .NET names it: OK, NoContent, InternalServerError."""
    try:
        return HTTPStatus(status).phrase.replace(" ", "").replace("-", "")
    except ValueError:
        return str(status) if status else "Failed"
