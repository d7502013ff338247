"""The single place where a failure becomes an HTTP answer.

Scheduler errors map through one table; `/v1` answers RFC 9457 problem documents, Kudu's routes
plain text. Handlers raise and never build an error answer themselves, except for bodies that a
foreign contract spells out to the letter.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.http_limits import RefusedError
from scheduler import errors

log = logging.getLogger("taak.http")

PROBLEM_TYPE = "application/problem+json"
#: Paths whose clients expect Kudu's text answers.
_KUDU_PREFIXES = ("/api/", "/jobs", "/vfs")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a failure is answered with."""

    status: int
    code: str
    detail: str
    hint: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = False  # the connection is of no use after it


#: exception -> (status, code, hint). Looked up along the exception's bases, nearest first.
TABLE: dict[type[Exception], tuple[int, str, str]] = {
    errors.BadRequestError: (400, "bad-request", ""),
    errors.NotFoundError: (404, "not-found", "list what exists: GET /v1/functions, GET /v1/jobs"),
    errors.DisabledError: (409, "disabled", ""),
    errors.ConflictError: (409, "conflict", ""),
    errors.BusyError: (429, "busy", "retry after the time in the Retry-After header"),
    errors.UnreachableError: (503, "unreachable", "it has to run and to listen: GET /v1/jobs"),
    errors.UnavailableError: (503, "unavailable", "GET /readyz tells what the platform waits for"),
    errors.SchedulerError: (500, "failed", ""),
}


def answer_for(error: Exception) -> Answer:
    """Return the answer to a failure; one that nobody foresaw is logged with its traceback."""
    if isinstance(error, web.HTTPException):
        return _http_answer(error)
    if isinstance(error, RefusedError):  # the rest of the body will not come
        return Answer(error.status, error.reason, error.text, closes=True)
    for base in type(error).__mro__:
        if base in TABLE:
            status, code, hint = TABLE[base]
            hint = getattr(error, "hint", "") or hint
            return Answer(status, code, str(error) or code, hint, _retry_after(error))
    # The caller gets a mark to quote, not our traceback: that may tell of paths and values.
    mark = secrets.token_hex(4)
    log.error("unexpected failure %s", mark, exc_info=error)
    return Answer(
        500,
        "internal",
        f"an unexpected failure of the platform; its log has the details under {mark}",
        "this is a defect of Taak: please report it with the log lines around the mark",
    )


def problem_response(answer: Answer) -> web.Response:
    """Return an RFC 9457 problem document."""
    document = {
        "type": f"urn:taak:problem:{answer.code}",
        "title": HTTPStatus(answer.status).phrase,
        "status": answer.status,
        "detail": answer.detail,
        "code": answer.code,
        "hint": answer.hint,
    }
    return web.Response(
        status=answer.status,
        body=json.dumps(document, ensure_ascii=False).encode(),
        content_type=PROBLEM_TYPE,
        headers=answer.headers,
    )


def text_response(answer: Answer) -> web.Response:
    """Return the failure as Kudu's clients read it: the words alone."""
    return web.Response(
        status=answer.status, text=answer.detail, content_type="text/plain", headers=answer.headers
    )


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into an answer: the named boundary of the listener."""
    try:
        return await handler(request)
    except (asyncio.CancelledError, ConnectionResetError):
        raise  # the client is gone or the server stops: nobody reads an answer
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        answer = answer_for(error)
    except Exception as error:  # noqa: BLE001 - the boundary of a request: it ends in an answer
        answer = answer_for(error)
    is_kudu = request.path.lower().startswith(_KUDU_PREFIXES)
    response = text_response(answer) if is_kudu else problem_response(answer)
    if answer.closes:
        response.force_close()
    return response


def _retry_after(error: Exception) -> dict[str, str]:
    if not isinstance(error, errors.BusyError | errors.UnavailableError):
        return {}
    # Whole seconds is what the header can say, and 0 would mean "at once".
    return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}


def _http_answer(error: web.HTTPException) -> Answer:
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    code = HTTPStatus(error.status).phrase.lower().replace(" ", "-")
    detail = error.text or error.reason
    if isinstance(error, web.HTTPNotFound):
        detail = "there is no such path"
    elif isinstance(error, web.HTTPMethodNotAllowed):
        detail = f"{error.method} is not possible here, only {headers.get('Allow', 'others')}"
    elif isinstance(error, web.HTTPRequestEntityTooLarge):
        detail = f"{detail} (this limit is fixed)"
        return Answer(error.status, code, detail, closes=True)
    hint = "GET /openapi.json lists every path" if error.status in {404, 405} else ""
    return Answer(error.status, code, detail, hint, headers)
