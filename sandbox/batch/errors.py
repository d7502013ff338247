"""How a batch file is refused, and how control leaves the line that is being run."""

from __future__ import annotations


class RefusedError(Exception):
    """The file says what cannot be done here; the message tells what, and what to write instead.

    Raised wherever that is found; the interpreter adds the place, says it, and ends the job.
    """

    line: int = 0
    place: str = ""


class CommandError(Exception):
    """A command failed as it fails on Windows: its words go to stderr, and the file goes on."""


class Jump(Exception):  # noqa: N818  a way out, no error
    """`goto`: go on at a label of the running file."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.label = label


class Return(Exception):  # noqa: N818  a way out, no error
    """`exit /b`, `goto :eof`: the running file or subroutine is over."""


class Quit(Exception):  # noqa: N818  a way out, no error
    """`exit`: the interpreter is over, with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
