"""What a template of a path matches: without case, with or without a slash at the end. Pure."""

from __future__ import annotations

import re

Pattern = re.Pattern[str]

_PLACEHOLDER = re.compile(r"\{(\w+)(\*|=\w+)?\}")


def template(path: str) -> Pattern:
    """Return the pattern; `{name}` is one segment, `{name*}` the rest, `{name=word}` a word."""
    parts: list[str] = []
    at = 0
    for found in _PLACEHOLDER.finditer(path):
        parts.append(re.escape(path[at : found.start()]))
        name, form = found.group(1), found.group(2) or ""
        what = ".*" if form == "*" else form[1:] or "[^/]+"
        parts.append(f"(?P<{name}>{what})")
        at = found.end()
    parts.append(re.escape(path[at:]))
    # A catch-all keeps its own last slash: it says "folder" there.
    tail = "" if path.endswith("*}") else "/?"
    return re.compile("".join(parts) + tail, re.IGNORECASE | re.DOTALL)
