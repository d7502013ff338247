"""JSON as people write it: comments, trailing commas, single quotes, unquoted keys, a BOM.

Reads what Newtonsoft's reader reads (functions.md 3), keeps the line of every value, and says of
bad text where it is wrong and what to do. Knows nothing of manifests.

One regular expression cuts the text into tokens; four short functions put them together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scheduler.functions import Problem

#: Deeper nesting is refused: it is never a manifest, and it would exhaust the stack.
MAX_DEPTH = 64
#: Longer numbers are refused: turning digits into an integer takes time that grows as a square.
MAX_DIGITS = 100

_TOKEN = re.compile(
    r"""
    (?P<space>  \s+ | //[^\n]* | /\*.*?\*/ )
  | (?P<mark>   [{}\[\]:,] )
  | (?P<text>   "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
  | (?P<number> [-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.$]) )
  | (?P<word>   [^\W\d][\w$]* | \$[\w$]* | \d[\w$]* )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\"}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "undefined": None}

Path = tuple[str | int, ...]


class LenientJsonError(ValueError):
    """The text is not JSON, however lenient. `problem` is what to show its author."""

    def __init__(self, problem: Problem, column: int) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.column = column


@dataclass(frozen=True, slots=True)
class Document:
    """A value and the line on which each of its parts begins."""

    value: Any
    where: str
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: str) -> int:
        """Return the line of `bindings[0].route`, or of the nearest part above it that exists."""
        steps = _steps(path)
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return self.lines.get(steps, 0)

    def problem(
        self, message: str, path: str = "", *, warning: bool = False, owner: str = ""
    ) -> Problem:
        """Return a problem that points at the part `path` of this document."""
        return Problem(self.where, message, self.line(path), path, warning, owner)


def parse(text: str, where: str) -> Document:
    """Read one JSON value, or raise LenientJsonError."""
    return _Parser(text.removeprefix("\ufeff"), where).document()


def _steps(path: str) -> Path:
    parts = re.findall(r"[^.\[\]]+|\[\d+\]", path)
    return tuple(int(part[1:-1]) if part.startswith("[") else part.casefold() for part in parts)


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._line_at = (0, 1)  # offset -> its line; only ever moved forward
        self._token = self._next()

    def document(self) -> Document:
        if self._token.kind == "end":
            raise self._error("the file is empty; write {} for an empty object")
        value = self._value(())
        if self._token.kind != "end":
            raise self._error(f"{_shown(self._token)} after the end of the JSON value; remove it")
        return Document(value, self._where, self._lines)

    def _value(self, path: Path) -> Any:
        if len(path) > MAX_DEPTH:
            raise self._error(f"values are nested deeper than {MAX_DEPTH} levels")
        token = self._token
        self._lines[path] = self._line(token.start)
        if token.text == "{":
            return self._object(path)
        if token.text == "[":
            return self._array(path)
        value = self._scalar(token)
        self._token = self._next()
        return value

    def _object(self, path: Path) -> dict[str, Any]:
        opened, members = self._token, dict[str, Any]()
        self._token = self._next()
        while self._token.text != "}":
            name = self._key(opened)
            if self._token.text != ":":
                raise self._error(f"':' is missing after the key {name!r}")
            self._token = self._next()
            members[name] = self._value((*path, name.casefold()))
            self._separator("}", opened)
        self._token = self._next()
        return members

    def _array(self, path: Path) -> list[Any]:
        opened, items = self._token, list[Any]()
        self._token = self._next()
        while self._token.text != "]":
            items.append(self._value((*path, len(items))))
            self._separator("]", opened)
        self._token = self._next()
        return items

    def _key(self, opened: _Token) -> str:
        token = self._token
        if token.kind == "end":
            raise self._open_error(opened, "}")
        if token.kind not in {"text", "word", "number"}:
            raise self._error(f"a key in quotes was expected, not {_shown(token)}")
        self._token = self._next()
        return self._unquoted(token) if token.kind == "text" else token.text

    def _separator(self, close: str, opened: _Token) -> None:
        """Take the comma after a member; the last one may be there or not."""
        if self._token.text == ",":
            self._token = self._next()
            return
        if self._token.kind == "end":
            raise self._open_error(opened, close)
        if self._token.text != close:
            raise self._error(f"',' or '{close}' is missing before {_shown(self._token)}")

    def _scalar(self, token: _Token) -> Any:
        if token.kind == "text":
            return self._unquoted(token)
        if token.kind == "number":
            return self._number(token)
        if token.kind == "word" and token.text in _WORDS:
            return _WORDS[token.text]
        if token.kind == "word":
            raise self._error(f"{token.text!r} is not a value; put text in double quotes")
        if token.kind == "end":
            raise self._error("the file ends where a value was expected")
        raise self._error(f"a value was expected, not {_shown(token)}")

    def _number(self, token: _Token) -> int | float:
        text = token.text
        if len(text) > MAX_DIGITS:
            raise self._error(f"a number of {len(text)} characters; at most {MAX_DIGITS} are read")
        if "x" in text.lower():
            return int(text, 16)
        try:
            return int(text)
        except ValueError:
            return float(text)

    def _unquoted(self, token: _Token) -> str:
        def plain(match: re.Match[str]) -> str:
            code = match[1]
            if len(code) == 5:  # "uXXXX"
                return chr(int(code[1:], 16))
            if code not in _SIMPLE and code not in "'\"":
                raise self._error(
                    f"\\{code} is no escape in JSON; write \\\\ for a backslash", token
                )
            return _SIMPLE.get(code, code)

        body = token.text[1:-1]
        if "\\" not in body:
            return body
        # Two escapes of one character beyond the BMP are joined; a lone half becomes U+FFFD.
        halves = _ESCAPE.sub(plain, body).encode("utf-16-le", "surrogatepass")
        return halves.decode("utf-16-le", "replace")

    def _next(self) -> _Token:
        while match := _TOKEN.match(self._text, self._at):
            start, self._at = self._at, match.end()
            kind = match.lastgroup or ""
            if kind != "space":
                return _Token(kind, match[0], start)
        if self._at == len(self._text):
            return _Token("end", "", self._at)
        raise self._character_error()

    def _character_error(self) -> LenientJsonError:
        found = _Token("bad", self._text[self._at], self._at)
        if found.text in "\"'":
            return self._error("this text has no closing quote", found)
        if self._text.startswith("/*", self._at):
            return self._error("this comment has no closing */", found)
        return self._error(f"{_shown(found)} does not belong here", found)

    def _open_error(self, opened: _Token, close: str) -> LenientJsonError:
        return self._error(f"the '{opened.text}' here is never closed; add '{close}'", opened)

    def _error(self, message: str, token: _Token | None = None) -> LenientJsonError:
        start = (token or self._token).start
        line = self._text.count("\n", 0, start) + 1
        column = start - self._text.rfind("\n", 0, start)
        problem = Problem(self._where, f"not valid JSON at column {column}: {message}", line)
        return LenientJsonError(problem, column)

    def _line(self, start: int) -> int:
        offset, line = self._line_at
        self._line_at = (start, line + self._text.count("\n", offset, start))
        return self._line_at[1]


def _shown(token: _Token) -> str:
    if token.kind == "end":
        return "the end of the file"
    return token.text if len(token.text) <= 40 else token.text[:37] + "..."
