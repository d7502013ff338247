"""Commands that change what runs next: call, goto, exit, shift, cmd, start; and other programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from . import programs
from .arithmetic import number
from .errors import CommandError, Jump, Quit, RefusedError, Return
from .expansion import Parameters
from .output import complain
from .shell import DONE, Frame, Shell, Status
from .words import DELIMITERS, split, split_argv, unquote

_NOT_FOUND = 9009


class Runner(Protocol):
    """The interpreter, as far as these commands need it."""

    def run(self, frame: Frame) -> None:
        """Run a subroutine."""

    def run_file(self, path: str, name: str, text: str) -> None:
        """Run another batch file."""

    def run_text(self, command: str) -> int:
        """Run the text of a command."""

    def named(self, name: str, rest: str) -> Status:
        """Run a command by its name."""

    def fork(self, work: Callable[[], int]) -> int:
        """Run work in a copy of the interpreter."""

    def join(self, pids: list[int]) -> int:
        """Wait for copies."""


class Control:
    """These commands, bound to one interpreter."""

    def __init__(self, shell: Shell, runner: Runner) -> None:
        self._shell = shell
        self._runner = runner
        self._commands: dict[str, Callable[[str], Status]] = {
            "call": self._call,
            "cmd": self._cmd,
            "exit": self._exit,
            "goto": self._goto,
            "shift": self._shift,
            "start": self._start,
        }

    def command(self, name: str) -> Callable[[str], Status] | None:
        """Return the command of a name in lower case, if it is one of these."""
        return self._commands.get(name)

    def program(self, name: str, rest: str, *, returns: bool = False) -> Status:
        """Run a program, or another batch file, which only `call` comes back from."""
        program = programs.find(name, self._shell)
        if program is None:
            complain(
                f"'{unquote(name)}' is not recognized as an internal or external command,\n"
                "operable program or batch file." + programs.hint(name)
            )
            return Status(_NOT_FOUND, _NOT_FOUND)
        if program.note:
            complain(f"{self._shell.frame.name}:{self._shell.line}: {program.note}")
        if program.batch:
            return self._batch(program.batch, name, rest, returns=returns)
        places = self._shell.places
        argv = [*program.argv, *(places.argument(each) for each in split_argv(rest))]
        code = self._shell.processes.run(argv, self._shell.variables.exported(places))
        return Status(code, code)

    def _batch(self, path: str, name: str, rest: str, *, returns: bool) -> Status:
        self._runner.run_file(path, name, rest)
        if not returns:
            raise Return
        return Status(self._shell.errorlevel, None)

    def _call(self, rest: str) -> Status:
        text = self._shell.expand_again(rest).strip(DELIMITERS)
        words = split(text)
        if not words:
            return DONE
        name, arguments = words[0], text[len(words[0]) :]
        if name.startswith(":"):
            return self._subroutine(name, arguments)
        if name.lower() in {"if", "for"}:
            raise RefusedError(f"`call {name}` does not exist in cmd. Write {name} without call.")
        program = programs.find(name, self._shell) if "." in name or "\\" in name else None
        if program is None and name.lower() not in self._commands:
            program = self._plain_batch(name)
        if program is not None and program.batch:
            return self._batch(program.batch, name, arguments, returns=True)
        return self._runner.named(name, arguments)

    def _plain_batch(self, name: str) -> programs.Program | None:
        """Return the batch file of a name without extension; a command of ours comes first."""
        try:
            return programs.find(name, self._shell)
        except CommandError:
            return None

    def _subroutine(self, name: str, arguments: str) -> Status:
        frame = self._shell.frame
        if name.lower() == ":eof":
            return DONE
        position = frame.source.find_label(name[1:], frame.position)
        if position is None:
            raise CommandError(f"The system cannot find the batch label specified - {name[1:]}")
        parameters = Parameters(
            frame.parameters.script, (name, *split(arguments)), arguments.strip()
        )
        self._runner.run(Frame(frame.source, parameters, position))
        return Status(self._shell.errorlevel, None)

    def _goto(self, rest: str) -> Status:
        words = split(rest.split(":", 2)[1] if rest.strip().startswith(":") else rest)
        label = words[0] if words else ""
        if rest.strip().lower().startswith(":eof"):
            raise Return
        raise Jump(label.removeprefix(":"))

    def _exit(self, rest: str) -> Status:
        words = split(rest)
        leaves_file = bool(words) and words[0].lower() == "/b"
        code = words[int(leaves_file) :]
        level = self._shell.errorlevel
        if code:
            try:
                level = number(code[0])
            except CommandError:
                raise RefusedError(f"`exit {rest.strip()}`: write a number.") from None
        if not leaves_file:
            raise Quit(level)
        self._shell.errorlevel = level
        raise Return

    def _shift(self, rest: str) -> Status:
        words = split(rest)
        start = words[0].removeprefix("/") if words else "0"
        if not start.isdigit():
            raise RefusedError(f"`shift {rest.strip()}` is not supported. Write shift or shift /1.")
        frame = self._shell.frame
        frame.parameters = frame.parameters.shifted(int(start))
        return DONE

    def _cmd(self, rest: str) -> Status:
        text = rest.strip()
        while text[:2].lower() in {"/q", "/d", "/s", "/e", "/v"} and "/c" in text.lower()[2:]:
            text = text.split(None, 1)[1]
        if text[:2].lower() != "/c":
            raise RefusedError("`cmd` without /c waits for input. Write cmd /c COMMAND.")
        command = text[2:].strip()
        if command.startswith('"') and command.endswith('"'):
            # The outer quotes go unless they hold one program's name.
            is_name = command.count('"') == 2 and os.path.exists(self._shell.native(command))
            command = command if is_name else command[1:-1]

        def work() -> int:
            code = self._runner.run_text(command)
            return self._shell.errorlevel or code

        code = self._runner.join([self._runner.fork(work)])
        return Status(code, code)

    def _start(self, rest: str) -> Status:
        text = rest.strip()
        if text.startswith('"'):
            text = text.partition('"')[2].partition('"')[2].strip()  # the title of a window
        waits = False
        while text.startswith("/") and "/" not in text[1:].split(maxsplit=1)[0]:
            switch, _, text = text.partition(" ")
            text = text.strip()
            if switch.lower() not in {"/b", "/wait", "/w", "/min", "/max"}:
                raise RefusedError(f"`start {switch}` is not supported. Known are /b and /wait.")
            waits |= switch.lower() in {"/wait", "/w"}
        if not waits:
            raise RefusedError(
                "`start` without /wait leaves a program behind that would end with the job. Write "
                "start /wait, or the program alone."
            )
        words = split(text)
        if not words:
            raise RefusedError("`start` needs a program.")
        return self.program(words[0], text[len(words[0]) :], returns=True)
