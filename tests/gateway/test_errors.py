from __future__ import annotations

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.errors import PROBLEM_TYPE, TABLE, answer_for, error_middleware, problem_response
from gateway.http_limits import HttpLimits, malformed
from scheduler import errors
from scheduler.store import errors as store_errors

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.BadRequestError("b"), 400, "bad-request"),
        (errors.NotFoundError("n"), 404, "not-found"),
        (errors.DisabledError("d"), 409, "disabled"),
        (errors.ConflictError("c"), 409, "conflict"),
        (errors.BusyError("b"), 429, "busy"),
        (errors.UnavailableError("u"), 503, "unavailable"),
        (errors.SchedulerError("s"), 500, "failed"),
        (store_errors.Conflict("c"), 409, "conflict"),
        (store_errors.QueueFull("q"), 429, "busy"),
        (store_errors.Unavailable("u"), 503, "unavailable"),
    ],
)
def test_status_of_each_cause(error, status, code):
    """Every scheduler error, and what is derived from it, has one status and one code."""
    told = answer_for(error)
    assert (told.status, told.code, told.detail) == (status, code, str(error))


def test_a_failure_may_bring_a_hint_of_its_own():
    """Where to look depends on what was looked for."""
    assert answer_for(errors.NotFoundError("n", hint="GET /v1/x")).hint == "GET /v1/x"
    assert "/v1/functions" in answer_for(errors.NotFoundError("n")).hint


def test_a_body_that_will_not_come_ends_the_connection():
    """What a listener refuses has its own status and words, and nothing can follow."""
    refusal = HttpLimits().late_body(31, 31, 0)
    assert refusal
    told = answer_for(refusal)
    assert (told.status, told.code, told.closes) == (408, "slow-body", True)
    assert "--body-timeout-s" in told.detail


def test_a_body_that_is_too_large_ends_the_connection():
    """The limit and its value are named; the rest of the body is not waited for."""
    told = answer_for(web.HTTPRequestEntityTooLarge(max_size=16, actual_size=17))
    assert (told.status, told.closes) == (413, True)
    assert "16" in told.detail
    assert "fixed" in told.detail


def test_every_scheduler_error_is_in_the_table():
    """A new kind of error without an answer of its own is noticed here."""
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    assert set(kinds) == set(TABLE)


@pytest.mark.parametrize(("wait_s", "header"), [(0.2, "1"), (1.0, "1"), (1.5, "2"), (30, "30")])
def test_retry_after_is_whole_seconds_and_never_zero(wait_s, header):
    """Overload says when to come back."""
    assert answer_for(errors.BusyError("x", retry_after_s=wait_s)).headers == {
        "Retry-After": header
    }
    assert answer_for(errors.UnavailableError("x", retry_after_s=wait_s)).headers["Retry-After"]


def test_unforeseen_failure_tells_a_mark_and_logs_the_rest(caplog):
    """The caller gets no message of an unknown exception; the log has it under the mark."""
    told = answer_for(RuntimeError("password is swordfish"))
    assert told.status == 500
    assert "swordfish" not in told.detail
    mark = told.detail.rpartition(" ")[2]
    assert mark in caplog.text
    assert "swordfish" in caplog.text


def test_problem_document_has_the_members_of_the_rfc():
    """RFC 9457: type, title, status, detail; ours: code, hint."""
    response = problem_response(answer_for(errors.NotFoundError("no job 'x'")))
    assert response.content_type == PROBLEM_TYPE
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == {
        "type": "urn:taak:problem:not-found",
        "title": "Not Found",
        "status": 404,
        "detail": "no job 'x'",
        "code": "not-found",
        "hint": "list what exists: GET /v1/functions, GET /v1/jobs",
    }


async def test_middleware_answers_in_the_words_of_the_api():
    """/v1 gets a problem document, Kudu's paths plain text; aiohttp's own refusals too."""

    async def fail(_request):
        raise errors.ConflictError("already running")

    async def break_down(_request):
        raise ZeroDivisionError

    async def wait_in_vain(_request):
        raise malformed("it")

    app = web.Application(middlewares=[error_middleware])
    app.router.add_get("/v1/refused", wait_in_vain)
    app.router.add_get("/v1/x", fail)
    app.router.add_get("/api/x", fail)
    app.router.add_get("/v1/broken", break_down)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/v1/x")
        assert (answer.status, answer.content_type) == (409, PROBLEM_TYPE)
        answer = await client.get("/api/x")
        assert (answer.status, await answer.text()) == (409, "already running")
        assert (await client.get("/v1/broken")).status == 500
        answer = await client.get("/v1/refused")
        assert (answer.status, answer.headers["Connection"]) == (400, "close")
        answer = await client.post("/v1/x")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")
        answer = await client.get("/v1/y")
        assert (await answer.json(content_type=None))["detail"] == "there is no such path"
