"""Searching a log's segments: a program of its own, which `log_search.py` starts and may kill.

Python's `re` backtracks, and some patterns take for ever on some lines. Here only this process
hangs, and its time, its memory and what it prints have an end. It is run by its path in an isolated
interpreter, so it imports nothing of the platform.

Reads one JSON object on stdin; prints `[number, line]` for each match, `{"at": number}` when all
before that line was looked at, and at the end `{"next": number}` or `{"error": text}`.
"""

import json
import re
import resource
import sys
from typing import Any

_MEMORY = 1 << 30
_HEAD = re.compile(r"\[(\d\d)/(\d\d)/(\d{4}) (\d\d:\d\d:\d\d(?:\.\d{3})?) > [^\]:]*: ([^\]]*)\] ?")


def main() -> None:
    """Answer one question."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # killed or not
    asked = json.loads(sys.stdin.buffer.read())
    seconds = asked["cpu_s"]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    try:
        pattern = re.compile(asked["pattern"])
    except (re.error, RecursionError, OverflowError) as error:
        _say({"error": str(error)})
        return
    _say(_search(asked, pattern))


def _search(asked: dict[str, Any], pattern: re.Pattern[str]) -> dict[str, Any]:
    """Print the matches; return how far the search came."""
    backwards, left = asked["backwards"], asked["limit"]
    segments = asked["segments"]
    for path, first in reversed(segments) if backwards else segments:
        lines = _lines(path, first, asked)
        found = []
        for number, line in lines:
            if _matches(line, pattern, asked):
                found.append((number, line))
                if not backwards:
                    _say((number, line))
                    if len(found) == left:
                        return {"next": number + 1}
        if backwards:
            for match in found[::-1][:left]:
                _say(match)
        elif lines:
            _say({"at": lines[-1][0] + 1})
        left -= min(len(found), left)
        if not left:
            break
    return {"next": None}


def _lines(path: str, first: int, asked: dict[str, Any]) -> list[tuple[int, str]]:
    """Return the numbered lines of a segment that are asked for."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return []  # retention was faster
    if asked["literal"].encode() not in data:
        return []
    lines = data.decode("utf-8", "replace").split("\n")
    if not lines[-1]:
        lines.pop()
    numbered = ((first + at, line.removesuffix("\r")) for at, line in enumerate(lines))
    low, high = asked["from"], asked["to"]
    return [(number, line) for number, line in numbered if low <= number < high]


def _matches(line: str, pattern: re.Pattern[str], asked: dict[str, Any]) -> bool:
    head = _HEAD.match(line)
    if head is None:
        return not asked["stream"] and not asked["since"] and bool(pattern.search(line))
    month, day, year, time, level = head.groups()
    if asked["stream"] and asked["stream"] != _stream(level):
        return False
    # Texts of the same form compare as their times do; without milliseconds one is the earlier.
    if asked["since"] and f"{year}-{month}-{day} {time}" < asked["since"]:
        return False
    return bool(pattern.search(line[head.end() :]))  # so that ^ is where the text begins


def _stream(level: str) -> str:
    if level.startswith("SYS"):
        return "system"
    return "stderr" if level.startswith("ERR") else "stdout"


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


if __name__ == "__main__":
    main()
