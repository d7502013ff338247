"""Calls: from events to arguments, from returned values to replies, from failures to text."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import azure.functions as func
import guest
import pytest

from sandbox.runtime import context, events, failures, objects, replies, signature, wire

if TYPE_CHECKING:
    from collections.abc import Callable

INFO = ("an-id", "the-parent", "the-state", None)
HTTP = ("req", "httpTrigger", "in")
RETURN = ("$return", "http", "out")


def described(*bindings: tuple[str, str, str]) -> dict[str, Any]:
    """Return a function as the host describes it."""
    return {
        "name": "f",
        "trigger_type": bindings[0][1].lower(),
        "trigger_name": bindings[0][0],
        "bindings": [
            {"name": n, "type": t, "direction": d, "data_type": ""} for n, t, d in bindings
        ],
        "function_directory": "/app/f",
    }


def entry(main: Callable[..., Any], *bindings: tuple[str, str, str]) -> objects.Entry:
    """Return the entry of `main`; an http function with `$return` if nothing else is said."""
    return objects.entry(described(*(bindings or (HTTP, RETURN))), main)


def call(main: Callable[..., Any], *bindings: tuple[str, str, str], event: Any = None) -> Any:
    """Call `main` once with a GET request."""
    return entry(main, *bindings).call(event or request(), INFO)


def request(query: str = "", body: bytes = b"", **more: Any) -> list[Any]:
    """Return an HTTP event."""
    event = guest.get(query)
    event[5] = body
    event[2] = more.get("headers", [])
    event[4] = more.get("route", [])
    event[0] = more.get("method", "get")
    return packed(event)


def packed(event: list[Any]) -> list[Any]:
    """Return an event as it comes over the wire."""
    return [wire.pack(event[:-1]), event[-1]]


# --- requests -------------------------------------------------------------------------------------


def test_the_request_is_the_librarys() -> None:
    """User code gets an azure.functions.HttpRequest with everything that came."""
    seen: list[func.HttpRequest] = []

    def main(req: func.HttpRequest) -> str:
        seen.append(req)
        return ""

    headers = [["Content-Type", "application/json"], ["X-A", "1"], ["x-a", "2"], ["x-empty", ""]]
    event = request("a=1&b=&a=2", b'{"k": 1}', headers=headers, route=[["id", "7"]])
    assert call(main, event=event)[0] == 0
    (req,) = seen
    assert isinstance(req, func.HttpRequest)
    assert (req.method, req.url) == ("GET", "http://localhost/api/x?a=1&b=&a=2")
    assert dict(req.params) == {"a": "1,2"}
    assert dict(req.route_params) == {"id": "7"}
    assert req.headers["X-A"] == "1,2"
    assert req.headers["x-empty"] == ""
    assert req.get_json() == {"k": 1}
    assert req.get_body() == b'{"k": 1}'


def test_the_direct_way_equals_the_converters() -> None:
    """A request built directly is the one that the library's converter would have made."""
    event = request("a=1&a=2&c=", b"body", headers=[["A", "1"], ["B", ""], ["a", "2"]])
    shape = signature.Signature("req", None, context=False, outputs=(), returns="http")
    registry = func.get_binding_registry()
    direct = events.http_decoder(shape, registry)(event)
    converted = events._converted_request(registry.get("httpTrigger"), event)
    assert type(direct) is type(converted)
    for name in ("method", "url", "params", "route_params"):
        assert getattr(direct, name) == getattr(converted, name)
    assert dict(direct.headers) == dict(converted.headers)
    assert direct.get_body() == converted.get_body()


def test_requests_of_one_head_are_alike_and_apart() -> None:
    """They are copies of the first one: what a call does to its request, no other one sees."""
    seen: list[Any] = []

    def main(req: func.HttpRequest) -> str:
        seen.append(req)
        return ""

    made = entry(main)
    form = [["content-type", "application/x-www-form-urlencoded"]]
    for body in (b"a=1", b"a=2", b""):
        made.call(request("q=7", body, headers=form, method="POST"), INFO)
        seen[-1].own = body
        assert seen[-1].form.get("a", "") == body.decode()[2:]
    assert [each.get_body() for each in seen] == [b"a=1", b"a=2", b""]
    assert [each.own for each in seen] == [b"a=1", b"a=2", b""]
    assert {each.params["q"] for each in seen} == {"7"}
    assert len({type(each) for each in seen}) == 1


def test_a_request_that_cannot_be_copied_is_made_each_time() -> None:
    """A library whose requests hold what somebody could change gets a fresh one for each call."""

    class Odd:
        def __init__(self, *_: Any, body: bytes, **__: Any) -> None:
            self.body = body
            self.notes: list[str] = []

    requests = events._Requests(Odd)
    first, second = (requests.build(request(body=b"x")) for _ in range(2))
    assert first.notes is not second.notes
    assert second.body == b"x"


def test_a_form_is_parsed_by_the_library() -> None:
    """Form fields come through werkzeug, as they do in the original."""
    headers = [["content-type", "application/x-www-form-urlencoded"]]
    event = request(body=b"a=1&b=2", headers=headers, method="POST")
    assert call(lambda req: req.form["b"], event=event)[1][2] == b"2"


def test_raw_annotations_get_the_body() -> None:
    """A parameter annotated str or bytes gets the bare payload."""

    def text(req: str) -> str:
        return req

    def data(req: bytes) -> bytes:
        return req

    assert call(text, event=request(body=b"\xc3\xa9"))[1][2] == "é".encode()
    assert call(data, event=request(body=b"\x00"))[1][2] == b"\x00"


# --- context --------------------------------------------------------------------------------------


def test_the_context_tells_about_the_call() -> None:
    """A parameter named context gets id, name, directory and trace, old names included."""
    seen: list[Any] = []

    def main(req: func.HttpRequest, context: func.Context) -> str:
        seen.append(context)
        return ""

    assert call(main)[0] == 0
    (given,) = seen
    assert isinstance(given, func.Context)
    assert (given.invocation_id, given.function_name) == ("an-id", "f")
    assert given.function_directory == "/app/f"
    assert given.trace_context.trace_parent == given.trace_context.Traceparent == "the-parent"
    assert given.trace_context.trace_state == given.trace_context.Tracestate == "the-state"
    assert given.trace_context.attributes == given.trace_context.Attributes == {}
    assert given.retry_context is None
    given.thread_local_storage.invocation_id = given.invocation_id
    assert context.thread_local.invocation_id == "an-id"
    del context.thread_local.invocation_id


def test_the_context_counts_attempts() -> None:
    """retry_context has the count, the maximum and why the attempt before failed."""
    given = context.Context(("", "", "", (1, 3, "boom", "stack")), "f", "")
    retry = given.retry_context
    assert retry is not None
    assert (retry.retry_count, retry.max_retry_count) == (1, 3)
    assert retry.exception is not None
    assert (retry.exception.message, retry.exception.stack_trace) == ("boom", "stack")


def test_a_binding_named_context_gets_the_binding() -> None:
    """The name alone is no magic if function.json binds it."""

    def main(context: func.HttpRequest) -> str:
        return context.method

    assert call(main, ("context", "httpTrigger", "in"), RETURN)[1][2] == b"GET"


# --- replies --------------------------------------------------------------------------------------

TEXT = [["Content-Type", "text/plain; charset=utf-8"]]
JSON = [["Content-Type", "application/json"]]
BYTES = [["Content-Type", "application/octet-stream"]]


@pytest.mark.parametrize(
    ("value", "reply"),
    [
        ("é", [200, TEXT, "é".encode()]),
        (b"\x00", [200, BYTES, b"\x00"]),
        (bytearray(b"\x00"), [200, BYTES, b"\x00"]),
        ({"a": 1}, [200, JSON, b'{"a": 1}']),
        ([1], [200, JSON, b"[1]"]),
        (("x", 201), [201, TEXT, b"x"]),
        ((None, 204), [204, [], b""]),
        (({}, HTTPStatus.ACCEPTED), [202, JSON, b"{}"]),
        (("x", 200, {"X-A": 1}), [200, [*TEXT, ["X-A", "1"]], b"x"]),
        (("x", 200, [("a", "1"), ("a", "2")]), [200, [*TEXT, ["a", "1"], ["a", "2"]], b"x"]),
        (("x", 200, {"content-type": "t/x"}), [200, [["content-type", "t/x"]], b"x"]),
        (func.HttpResponse(), [200, TEXT, b""]),
        (func.HttpResponse("é", charset="latin-1"),
         [200, [["Content-Type", "text/plain; charset=latin-1"]], b"\xe9"]),
        (func.HttpResponse(b"{}", mimetype="application/json"), [200, JSON, b"{}"]),
        (func.HttpResponse("x", headers={"content-TYPE": "t/x", "A": "b"}, status_code=404),
         [404, [["content-TYPE", "t/x"], ["A", "b"]], b"x"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bindings", [(HTTP,), (HTTP, RETURN)])
def test_a_returned_value_becomes_a_reply(
    value: Any, reply: list[Any], bindings: tuple[tuple[str, str, str], ...]
) -> None:
    """Responses, text, bytes, JSON and tuples are served, with and without a declared output."""
    assert call(lambda req: value, *bindings) == (0, reply)


def test_a_response_may_be_returned_many_times() -> None:
    """Reading a response does not change it: a constant one keeps its cookies."""
    response = func.HttpResponse("x", headers={"Set-Cookie": "a=1; Path=/"})
    main = entry(lambda req: response)
    assert main.call(request(), INFO) == main.call(request(), INFO)


def test_the_reply_equals_the_converters() -> None:
    """Status, headers and body are those that the library's own converter reads."""
    response = func.HttpResponse("x", status_code=HTTPStatus.CREATED, headers={"A": "1", "b": "2"})
    status, headers, body = replies.from_response(response)
    value = func.get_binding_registry().get("http").encode(response, expected_type=None).value
    assert str(status) == value["status_code"].value
    theirs = {name.lower(): datum.value for name, datum in value["headers"].items()}
    assert {name.lower(): text for name, text in headers} == theirs
    assert body == value["body"].value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "returned object"),
        (1, "returned int"),
        ((1, 2, 3, 4), "tuple of 4"),
        (("x", "200"), "(body, status)"),
        (("x", True), "(body, status)"),
        ((("x", 200), 200), "must not be a tuple"),
        (("x", 200, 5), "headers in a tuple"),
        ({"a": object()}, "no JSON"),
    ],
)
def test_what_no_reply_can_be_made_of_fails_with_the_reason(value: Any, says: str) -> None:
    """A wrong return is the function's failure and names the types that work."""
    status, (line, detail) = call(lambda req: value)
    assert status == 1
    assert says in line
    assert detail == ""


def test_none_is_no_content_without_a_declared_output_and_an_error_with_one() -> None:
    """204 if function.json promises no response, 500 if it does."""
    assert call(lambda req: None, HTTP) == (0, [204, [], b""])
    status, (line, _detail) = call(lambda req: None, HTTP, RETURN)
    assert status == 1
    assert "returned None" in line


def test_an_out_parameter_carries_the_response() -> None:
    """func.Out of an http output is the response; unset it is 204."""

    def main(req: func.HttpRequest, answer: func.Out[func.HttpResponse]) -> None:
        assert isinstance(answer, func.Out)
        if req.params:
            answer.set(func.HttpResponse("set", status_code=202))
            assert answer.get().status_code == 202

    bindings = (HTTP, ("answer", "http", "out"))
    assert call(main, *bindings, event=request("a=1")) == (0, [202, TEXT, b"set"])
    assert call(main, *bindings) == (0, [204, [], b""])


def test_a_return_of_another_type_is_shown_as_text() -> None:
    """With `$return` bound to something else, what is returned is the body."""
    bindings = (HTTP, ("$return", "generic", "out"))
    assert call(lambda req: "x", *bindings) == (0, [200, TEXT, b"x"])
    assert call(lambda req: None, *bindings) == (0, [204, [], b""])


def test_an_output_without_a_carrier_is_not_lost_in_silence() -> None:
    """A set output that cannot be delivered fails the call, and says which."""

    def main(req: func.HttpRequest, msg: func.Out[str]) -> str:
        if req.params:
            msg.set("x")
        return "done"

    bindings = (HTTP, RETURN, ("msg", "queue", "out"))
    assert call(main, *bindings)[0] == 0
    status, (line, _detail) = call(main, *bindings, event=request("a=1"))
    assert status == 1
    assert '"msg"' in line
    assert '"queue"' in line


# --- cookies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "lines"),
    [
        ("foo=bar", ["foo=bar; domain=; path="]),
        (
            (
                "foo3=42; Domain=example.com; Expires=Thu, 12-Jan-2017 13:55:08 GMT; Path=/; "
                "Max-Age=10000000; SameSite=Lax; Secure; HttpOnly"
            ),
            [
                (
                    "foo3=42; expires=Thu, 12 Jan 2017 13:55:08 GMT; max-age=10000000; "
                    "domain=example.com; path=/; secure; samesite=lax; httponly"
                )
            ],
        ),
        ("", []),
        ("a=1; Bare", []),
        ("a=1; Max-Age=Dummy", []),
        ("a=1; Expires=2017-01-12", ["a=1; expires=Thu, 12 Jan 2017 00:00:00 GMT; domain=; path="]),
    ],
)
def test_cookies_are_written_as_the_original_writes_them(header: str, lines: list[str]) -> None:
    """Attributes come in the known order and case; what cannot be read gives no cookie."""
    assert replies.cookie_lines(header) == lines


def test_each_cookie_is_a_header_of_its_own() -> None:
    """Several Set-Cookie headers stay several."""
    response = func.HttpResponse("x")
    response.headers.add("Set-Cookie", "a=1")
    response.headers.add("Set-Cookie", "b=2; Path=/")
    headers = replies.from_response(response)[1]
    assert headers[1:] == [
        ["Set-Cookie", "a=1; domain=; path="],
        ["Set-Cookie", "b=2; domain=; path=/"],
    ]


def test_a_cookie_with_an_impossible_date_fails_and_names_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An `expires` that is no date is a failure of the function with the value in the log."""
    response = func.HttpResponse("x", headers={"Set-Cookie": "foo=bar; Expires=Dummy"})
    status, (line, _detail) = call(lambda req: response)
    assert status == 1
    assert "Dummy" in line
    assert "Dummy" in caplog.text


# --- other events ---------------------------------------------------------------------------------

TIMER = ("timer", "timerTrigger", "in")
FACTS = json.dumps({"IsPastDue": True, "ScheduleStatus": None})
TICK = packed(["timertrigger", "json", FACTS, []])


def test_a_timer_gets_the_librarys_request() -> None:
    """The payload becomes a TimerRequest through the library's converter."""
    seen: list[func.TimerRequest] = []

    def main(timer: func.TimerRequest) -> None:
        seen.append(timer)

    assert call(main, TIMER, event=TICK) == (0, None)
    assert seen[0].past_due is True
    assert seen[0].schedule_status == {}


def test_a_trigger_type_may_be_written_in_any_case() -> None:
    """`TimerTrigger` is the timer's, too."""

    def main(timer: func.TimerRequest) -> None:
        assert timer.past_due

    assert call(main, ("timer", "TIMERTRIGGER", "in"), event=TICK) == (0, None)


def test_a_manual_trigger_gets_its_input_as_text() -> None:
    """A generic trigger passes its payload on, as str or, if annotated so, as bytes."""

    def text(data: str) -> str:
        return data + "!"

    def raw(data: bytes) -> bytes:
        return data

    event = packed(["manualtrigger", "string", "input", []])
    manual = ("data", "manualTrigger", "in")
    assert call(text, manual, event=event) == (0, "input!")
    assert call(raw, manual, event=event) == (0, b"input")
    assert call(lambda data: {"a": data}, manual, event=event) == (0, '{"a": "input"}')


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_no_exception_of_user_code_leaves_the_call(kind: type[BaseException]) -> None:
    """Whatever user code raises is a failed call with the user's frames only."""

    def main(req: func.HttpRequest) -> str:
        raise kind("boom")

    status, (line, detail) = call(main)
    assert status == 1
    assert line == f"{kind.__name__}: boom"
    assert detail.splitlines()[1].startswith(f'  File "{__file__}"')
    assert "runtime/objects.py" not in detail


async def test_a_coroutine_is_called_the_same_way() -> None:
    """Coroutines succeed and fail as functions do."""

    async def main(req: func.HttpRequest) -> func.HttpResponse:
        await asyncio.sleep(0)
        if req.params:
            raise SystemExit(3)
        return func.HttpResponse("x")

    made = entry(main)
    assert made.is_coroutine
    assert await made.acall(request(), INFO) == (0, [200, TEXT, b"x"])
    status, (line, _detail) = await made.acall(request("a=1"), INFO)
    assert (status, line) == (1, "SystemExit: 3")


async def test_only_our_own_cancellation_passes_through() -> None:
    """A task that we cancel ends; a CancelledError of the user's own is a failure."""

    async def main(req: func.HttpRequest) -> str:
        if req.params:
            raise asyncio.CancelledError
        await asyncio.Event().wait()
        return ""

    made = entry(main)
    assert (await made.acall(request("a=1"), INFO))[0] == 1
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await made.acall(request(), INFO)


def test_a_forgotten_async_is_told() -> None:
    """A plain function that returns a coroutine is asked to be `async def`."""

    async def inner() -> str:
        return ""

    status, (line, _detail) = call(lambda req: inner())
    assert status == 1
    assert "async def" in line


def test_an_exception_that_cannot_be_printed_is_still_reported() -> None:
    """A broken __str__ does not break the report."""

    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    line = failures.error_line(OddError())
    assert "OddError" in line
    assert "could not be made" in line


def test_huge_texts_are_cut() -> None:
    """A message of megabytes and one with lone surrogates both fit into a reply."""
    error = ValueError("x" * 1_000_000 + "\udc80\n")
    assert len(failures.error_line(error)) < failures.LINE_LIMIT + 100
    assert len(failures.traceback_text(error)) < failures.TEXT_LIMIT + 100
    failures.error_line(ValueError("\udc80")).encode()


# --- validation -----------------------------------------------------------------------------------


def test_parameters_and_bindings_must_agree() -> None:
    """A parameter without binding and a binding without parameter are told with their names."""
    with pytest.raises(signature.SignatureError, match='"other" is declared in Python'):
        entry(lambda req, other: "")
    with pytest.raises(signature.SignatureError, match='"req" is declared in function'):
        entry(lambda: "")


def test_defaults_and_kwargs_need_no_binding() -> None:
    """A parameter with a default may lack a binding; **kwargs takes what the bindings bring."""
    assert call(lambda req, other=1: str(other))[1][2] == b"1"
    assert call(lambda **bound: ",".join(bound))[1][2] == b"req"


def test_directions_are_checked() -> None:
    """`inout` is unknown, `$return` is an output, Out belongs to outputs only."""

    def out(req: func.HttpRequest, msg: func.Out[str]) -> str:
        return ""

    def plain(req: func.HttpRequest, msg: str) -> str:
        return ""

    with pytest.raises(signature.SignatureError, match="inout"):
        entry(plain, HTTP, ("msg", "queue", "inout"))
    with pytest.raises(signature.SignatureError, match=r"\$return"):
        entry(lambda req: "", HTTP, ("$return", "http", "in"))
    with pytest.raises(signature.SignatureError, match='direction "in"'):
        entry(out, HTTP, ("msg", "queue", "in"))
    with pytest.raises(signature.SignatureError, match=r"Out\[\.\.\.\]"):
        entry(plain, HTTP, ("msg", "queue", "out"))


def test_annotations_must_fit() -> None:
    """A class that the binding never gives is refused, for parameters, context and return."""

    def wrong(req: func.TimerRequest) -> str:
        return ""

    def context_as_text(req: func.HttpRequest, context: str) -> str:
        return ""

    def returns_int(req: func.HttpRequest) -> int:
        return 1

    for main, says in ((wrong, "TimerRequest"), (context_as_text, "context"), (returns_int, "int")):
        with pytest.raises(signature.SignatureError, match=says):
            entry(main)


def test_lenient_annotations_are_accepted() -> None:
    """Optional, generic, unresolvable and missing annotations do no harm."""

    def optional(req: func.HttpRequest | None) -> dict[str, Any] | None:
        return {}

    def unresolvable(req: NotThere) -> AlsoNot:  # type: ignore[name-defined]  # noqa: F821
        return "x"

    assert call(optional)[0] == 0
    assert call(unresolvable)[0] == 0


def test_generic_outputs_need_no_parameter() -> None:
    """An output of a type that the library does not know may lack a parameter."""
    assert call(lambda req: "x", HTTP, RETURN, ("more", "somethingNew", "out"))[0] == 0
