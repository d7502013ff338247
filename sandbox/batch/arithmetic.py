"""`set /a`: whole numbers of 32 bits, variables by their bare names, assignments."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from .errors import CommandError
from .variables import Variables

_TOKEN = re.compile(r"\s*(<<=|>>=|<<|>>|[-+*/%&^|]=|[-+*/%&^|=(),!~]|\w+|\S)")
_ASSIGNMENTS = {"=", "*=", "/=", "%=", "+=", "-=", "&=", "^=", "|=", "<<=", ">>="}
_BINDING = {"|": 1, "^": 2, "&": 3, "<<": 4, ">>": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}


def _divide(left: int, right: int) -> int:
    if right == 0:
        raise CommandError("Divide by zero error.")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "|": operator.or_,
    "^": operator.xor,
    "&": operator.and_,
    "<<": lambda left, right: left << right if 0 <= right < 32 else 0,
    ">>": lambda left, right: left >> min(max(right, 0), 31),
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": lambda left, right: left - _divide(left, right) * right,
}


def evaluate(text: str, variables: Variables) -> int:
    """Return the last value of an expression and make its assignments; CommandError if wrong."""
    return _Evaluation(text.replace('"', ""), variables).value()


class _Evaluation:
    def __init__(self, text: str, variables: Variables) -> None:
        self._tokens = _TOKEN.findall(text)
        self._variables = variables

    def value(self) -> int:
        result = self._assignment()
        while self._next() == ",":
            self._take()
            result = self._assignment()
        if self._next():
            raise CommandError("Missing operator.")
        return result

    def _next(self, ahead: int = 0) -> str:
        return self._tokens[ahead] if ahead < len(self._tokens) else ""

    def _take(self) -> str:
        if not self._tokens:
            raise CommandError("Missing operand.")
        return str(self._tokens.pop(0))

    def _assignment(self) -> int:
        if self._next(1) not in _ASSIGNMENTS:
            return self._binary(1)
        name, sign = self._take(), self._take()
        value = self._assignment()
        if sign != "=":
            value = _wrapped(_OPERATIONS[sign[:-1]](self._operand(name), value))
        self._variables.set(name, str(value))
        return value

    def _binary(self, least: int) -> int:
        left = self._unary()
        while _BINDING.get(self._next(), 0) >= least:
            sign = self._take()
            left = _wrapped(_OPERATIONS[sign](left, self._binary(_BINDING[sign] + 1)))
        return left

    def _unary(self) -> int:
        match self._take():
            case "-":
                return _wrapped(-self._unary())
            case "+":
                return self._unary()
            case "~":
                return ~self._unary()
            case "!":
                return int(not self._unary())
            case "(":
                value = self._assignment()
                if self._take() != ")":
                    raise CommandError("Unbalanced parenthesis.")
                return value
            case token:
                return self._operand(token)

    def _operand(self, token: str) -> int:
        if not re.fullmatch(r"\w+", token):
            raise CommandError("Missing operand.")
        if token[0].isdigit():
            return number(token)
        value = self._variables.get(token)
        return leading_number(value or "")


def number(text: str) -> int:
    """Return a number as cmd writes it: 010 is eight, 0x10 sixteen; CommandError if it is none."""
    found = re.fullmatch(r"([-+]?)(?:0x([0-9a-f]+)|(0[0-7]*)|([1-9]\d*))", text, re.IGNORECASE)
    if not found:
        raise CommandError(
            "Invalid number.  Numeric constants are either decimal (17), hexadecimal (0x11), or "
            "octal (021)."
        )
    sign, hexadecimal, octal, decimal = found.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    return _wrapped(-value if sign == "-" else value)


def leading_number(text: str) -> int:
    """Return the number that a variable's text begins with, 0 if there is none."""
    found = re.match(r"\s*([-+]?(?:0x[0-9a-f]+|0[0-7]*|[1-9]\d*))", text, re.IGNORECASE)
    return number(found[1]) if found else 0


def _wrapped(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31
