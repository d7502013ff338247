"""What `if` asks: files, variables, ERRORLEVEL, comparisons of text and numbers."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from typing import Any

from .arithmetic import number
from .errors import CommandError, RefusedError
from .paths import has_wildcard, matching
from .shell import Shell
from .syntax import Condition

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "equ": operator.eq,
    "neq": operator.ne,
    "lss": operator.lt,
    "leq": operator.le,
    "gtr": operator.gt,
    "geq": operator.ge,
}


def holds(condition: Condition, shell: Shell) -> bool:
    """Tell whether a condition is true now."""
    left, right = shell.expand(condition.left), shell.expand(condition.right)
    return _holds(condition, left, right, shell) != condition.negated


def _holds(condition: Condition, left: str, right: str, shell: Shell) -> bool:
    match condition.kind:
        case "exist":
            return _exists(shell.native(left))
        case "defined":
            return shell.lookup(left.replace('"', "")) is not None
        case "errorlevel":
            return shell.errorlevel >= _level(left)
        case "cmdextversion":
            return _level(left) <= 2
        case "==":
            return _folded(left, condition) == _folded(right, condition)
        case kind:
            return _compare(kind, left, right, condition)


def _compare(kind: str, left: str, right: str, condition: Condition) -> bool:
    try:
        return _COMPARE[kind](number(left), number(right))
    except CommandError:
        return _COMPARE[kind](_folded(left, condition), _folded(right, condition))


def _folded(text: str, condition: Condition) -> str:
    return text.casefold() if condition.ignore_case else text


def _level(text: str) -> int:
    try:
        return number(text)
    except CommandError:
        raise RefusedError(f"`if errorlevel {text}`: write a number.") from None


def _exists(path: str) -> bool:
    if has_wildcard(os.path.basename(path)):
        return bool(matching(path))
    return bool(path) and os.path.exists(path)
