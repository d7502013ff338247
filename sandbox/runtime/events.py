"""From an event, as it came over the wire, to the object that user code receives [hot path].

An HTTP event is method, url, headers, query, route_params and body, any other one kind, data_type,
data and metadata; all but the last value come packed. The converters of the azure-functions library
decide, the app's own copy if it brings one; only the HTTP request is built without the detour over
Datum values, by the class that the converter itself uses, when that has the constructor we know.
Callers repeat themselves: the requests of one head are made once, and are copied for each call.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

from . import signature, wire

Decoder = Callable[[Any], Any]  # takes [packed, last value]

_REQUEST_PARAMETERS = {
    *("method", "url", "headers", "params", "route_params"),
    *("body_type", "body"),
}


def http_decoder(shape: signature.Signature, registry: Any) -> Decoder:
    """Return what makes an HttpRequest, or the bare body if the parameter is annotated so."""
    if shape.raw is bytes:
        return lambda event: event[1]
    if shape.raw is str:
        return lambda event: event[1].decode("utf-8", "replace")
    kind = _request_class()
    if kind is None:
        return functools.partial(_converted_request, signature.converter(registry, "httpTrigger"))

    return _Requests(kind).build


class _Requests:
    """Makes requests of the library's class, those of a head that was seen before by copying."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._states: dict[bytes, dict[str, Any]] = {}
        self._bodies = _body_names(self._made(_SAMPLE, _MARK))

    def build(self, event: Any) -> Any:
        """Return the request of one event."""
        start, body = event
        state = self._states.get(start)
        if state is None:
            request = self._made(wire.unpack(start), body)
            if self._bodies and len(start) <= _KEPT_BYTES:
                self._keep(start, request)
            return request
        request = _new(self._kind)
        request.__dict__ = state = state.copy()
        for name in self._bodies:
            state[name] = body
        return request

    def _made(self, start: Any, body: bytes) -> Any:
        method, url, headers, query, route_params = start
        return self._kind(
            method,
            url,
            headers=joined(headers, lower=True),
            params=joined(query),
            route_params=dict(route_params),
            body_type="bytes",
            body=body,
        )

    def _keep(self, start: bytes, request: Any) -> None:
        if len(self._states) >= _KEPT:
            self._states.clear()
        self._states[start] = {**vars(request), **dict.fromkeys(self._bodies, b"")}


_new = object.__new__
_KEPT, _KEPT_BYTES = 64, 2 << 10  # heads of which a request is kept, and their size
_SAMPLE: Any = ("GET", "http://x/", [("a", "b")], [("c", "d")], [("e", "f")])
_MARK = b"the body"
_PLAIN = (str, bytes, bool, int, type(None), types.MappingProxyType)


def _body_names(request: Any) -> tuple[str, ...]:
    """Return which attributes of a request hold its body; () if it cannot be copied.

    All others must be of a kind that nobody changes: copies share them.
    """
    if getattr(type(request), "__new__", None) is not _new:
        return ()
    facts = getattr(request, "__dict__", {})
    for value in facts.values():
        is_headers = isinstance(value, Mapping) and not isinstance(value, MutableMapping)
        if type(value) not in _PLAIN and not is_headers:
            return ()
    return tuple(name for name, value in facts.items() if value == _MARK)


def _request_class() -> Any:
    """Return the class of the library's requests, None if its constructor is not the known one."""
    kind = getattr(sys.modules.get("azure.functions.http"), "HttpRequest", None)
    try:
        names = set(inspect.signature(kind).parameters) if kind else set()
    except (TypeError, ValueError):
        return None
    return kind if names == _REQUEST_PARAMETERS else None


def _converted_request(converter: Any, event: Any) -> Any:
    method, url, headers, query, route_params = wire.unpack(event[0])
    body = event[1]
    datum = _datum_class()
    parts = {
        "method": datum(method, "string"),
        "url": datum(url, "string"),
        "headers": _texts(datum, joined(headers, lower=True)),
        "query": _texts(datum, joined(query)),
        "params": _texts(datum, dict(route_params)),
        "body": datum(body, "bytes"),
    }
    return converter.decode(datum(parts, "http"), trigger_metadata={})


def joined(pairs: Any, *, lower: bool = False) -> dict[str, str]:
    """Return a dict in which repeats are joined by ",": of headers, or of a query.

    With `lower` names lose their case and empty values stay (headers), else empty values are
    dropped (query). The first try is right for nearly every request.
    """
    if not pairs:
        return {}
    if lower:
        found = {name.lower(): value for name, value in pairs}
    else:
        pairs = [pair for pair in pairs if pair[1]]
        found = dict(pairs)
    return found if len(found) == len(pairs) else _with_repeats(pairs, lower=lower)


def _with_repeats(pairs: Iterable[Any], *, lower: bool) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name.lower() if lower else name, []).append(value)
    return {name: ",".join(filter(None, values)) for name, values in found.items()}


def data_decoder(shape: signature.Signature, function: Mapping[str, Any], registry: Any) -> Decoder:
    """Return what makes the object of any other trigger, by the library's converter."""
    kind = next(b["type"] for b in function["bindings"] if b["name"] == shape.trigger)
    converter = signature.converter(registry, kind)
    if shape.raw is not None or converter is None:
        return functools.partial(_raw, shape.raw)
    datum = _datum_class()

    def convert(event: Any) -> Any:
        (_kind, data_type, data), metadata = wire.unpack(event[0]), event[1]
        facts = {name: datum(value, _metadata_type(value)) for name, value in metadata}
        return converter.decode(datum(data, data_type), trigger_metadata=facts)

    return convert


def _raw(kind: type | None, event: Any) -> Any:
    data = wire.unpack(event[0])[2]
    if kind is bytes and isinstance(data, str):
        return data.encode()
    if kind is str and isinstance(data, bytes):
        return data.decode("utf-8", "replace")
    return data


def _metadata_type(value: Any) -> str:
    return "string" if isinstance(value, str) else "bytes"


def _texts(datum: Any, values: Mapping[str, str]) -> dict[str, Any]:
    return {name: datum(value, "string") for name, value in values.items()}


def _datum_class() -> Any:
    return importlib.import_module("azure.functions.meta").Datum
