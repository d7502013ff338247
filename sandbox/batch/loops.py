"""What a `for` goes through: words and files, numbers, trees, and the lines of `for /f`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .arithmetic import leading_number
from .errors import CommandError, RefusedError
from .paths import has_wildcard, matching
from .shell import Shell
from .source import decode
from .syntax import For
from .words import split, unquote

#: Runs a command and returns what it prints.
Capture = Callable[[str], str]

_OPTION = re.compile(r"(?:^|\s)(usebackq|eol=|skip=|tokens=|delims=)", re.IGNORECASE)
_TOKENS = re.compile(r"(?:\d+(?:-\d+)?(?:,|$|(?=\*)))*\*?")


def rounds(loop: For, shell: Shell, capture: Capture) -> Iterator[Mapping[str, str]]:
    """Yield the values of the loop's variables, one mapping a round."""
    items = shell.expand(loop.items)
    if loop.kind == "/f":
        yield from _parsed(loop.variable, shell.expand(loop.option), items, shell, capture)
        return
    if loop.kind != "/r" and loop.option:
        raise RefusedError(f"{loop.option} was unexpected at this time.")
    match loop.kind:
        case "/l":
            values = _numbers(items)
        case "/r":
            values = _tree(os.path.abspath(shell.native(shell.expand(loop.option))), items)
        case kind:
            values = _words(items, shell, folders=kind == "/d")
    for value in values:
        yield {loop.variable: value}


def _words(items: str, shell: Shell, *, folders: bool) -> Iterator[str]:
    for word in split(items, " \t,;=\n"):
        if not has_wildcard(word):
            yield word
            continue
        wanted = os.path.isdir if folders else os.path.isfile
        yield from filter(wanted, matching(shell.native(word)))


def _numbers(items: str) -> Iterator[str]:
    start, step, end = ([leading_number(word) for word in split(items)] + [0, 0, 0])[:3]
    if step == 0:
        raise RefusedError(f"`for /l ... in ({items})` never ends: its step is 0.")
    return map(str, range(start, end + (1 if step > 0 else -1), step))


def _tree(root: str, items: str) -> Iterator[str]:
    for folder, folders, _files in os.walk(root):
        folders.sort(key=str.upper)
        for word in split(items, " \t,;=\n"):
            if has_wildcard(word):
                found = matching(os.path.join(folder, unquote(word)))
                yield from filter(os.path.isfile, found)
            else:
                yield os.path.join(folder, unquote(word))


@dataclass(frozen=True, slots=True)
class _Reading:
    """The options of `for /f`."""

    end_of_line: str = ";"
    skip: int = 0
    delimiters: str = " \t"
    tokens: str = "1"
    back_quotes: bool = False

    def values(self, variable: str, line: str) -> dict[str, str] | None:
        """Return what the variables get from a line; None if it has nothing for them."""
        words = self._words(line)
        if not words or (self.end_of_line and line.startswith(self.end_of_line)):
            return None
        numbers, rest_from = self._numbers()
        taken = [words[n - 1][0] if n <= len(words) else "" for n in numbers]
        if rest_from is not None:
            taken.append(line[words[rest_from][1] :] if rest_from < len(words) else "")
        names = (chr(ord(variable) + index) for index in range(len(taken)))
        return dict(zip(names, taken, strict=True)) if any(taken) else None

    def _words(self, line: str) -> list[tuple[str, int]]:
        if not self.delimiters:
            return [(line, 0)] if line else []
        pattern = f"[^{re.escape(self.delimiters)}]+"
        return [(found[0], found.start()) for found in re.finditer(pattern, line)]

    def _numbers(self) -> tuple[list[int], int | None]:
        """Return the numbers of the wanted words, and how many stand before a `*`, if there is."""
        numbers: list[int] = []
        for part in self.tokens.removesuffix("*").rstrip(",").split(","):
            first, _, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1) if first else []
        return numbers, max(numbers, default=0) if self.tokens.endswith("*") else None


def _reading(option: str) -> _Reading:
    text = unquote(option)
    names = list(_OPTION.finditer(text))
    starts = [*(found.start() for found in names), len(text)]
    # Up to the next option, so that a blank may be the last of the delimiters.
    given = {
        found[1].lower(): text[found.end() : following]
        for found, following in zip(names, starts[1:], strict=True)
    }
    skip, tokens = given.get("skip=", "0").strip(), given.get("tokens=", "1").strip()
    if text[: starts[0]].strip() or not skip.isdigit() or not _TOKENS.fullmatch(tokens):
        raise RefusedError(
            f"`for /f {option}` is not supported. Known are eol= skip= delims= tokens= usebackq."
        )
    return _Reading(
        given.get("eol=", ";")[:1],
        int(skip),
        given.get("delims=", " \t"),
        tokens,
        "usebackq" in given,
    )


def _parsed(
    variable: str, option: str, items: str, shell: Shell, capture: Capture
) -> Iterator[Mapping[str, str]]:
    reading = _reading(option)
    for line in _lines(items.strip(), reading, shell, capture)[reading.skip :]:
        values = reading.values(variable, line)
        if values is not None:
            yield values


def _lines(items: str, reading: _Reading, shell: Shell, capture: Capture) -> list[str]:
    command, text = ("`", "'") if reading.back_quotes else ("'", '"')
    if len(items) > 1 and items[0] == items[-1] == command:
        return capture(items[1:-1]).splitlines()
    if len(items) > 1 and items[0] == items[-1] == text:
        return [items[1:-1]]
    lines: list[str] = []
    for word in split(items):
        try:
            with open(shell.native(word), "rb") as file:
                lines += decode(file.read()).splitlines()
        except OSError:
            raise CommandError(f"The system cannot find the file {unquote(word)}.") from None
    return lines
