"""What went wrong in user code, as text: one line, and the traceback without our own frames.

Owns the cutting of frames and the bounds of the text. Knows nothing of functions or of the channel.
"""

from __future__ import annotations

import importlib
import os
import traceback
from types import TracebackType

from . import hints

OWN_FOLDER = os.path.dirname(__file__) + os.sep
IMPORT_MACHINERY = ("<frozen importlib", os.path.dirname(importlib.__file__) + os.sep)
_roots: list[str] = []  # of the app whose code runs here, with the separator; empty before that
LINE_LIMIT = 2_000  # characters of the one line
TEXT_LIMIT = 64_000  # characters of the traceback; a reply frame must not burst over one message


def belongs_to(root: str) -> None:
    """Learn the app's root: a release's path means nothing to whoever wrote the code in it."""
    _roots[:] = [root.rstrip(os.sep) + os.sep]


def relative(text: str) -> str:
    """Return the text with the paths of the app's files as its author knows them."""
    for root in _roots:
        text = text.replace(root, "")
    return text


def place(error: BaseException) -> tuple[str, int]:
    """Return the app's own file and line that the error comes from; ("", 0) if there is none."""
    if isinstance(error, SyntaxError) and (name := _own_file(error.filename or "")):
        return name, error.lineno or 0
    found, frames = ("", 0), error.__traceback__
    while frames is not None:
        if name := _own_file(frames.tb_frame.f_code.co_filename):
            found = (name, frames.tb_lineno)
        frames = frames.tb_next
    return found


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
    text = "".join(lines).rstrip("\n")
    for root in _roots:
        text = text.replace(f'  File "{root}', '  File "')
    if told := hints.hint(error):
        text = f"{text}\n{told}"
    return _cut(text, TEXT_LIMIT)


def users_frames(frames: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame that is neither ours nor the import system's."""
    while frames is not None and _is_plumbing(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_plumbing(filename: str) -> bool:
    return filename.startswith((OWN_FOLDER, *IMPORT_MACHINERY))


def _own_file(filename: str) -> str:
    """Return the relative path of a file that the app's author wrote, else an empty text."""
    name = relative(filename)
    return "" if name == filename or "site-packages" in name.split(os.sep) else name


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # the boundary to user code: its exception prints itself
        return "<the exception's text could not be made>"


def _cut(text: str, limit: int) -> str:
    if len(text) > limit:
        text = (
            f"{text[: limit // 2]} … [{len(text) - limit} characters left out] … "
            f"{text[-limit // 2 :]}"
        )
    return text.encode("utf-8", "backslashreplace").decode()
