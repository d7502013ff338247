"""What stands for something else in a line: %NAME%, %1, %~dp0, %%i of a loop, and !NAME!.

Percent signs are replaced before a line is parsed, so a value may bring quotes and operators with
it; the variables of loops and !NAME! are replaced when a command runs, and bring text only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .errors import RefusedError
from .words import unquote

Lookup = Callable[[str], str | None]

_PARAMETER = re.compile(r"%(\*|\d|~([fdpnxsz]*)(\d))", re.IGNORECASE)
_SUBSTRING = re.compile(r"~\s*([+-]?\d*)\s*(?:,\s*([+-]?\d*)\s*)?")
_LOOP = re.compile(r"%(~)?([A-Za-z]+)")


@dataclass(frozen=True, slots=True)
class Parameters:
    """%0 to %9 and %* of a file or subroutine; `script` is the absolute path of the file."""

    script: str
    words: tuple[str, ...]  # from %0 on
    everything: str  # %*

    def get(self, index: int) -> str:
        """Return %N as it was written."""
        return self.words[index] if index < len(self.words) else ""

    def shifted(self, start: int) -> Parameters:
        """Return the parameters after `shift /START`."""
        words = self.words[:start] + self.words[start + 1 :]
        return Parameters(self.script, words, self.everything)


def expand_percent(line: str, parameters: Parameters, lookup: Lookup) -> str:
    """Replace what stands between percent signs in a line of a file."""
    result = ""
    position = 0
    while (start := line.find("%", position)) >= 0:
        result += line[position:start]
        value, position = _percent(line, start, parameters, lookup)
        result += value
    return result + line[position:]


def _percent(line: str, start: int, parameters: Parameters, lookup: Lookup) -> tuple[str, int]:
    """Return what the percent sign at `start` stands for, and where the rest begins."""
    if line.startswith("%%", start):
        return "%", start + 2
    parameter = _PARAMETER.match(line, start)
    if parameter:
        return _parameter(parameter, parameters), parameter.end()
    if line.startswith("%~", start):
        raise RefusedError(
            f"`{line[start : start + 8]}` is not supported. Known are %~1 and the letters f d p n "
            "x s z before a digit, as in %~dp0."
        )
    return _named(line, start, "%", lookup)


def _named(line: str, start: int, mark: str, lookup: Lookup) -> tuple[str, int]:
    end = line.find(mark, start + 1)
    if end < 0:
        return "", start + 1  # a lone percent sign is dropped
    name, colon, change = line[start + 1 : end].partition(":")
    if not colon or not change:
        value = lookup(line[start + 1 : end])
        return value or "", end + 1
    value = lookup(name)
    if value is None:
        return "", start + 1 + len(name) + 1  # cmd goes on right behind the colon
    return changed(value, change), end + 1


def changed(value: str, change: str) -> str:
    """Return the part or the replacement that stands behind the colon: `~1,2` or `old=new`."""
    part = _SUBSTRING.fullmatch(change)
    if part:
        return _part(value, part[1], part[2])
    old, equals, new = change.partition("=")
    if not equals or not old or change.startswith("~"):
        raise RefusedError(f"`:{change}` is neither `:~start,length` nor `:old=new`.")
    if old.startswith("*"):
        found = re.search(re.escape(old[1:]), value, re.IGNORECASE)
        return new + value[found.end() :] if found else value
    return re.sub(re.escape(old), lambda _: new, value, flags=re.IGNORECASE)


def _part(value: str, first: str, length: str | None) -> str:
    start = int(first or 0)
    start = max(len(value) + start, 0) if start < 0 else start
    if not length:
        return value[start:]
    count = int(length)
    return value[start:count] if count < 0 else value[start : start + count]


def _parameter(found: re.Match[str], parameters: Parameters) -> str:
    if found[1] == "*":
        return parameters.everything
    if found[3] is None:
        return parameters.get(int(found[1]))
    index = int(found[3])
    path = parameters.script if index == 0 and found[2] else parameters.get(index)
    return modified(path, found[2])


def modified(text: str, letters: str) -> str:
    """Return a word without quotes, and what the letters of `%~fdpnxz` take of it as a path.

    Drive letters are gone: d is nothing, and p a whole path, so that %~dp0 is the script's folder.
    """
    text = unquote(text)
    chosen = set(letters.lower()) - {"s"}
    if not chosen or not text:
        return text
    path = os.path.abspath(text.replace("\\", "/"))
    folder, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    if chosen == {"z"}:
        return str(os.path.getsize(path)) if os.path.exists(path) else ""
    if "z" in chosen:
        raise RefusedError(f"`%~{letters}` is not supported: write z alone.")
    if "f" in chosen:
        return path
    parts = {"p": folder.rstrip("/") + "/", "n": stem, "x": extension}
    return "".join(part for letter, part in parts.items() if letter in chosen)


def expand_loop(text: str, values: Mapping[str, str]) -> str:
    """Replace the variables of the loops around a command; a letter without a loop stays."""
    if not values or "%" not in text:
        return text

    return _LOOP.sub(lambda found: _loop_value(found, values), text)


def _loop_value(found: re.Match[str], values: Mapping[str, str]) -> str:
    """Return the value of `%i`, or of `%~nxi` with as many letters as leave a variable."""
    letters = found[2]
    if not found[1]:
        return values[letters[0]] + letters[1:] if letters[0] in values else found[0]
    known = re.match("[fdpnxsz]*", letters, re.IGNORECASE)
    for count in range(known.end() if known else 0, -1, -1):
        name = letters[count : count + 1]
        if name in values:
            return modified(values[name], letters[:count]) + letters[count + 1 :]
    return found[0]


def expand_delayed(text: str, lookup: Lookup) -> str:
    """Replace !NAME!; carets protect only in a text with an exclamation mark, as in cmd."""
    if "!" not in text:
        return text
    result = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == "^":
            result += text[position + 1 : position + 2]
            position += 2
        elif character == "!":
            value, position = _named(text, position, "!", lookup)
            result += value
        else:
            result += character
            position += 1
    return result
