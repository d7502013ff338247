"""Commands that look for text in files and pipes: find and findstr."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import CommandError, RefusedError
from .output import complain, say
from .paths import has_wildcard, matching
from .shell import FAILED, GOOD, Shell, Status
from .source import decode
from .words import check_switch, is_path, split, take_switches, unquote

_FINDSTR = set("ivnrlbexm")


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked for, and what is shown of it."""

    patterns: tuple[re.Pattern[str], ...]
    inverted: bool = False
    counts: bool = False
    numbers: bool = False
    names_only: bool = False
    whole_line: bool = False

    def matches(self, line: str) -> bool:
        """Tell whether a line is one of those that are wanted."""
        look = "fullmatch" if self.whole_line else "search"
        return any(getattr(each, look)(line) for each in self.patterns) != self.inverted


def find(shell: Shell, text: str) -> Status:
    """Show the lines that hold a quoted text."""
    switches, words = take_switches("find", text, "v c n i")
    if not words or not words[0].startswith('"'):
        raise CommandError("FIND: Parameter format not correct")
    flags = re.IGNORECASE if "i" in switches else 0
    wanted = re.compile(re.escape(unquote(words[0]).replace('""', '"')), flags)
    search = _Search((wanted,), "v" in switches, "c" in switches, "n" in switches)
    found = 0
    for name, lines in _inputs(shell, words[1:]):
        hits = [(number, line) for number, line in enumerate(lines, 1) if search.matches(line)]
        found += len(hits)
        if name:
            say(f"\n---------- {name.upper()}" + (f": {len(hits)}" if search.counts else ""))
        elif search.counts:
            say(str(len(hits)))
        for number, line in [] if search.counts else hits:
            say(f"[{number}]{line}" if search.numbers else line)
    return GOOD if found else FAILED


def findstr(shell: Shell, text: str) -> Status:
    """Show the lines that hold one of some words, or a pattern."""
    switches: set[str] = set()
    strings: list[str] = []
    words: list[str] = []
    for word in split(text, " \t"):
        if word[:3].lower() == "/c:":
            strings.append(unquote(word[3:]))
        elif word.startswith("/") and not is_path(word, _FINDSTR):
            for switch in word[1:].lower().replace("/", ""):
                check_switch("findstr", switch, _FINDSTR)
                switches.add(switch)
        else:
            words.append(word)
    is_literal = "l" in switches or (bool(strings) and "r" not in switches)
    if not strings:
        if not words:
            raise CommandError("FINDSTR: Bad command line")
        strings = unquote(words.pop(0)).split()
    flags = re.IGNORECASE if "i" in switches else 0
    patterns = tuple(re.compile(_pattern(s, is_literal, switches), flags) for s in strings)
    search = _Search(
        patterns,
        inverted="v" in switches,
        numbers="n" in switches,
        names_only="m" in switches,
        whole_line="x" in switches,
    )
    many = len(words) > 1 or any(has_wildcard(word) for word in words)
    found = [_show(search, name, lines, many=many) for name, lines in _inputs(shell, words)]
    return GOOD if any(found) else FAILED


def _show(search: _Search, name: str, lines: list[str], *, many: bool) -> bool:
    hits = [(number, line) for number, line in enumerate(lines, 1) if search.matches(line)]
    if search.names_only and hits:
        say(name)
        return True
    for number, line in hits:
        say((f"{name}:" if many else "") + (f"{number}:" if search.numbers else "") + line)
    return bool(hits)


def _pattern(text: str, is_literal: bool, switches: set[str]) -> str:
    pattern = re.escape(text) if is_literal else _translated(text)
    begin = "^" if "b" in switches else ""
    return f"{begin}(?:{pattern})" + ("$" if "e" in switches else "")


def _translated(text: str) -> str:
    r"""Return a pattern of findstr, which knows . * ^ $ [class] \< \> and \x, in Python's words."""
    result = ""
    for piece in re.findall(r"\\.|\[\^?.[^\]]*\]|.", text):
        if piece in {"\\<", "\\>"}:
            result += r"\b"
        elif len(piece) == 2:
            result += re.escape(piece[1])
        elif len(piece) > 2 or piece in ".*^$":
            result += piece
        else:
            result += re.escape(piece)
    return result


def _inputs(shell: Shell, words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the lines of each file, or of the pipe under no name."""
    if not words:
        if not shell.has_input:
            raise RefusedError("There is nothing to search in. Name a file, or write TYPE FILE |.")
        with open(0, "rb", closefd=False) as stdin:
            yield "", decode(stdin.read()).splitlines()
    for word in words:
        path = shell.native(word)
        for each in matching(path) if has_wildcard(path) else [path]:
            try:
                with open(each, "rb") as file:
                    yield os.path.relpath(each), decode(file.read()).splitlines()
            except OSError:
                complain(f"File not found - {unquote(word)}")
