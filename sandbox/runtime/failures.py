"""What went wrong in user code, as text: one line, and the traceback without our own frames.

Owns the cutting of frames and the bounds of the text. Knows nothing of functions or of the channel.
"""

from __future__ import annotations

import importlib
import os
import traceback
from types import TracebackType

OWN_FOLDER = os.path.dirname(__file__) + os.sep
IMPORT_MACHINERY = ("<frozen importlib", os.path.dirname(importlib.__file__) + os.sep)
LINE_LIMIT = 2_000  # characters of the one line
TEXT_LIMIT = 64_000  # characters of the traceback; a reply frame must not burst over one message


def error_line(error: BaseException) -> str:
    """Return `ValueError: boom` on one line, whatever the exception's own `__str__` does."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    return _cut(f"{name}: {_message(error)}".replace("\n", " ").strip(" :"), LINE_LIMIT)


def traceback_text(error: BaseException) -> str:
    """Return the traceback as Python prints it, beginning at the user's first frame."""
    try:
        lines = traceback.format_exception(type(error), error, users_frames(error.__traceback__))
    except BaseException as second:  # an exception that cannot be printed is still reported
        return f"{error_line(error)}\n(no traceback: {error_line(second)})"
    return _cut("".join(lines).rstrip("\n"), TEXT_LIMIT)


def users_frames(frames: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame that is neither ours nor the import system's."""
    while frames is not None and _is_plumbing(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_plumbing(filename: str) -> bool:
    return filename.startswith((OWN_FOLDER, *IMPORT_MACHINERY))


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return "<the exception's text could not be made>"


def _cut(text: str, limit: int) -> str:
    if len(text) > limit:
        text = (
            f"{text[: limit // 2]} … [{len(text) - limit} characters left out] … "
            f"{text[-limit // 2 :]}"
        )
    return text.encode("utf-8", "backslashreplace").decode()
