"""One function, ready to be called: from the event to its arguments, from its return to the reply.

[hot path] A call awaits nothing but the user's coroutine and looks nothing up that could be looked
up at load. An HTTP call allocates one library object each way, three dicts of the request, the list
of the reply.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import context, events, failures, replies, signature

SUCCEEDED, FAILED, LOAD_FAILED = 0, 1, 2
Result = tuple[int, Any]  # (SUCCEEDED, payload) | (FAILED, [line, traceback])


class Entry:
    """A function as the worker sees it. `call` and `acall` never raise, whatever user code does.

    Both take the event as it came over the wire and the call's facts (context.CallInfo or a plain
    tuple of that shape); they return (0, payload) or (1, [error line, traceback]).
    """

    __slots__ = ("_arguments", "_function", "_payload", "is_coroutine", "name")

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: Callable[[Any, tuple[Any, ...]], dict[str, Any]],
        payload: Callable[[Any, dict[str, Any]], Any],
    ) -> None:
        self.name = name
        self.is_coroutine = _is_coroutine(function)
        self._function = function
        self._arguments = arguments
        self._payload = payload

    def call(self, event: Any, info: tuple[Any, ...]) -> Result:
        """Run a synchronous function."""
        try:
            arguments = self._arguments(event, info)
            return SUCCEEDED, self._payload(self._function(**arguments), arguments)
        except replies.ReturnError as error:
            return FAILED, [f"ReturnError: {error}", ""]
        except BaseException as error:  # SystemExit and KeyboardInterrupt end the call, not us
            return FAILED, [failures.error_line(error), failures.traceback_text(error)]

    async def acall(self, event: Any, info: tuple[Any, ...]) -> Result:
        """Run a coroutine function; only the cancellation of our own task passes through."""
        try:
            arguments = self._arguments(event, info)
            return SUCCEEDED, self._payload(await self._function(**arguments), arguments)
        except replies.ReturnError as error:
            return FAILED, [f"ReturnError: {error}", ""]
        except BaseException as error:  # the same
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            return FAILED, [failures.error_line(error), failures.traceback_text(error)]


def entry(function: Mapping[str, Any], target: Callable[..., Any]) -> Entry:
    """Return the entry of a function; signature.SignatureError if it does not fit its bindings.

    ImportError if there is no azure-functions library at all.
    """
    library = importlib.import_module("azure.functions")
    context.adopt(library)
    registry = library.get_binding_registry()
    shape = signature.read(function, target, registry)
    is_http = function["trigger_type"].lower() == "httptrigger"
    decode = (
        events.http_decoder(shape, registry)
        if is_http
        else events.data_decoder(shape, function, registry)
    )
    payload = _http_payload(shape) if is_http else _data_payload(shape)
    return Entry(function["name"], target, _arguments(shape, function, decode), payload)


def _arguments(
    shape: signature.Signature, function: Mapping[str, Any], decode: Callable[[Any], Any]
) -> Callable[[Any, tuple[Any, ...]], dict[str, Any]]:
    trigger, outputs = shape.trigger, [name for name, _type in shape.outputs]
    wants_context = shape.context
    name, directory = function["name"], function["function_directory"]

    def only_the_event(event: Any, _info: tuple[Any, ...]) -> dict[str, Any]:
        return {trigger: decode(event)}

    def all_that_is_asked(event: Any, info: tuple[Any, ...]) -> dict[str, Any]:
        arguments = {trigger: decode(event)}
        if wants_context:
            arguments["context"] = context.Context(info, name, directory)
        for output in outputs:
            arguments[output] = context.Out()
        return arguments

    return all_that_is_asked if wants_context or outputs else only_the_event


def _http_payload(shape: signature.Signature) -> Callable[[Any, dict[str, Any]], Any]:
    answers = [name for name, kind in shape.outputs if kind == "http"]
    others = [output for output in shape.outputs if output[1] != "http"]
    must_return = shape.returns == "http"
    if shape.returns not in ("", "http"):
        return functools.partial(_text_reply, others)

    def answer(value: Any, arguments: dict[str, Any]) -> Any:
        _refuse_undeliverable(others, arguments)
        for name in answers:
            if (answered := arguments[name].get()) is not None:
                return replies.http_reply(answered)
        if value is None:
            return _nothing(must_return=must_return)
        return replies.http_reply(_value(value))

    def returned(value: Any, _arguments: dict[str, Any]) -> Any:
        if value is None:
            return _nothing(must_return=must_return)
        encode = replies.BY_TYPE.get(type(value))
        return encode(value) if encode else replies.http_reply(_value(value))

    return answer if shape.outputs else returned


def _nothing(*, must_return: bool) -> Any:
    if must_return:
        raise replies.ReturnError(
            "the function returned None, but function.json declares an http output: return a "
            "response, or remove the binding to answer 204"
        )
    return replies.empty()


def _text_reply(others: list[tuple[str, str]], value: Any, arguments: dict[str, Any]) -> Any:
    """Answer for `$return` of a type that is not http: what was returned is shown as text."""
    _refuse_undeliverable(others, arguments)
    return replies.empty() if value is None else replies.http_reply(_value(value))


def _data_payload(shape: signature.Signature) -> Callable[[Any, dict[str, Any]], Any]:
    def report(value: Any, arguments: dict[str, Any]) -> Any:
        _refuse_undeliverable(shape.outputs, arguments)
        value = _value(value)
        if value is None or isinstance(value, (str, bytes)):
            return value
        try:
            return json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            raise replies.ReturnError(
                f"the function returned {type(value).__qualname__}: return None, str, bytes or "
                "what JSON can hold"
            ) from None

    return report


def _refuse_undeliverable(outputs: Iterable[tuple[str, str]], arguments: Mapping[str, Any]) -> None:
    """Fail rather than lose: an output of a type that has no carrier must not vanish silently."""
    for name, kind in outputs:
        if arguments[name].get() is not None:
            raise replies.ReturnError(
                f'the output binding "{name}" was set, but Taak cannot deliver outputs of type '
                f'"{kind}" yet'
            )


def _value(value: Any) -> Any:
    if inspect.iscoroutine(value):
        value.close()  # else Python warns, at some later time, that it was never awaited
        raise replies.ReturnError(
            'the function returned a coroutine: declare the entry point itself with "async def"'
        )
    return value


def _is_coroutine(function: Any) -> bool:
    called = getattr(type(function), "__call__", None)  # noqa: B004  an object with async __call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
