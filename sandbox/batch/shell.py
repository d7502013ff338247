"""The state that commands change: variables, errorlevel, echo, the files that run, saved states."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from .errors import RefusedError
from .expansion import Parameters, expand_delayed, expand_loop, expand_percent
from .paths import Places
from .processes import Processes
from .source import Source, is_label, is_remark
from .variables import COMPUTED, Variables


class Status(NamedTuple):
    """How a command ended: `code` is what && and || look at, `level` the new ERRORLEVEL if any."""

    code: int
    level: int | None


DONE = Status(0, None)  # echo, cd ... leave an ERRORLEVEL as it is
GOOD = Status(0, 0)
FAILED = Status(1, 1)


@dataclass(frozen=True, slots=True)
class Saved:
    """What `setlocal` keeps for `endlocal`."""

    variables: Variables
    delayed: bool
    folder: str


@dataclass(slots=True)
class Frame:
    """A file or subroutine that runs; `position` is the next line."""

    source: Source
    parameters: Parameters
    position: int = 0
    saved: list[Saved] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the bare name of the file."""
        return os.path.basename(self.source.path)

    @property
    def is_cmd(self) -> bool:
        """Tell whether a `set` that works clears ERRORLEVEL: in .cmd it does, in .bat not."""
        return self.source.path.lower().endswith(".cmd")


@dataclass(slots=True)
class Shell:
    """One interpreter; a fork of it has a copy, as a pipe's sides have on Windows."""

    variables: Variables
    places: Places
    processes: Processes = field(default_factory=Processes)
    errorlevel: int = 0
    echo: bool = True
    delayed: bool = False
    frames: list[Frame] = field(default_factory=list)
    pushed: list[str] = field(default_factory=list)
    loop: Mapping[str, str] = field(default_factory=dict)
    line: int = 0
    is_piped: bool = False  # the right side of a pipe
    has_input: bool = False  # the command that runs reads from a pipe or a file

    @property
    def frame(self) -> Frame:
        """Return what runs."""
        return self.frames[-1]

    def lookup(self, name: str) -> str | None:
        """Return the value of a variable, or what Windows computes under that name."""
        value = self.variables.get(name)
        if value is not None:
            return value
        if name.upper() == "ERRORLEVEL":
            return str(self.errorlevel)
        computed = COMPUTED.get(name.upper())
        return computed() if computed else None

    def expand(self, text: str) -> str:
        """Replace the variables of loops, and !NAME! where that is on."""
        text = expand_loop(text, self.loop)
        return expand_delayed(text, self.lookup) if self.delayed else text

    def expand_again(self, text: str) -> str:
        """Replace percent signs once more, as `call` does."""
        return expand_percent(text, self.frame.parameters, self.lookup)

    def next_line(self) -> tuple[int, str] | None:
        """Return the next line of the running file with percent signs replaced; no labels."""
        frame = self.frame
        while frame.position < len(frame.source.lines):
            line = frame.source.lines[frame.position]
            frame.position += 1
            if is_label(line):
                continue
            try:
                text = line if is_remark(line) else self.expand_again(line)
            except RefusedError as error:
                error.line = frame.position
                raise
            return frame.position, text
        return None

    def native(self, word: str) -> str:
        """Return the path that a word means."""
        return self.places.native(word)

    def set_local(self, *, delayed: bool | None) -> None:
        """Keep the variables, the folder and the mode of expansion for `end_local`."""
        self.frame.saved.append(Saved(self.variables.copy(), self.delayed, os.getcwd()))
        self.delayed = self.delayed if delayed is None else delayed

    def end_local(self) -> None:
        """Bring back what the last `set_local` of this file kept; nothing without one."""
        if not self.frame.saved:
            return
        saved = self.frame.saved.pop()
        self.variables, self.delayed = saved.variables, saved.delayed
        with suppress(OSError):
            os.chdir(saved.folder)

    def leave(self) -> None:
        """End the running file, and every `setlocal` in it."""
        while self.frame.saved:
            self.end_local()
        self.frames.pop()
