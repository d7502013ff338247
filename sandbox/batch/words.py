"""Words of a command: cmd's own arguments, the argv of a program, switches, quotes."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Sequence

from .errors import RefusedError

DELIMITERS = " \t,;=\x0b\x0c\xa0"
_NEEDS_QUOTES = re.compile(r"[\s,;=&|<>^()!%\"]")


def unquote(text: str) -> str:
    """Return a word without the quotes around it, as %~1 does."""
    return text.removeprefix('"').removesuffix('"') if text != '"' else ""


def quote(argument: str) -> str:
    """Return an argument as one word of a command line.

    Quotes inside are doubled: a backslash would protect them from the program only, and cmd would
    take what follows for a command.
    """
    if argument and not _NEEDS_QUOTES.search(argument):
        return argument
    slashes = len(argument) - len(argument.rstrip("\\"))
    inner = re.sub(r'(\\*)"', lambda m: m[1] * 2 + '""', argument)
    return f'"{inner}{slashes * chr(92)}"'


def split(text: str, delimiters: str = DELIMITERS) -> list[str]:
    """Return a command's arguments as %1, %2 ... are: quotes group, and stay."""
    words: list[str] = []
    word = ""
    quoted = False
    for character in text:
        if character == '"':
            quoted = not quoted
        if character in delimiters and not quoted:
            words += [word] if word else []
            word = ""
        else:
            word += character
    return [*words, word] if word else words


def split_argv(text: str) -> list[str]:
    """Return the argv that a program of Windows would make of its command line."""
    words: list[str] = []
    position = 0
    while position < len(text):
        if text[position] in " \t":
            position += 1
            continue
        word, position = _one_argument(text, position)
        words.append(word)
    return words


def _one_argument(text: str, position: int) -> tuple[str, int]:
    word = ""
    quoted = False
    while position < len(text) and (quoted or text[position] not in " \t"):
        slashes = re.compile(r"\\*").match(text, position)
        count = len(slashes[0]) if slashes else 0
        position += count
        if text[position : position + 1] != '"':
            word += "\\" * count
            if position < len(text) and (quoted or text[position] not in " \t"):
                word += text[position]
                position += 1
            continue
        word += "\\" * (count // 2)
        if count % 2:
            word += '"'
        elif quoted and text[position + 1 : position + 2] == '"':
            word += '"'
            position += 1
        else:
            quoted = not quoted
        position += 1
    return word, position


def take_switches(
    command: str, text: str, known: str, delimiters: str = DELIMITERS
) -> tuple[set[str], list[str]]:
    """Split arguments into switches, in lower case without the slash, and the rest.

    `known` lists the switches with blanks between. RefusedError for any other.
    """
    allowed = set(known.split())
    switches: set[str] = set()
    rest: list[str] = []
    for word in split(text, delimiters):
        if not word.startswith("/") or is_path(word, allowed):
            rest.append(word)
            continue
        for switch in filter(None, word.lower().split("/")):
            check_switch(command, switch, allowed)
            switches.add(switch)
    return switches, rest


def is_path(word: str, switches: Container[str]) -> bool:
    """Tell whether a word with a slash in front is a path of Linux, which %~dp0 and %CD% are."""
    parts = word[1:].lower().split("/")
    return not all(part in switches for part in parts) and (
        len(parts) > 1 or "\\" in word or os.path.exists(word)
    )


def check_switch(command: str, switch: str, allowed: Sequence[str] | set[str]) -> None:
    """Refuse a switch that is not known, with those that are."""
    if switch not in allowed:
        names = " ".join(f"/{name}" for name in sorted(allowed)) or "none"
        raise RefusedError(f"`{command} /{switch}` is not supported. Known switches: {names}.")
