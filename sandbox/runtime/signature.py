"""What a function takes and gives back, read from its signature and its bindings at load.

Owns the rules of functions.md 3 ("Validation at load"). Everything that a call needs to know is
computed here once, so that the call itself looks nothing up. Where upstream refuses what only a
failing app can contain (Optional annotations, a dict returned for http), we accept it.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_RAW = (str, bytes)
# What Taak makes a response from besides the library's own types.
PLAIN_RETURNS = (str, bytes, bytearray, dict, list, tuple, type(None))

#: The library's registry is keyed by these spellings; manifests may write any case.
CANONICAL = {
    name.lower(): name
    for name in (
        "blob",
        "blobTrigger",
        "http",
        "httpTrigger",
        "queue",
        "queueTrigger",
        "table",
        "timerTrigger",
        "warmupTrigger",
    )
}


class SignatureError(Exception):
    """The function cannot be called as its function.json says; the message says why and the fix."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a call has to pass and what to do with the value that comes back.

    Attributes:
        trigger: name of the parameter for the event.
        raw: str or bytes if the trigger's parameter is annotated so: it gets the bare payload.
        context: whether the Context is passed.
        outputs: (parameter, binding type in lower case) of the output parameters.
        returns: binding type of `$return` in lower case, "" if there is none.
    """

    trigger: str
    raw: type | None
    context: bool
    outputs: tuple[tuple[str, str], ...]
    returns: str


def read(function: Mapping[str, Any], entry: Callable[..., Any], registry: Any) -> Signature:
    """Return the signature; SignatureError says the first thing that does not fit."""
    parameters = dict(_parameters(entry))
    hints = _hints(entry)
    bindings = {binding["name"]: binding for binding in function["bindings"]}
    returned = bindings.pop("$return", None)
    for binding in function["bindings"]:
        _check_direction(binding)
    context = _takes_context(parameters, bindings, hints)
    _check_names(function["name"], parameters, bindings)
    for name, binding in bindings.items():
        if name in parameters and name in hints:
            _check_hint(binding, hints[name], registry)
    if returned is not None:
        _check_return(returned, hints.get("return", inspect.Parameter.empty), registry)
    trigger = function["trigger_name"]
    return Signature(
        trigger=trigger,
        raw=hints.get(trigger) if hints.get(trigger) in _RAW else None,
        context=context,
        outputs=tuple(
            (name, binding["type"].lower())
            for name, binding in bindings.items()
            if binding["direction"].lower() == "out" and name in parameters
        ),
        returns=returned["type"].lower() if returned else "",
    )


def converter(registry: Any, binding_type: str) -> Any:
    """Return the library's converter of a binding type, None for a generic binding."""
    return registry.get(CANONICAL.get(binding_type.lower(), binding_type))


def _parameters(entry: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(entry).parameters
    except (TypeError, ValueError) as error:
        raise SignatureError(f"its parameters cannot be read: {error}") from None


def _hints(entry: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations; those that cannot be resolved count as absent."""
    try:
        return typing.get_type_hints(entry)
    except Exception:  # names imported under TYPE_CHECKING only, objects without annotations
        raw = getattr(entry, "__annotations__", {})
        return {name: hint for name, hint in raw.items() if not isinstance(hint, str)}


def _check_direction(binding: Mapping[str, Any]) -> None:
    name, direction = binding["name"], binding["direction"].lower()
    if direction not in ("in", "out"):
        raise SignatureError(
            f'binding "{name}" has direction "{direction}": Python functions know "in" and "out"'
        )
    if name == "$return" and direction != "out":
        raise SignatureError('the binding "$return" must have the direction "out"')


def _takes_context(
    parameters: dict[str, inspect.Parameter],
    bindings: Mapping[str, Any],
    hints: Mapping[str, Any],
) -> bool:
    if "context" not in parameters or "context" in bindings:
        return False
    hint = hints.get("context")
    if hint is not None and not (isinstance(hint, type) and hint.__name__ == "Context"):
        raise SignatureError(
            f'the parameter "context" is annotated {hint!r}: it must be azure.functions.Context'
        )
    del parameters["context"]
    return True


def _check_names(
    function: str, parameters: dict[str, inspect.Parameter], bindings: Mapping[str, Any]
) -> None:
    kinds = {parameter.kind for parameter in parameters.values()}
    for name in [n for n, p in parameters.items() if p.kind in _VARIABLE]:
        del parameters[name]
    optional = {n for n, p in parameters.items() if p.default is not inspect.Parameter.empty}
    extra = set(parameters) - set(bindings) - optional
    if extra:
        raise SignatureError(
            f"{_listed(extra)} declared in Python but not in function.json: add a binding of that "
            f'name to function "{function}", or remove the parameter'
        )
    missing = {n for n, b in bindings.items() if not _is_generic_output(b)} - set(parameters)
    if inspect.Parameter.VAR_KEYWORD in kinds:
        for name in missing:  # **kwargs takes whatever the bindings bring
            parameters[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)
    elif missing:
        raise SignatureError(
            f"{_listed(missing)} declared in function.json but not in Python: add a parameter of "
            "that name, or remove the binding"
        )


def _is_generic_output(binding: Mapping[str, Any]) -> bool:
    return binding["direction"].lower() == "out" and binding["type"].lower() not in CANONICAL


def _listed(names: set[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in sorted(names))
    return f"{listed} {'is' if len(names) == 1 else 'are'}"


def _check_hint(binding: Mapping[str, Any], hint: Any, registry: Any) -> None:
    name = binding["name"]
    is_out = binding["direction"].lower() == "out"
    says_out = getattr(typing.get_origin(hint) or hint, "__name__", "") == "Out"
    if is_out and not says_out:
        raise SignatureError(
            f'the binding "{name}" has the direction "out", but its parameter is annotated '
            f"{_name(hint)}: use azure.functions.Out[...]"
        )
    if says_out and not is_out:
        raise SignatureError(
            f'the parameter "{name}" is annotated azure.functions.Out, but its binding has the '
            'direction "in"'
        )
    if is_out:
        hint = (*typing.get_args(hint), None)[0]
    if isinstance(hint, type) and not _fits(binding["type"], hint, registry, is_out=is_out):
        raise SignatureError(
            f'the parameter "{name}" is annotated {_name(hint)}, which does not fit a binding of '
            f"type {binding['type']}"
        )


def _fits(binding_type: str, hint: type, registry: Any, *, is_out: bool) -> bool:
    if hint in _RAW or hint is object:
        return True
    found = converter(registry, binding_type)
    if found is None:
        return issubclass(hint, (str, bytes, bytearray))
    check = found.check_output_type_annotation if is_out else found.check_input_type_annotation
    try:
        return bool(check(hint))
    except Exception:  # the boundary to the library, which may be the app's own
        return False


def _check_return(binding: Mapping[str, Any], hint: Any, registry: Any) -> None:
    if getattr(typing.get_origin(hint) or hint, "__name__", "") == "Out":
        raise SignatureError("the return annotation must be a value's type, not an Out")
    if hint is inspect.Parameter.empty or not isinstance(hint, type):
        return
    plain = binding["type"].lower() == "http" and issubclass(hint, PLAIN_RETURNS)
    if not plain and not _fits(binding["type"], hint, registry, is_out=True):
        raise SignatureError(
            f"the return annotation {_name(hint)} does not fit the binding "
            f'"$return" of type {binding["type"]}'
        )


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", None) or repr(hint)
