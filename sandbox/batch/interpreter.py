"""Running nodes: files and subroutines, pipes, loops, jumps, and commands by their names."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from .command_table import COMMANDS, REFUSED, command_name, split_name
from .conditions import holds
from .control import Control
from .errors import CommandError, Jump, Quit, RefusedError, Return
from .expansion import Parameters
from .loops import rounds
from .output import complain, say
from .parser import parse
from .processes import REFUSED as REFUSED_SIGNAL
from .processes import end_by
from .redirection import redirected
from .shell import DONE, FAILED, Frame, Shell, Status
from .source import Source
from .syntax import (
    Block,
    Chain,
    For,
    If,
    Node,
    Pipe,
    Quiet,
    Redirect,
    Remark,
    Simple,
    is_quiet,
    show,
)
from .words import split

_REFUSAL = 255  # cmd's own code for a file that it cannot understand
#: Deep enough for any real file, and refused in words before the stack is at its end.
_NESTING = 200


class Interpreter:
    """Runs what the parser has made of a file."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._control = Control(shell, self)

    def start(self, script: str, words: list[str]) -> int:
        """Run a file to its end and return the ERRORLEVEL it ends with."""

        def work() -> int:
            path = os.path.abspath(script)
            self.run_file(path, script, " ".join(words))
            return self._shell.errorlevel

        try:
            return self._guarded(work)
        except RefusedError as error:
            self._tell(error)
            return _REFUSAL
        except CommandError as error:
            return self._failed(error).code

    def _guarded(self, work: Callable[[], int]) -> int:
        """Return what work returns, or what it quits with."""
        try:
            return work()
        except Quit as quit_:
            return quit_.code
        except (Jump, Return):
            return self._shell.errorlevel

    def _tell(self, error: RefusedError) -> None:
        frames = self._shell.frames
        place = error.place or (
            f"{frames[-1].name}:{error.line or self._shell.line}" if frames else ""
        )
        complain(f"{place}: {error}" if place else str(error))

    def run_file(self, path: str, name: str, text: str) -> None:
        """Run another file in this interpreter, up to its end."""
        try:
            source = Source.read(path)
        except OSError as error:
            raise CommandError(f"{name}: {error.strerror}.") from None
        except RefusedError as error:
            error.place = os.path.basename(path)
            raise
        self.run(Frame(source, Parameters(path, (name, *split(text)), text.strip())))

    def run(self, frame: Frame) -> None:
        """Run a file or subroutine from its position on."""
        shell = self._shell
        if len(shell.frames) >= _NESTING:
            raise RefusedError(f"More than {_NESTING} calls are inside of each other.")
        shell.frames.append(frame)
        loop, shell.loop = shell.loop, {}
        try:
            while (node := parse(shell.next_line)) is not None:
                try:
                    self._show(node)
                    self._execute(node)
                except Jump as jump:
                    self._land(frame, jump.label)
        except Return:
            pass
        except RefusedError as error:
            error.place = error.place or f"{frame.name}:{error.line or shell.line}"
            raise
        finally:
            shell.loop = loop
            shell.leave()

    def _land(self, frame: Frame, label: str) -> None:
        position = frame.source.find_label(label, frame.position)
        if position is None:
            complain(f"The system cannot find the batch label specified - {label}")
            self._shell.errorlevel = 1
            raise Return
        frame.position = position

    def _show(self, node: Node) -> None:
        if self._shell.echo and not is_quiet(node):
            say(f"\n{os.getcwd()}>{show(node, self._shown)}")

    def _shown(self, text: str) -> str:
        return self._shell.expand(text) if self._shell.loop else text

    def _execute(self, node: Node) -> int:
        """Run a node and return the code that && and || look at."""
        match node:
            case Simple():
                return self._simple(node)
            case Remark():
                return 0
            case Quiet(body=body):
                return self._execute(body)
            case Block():
                return self._block(node)
            case Chain(operator=operator, left=left, right=right):
                code = self._execute(left)
                if operator == "&" or (code == 0) == (operator == "&&"):
                    return self._execute(right)
                return code
            case Pipe():
                return self._pipe(node)
            case If(condition=condition, then=then, otherwise=otherwise, line=line):
                self._shell.line = line
                branch = then if holds(condition, self._shell) else otherwise
                return self._execute(branch) if branch else 0
            case For():
                return self._for(node)

    def _block(self, node: Block) -> int:
        code = 0
        try:
            with redirected(self._targets(node.redirects), self._shell.places):
                for each in node.body:
                    code = self._execute(each)
        except CommandError as error:
            return self._note(self._failed(error))
        return code

    def _for(self, node: For) -> int:
        shell = self._shell
        shell.line = node.line
        outer = shell.loop
        code = 0
        try:
            for values in rounds(node, shell, self._capture):
                shell.loop = {**outer, **values}
                self._show(node.body)
                code = self._execute(node.body)
                shell.loop = outer
        except CommandError as error:
            return self._note(self._failed(error))
        finally:
            shell.loop = outer
        return code

    def _pipe(self, node: Pipe) -> int:
        reading, writing = os.pipe()

        def side(child: Node, mine: int, descriptor: int) -> Callable[[], int]:
            def work() -> int:
                os.dup2(mine, descriptor)
                os.close(reading)
                os.close(writing)
                self._shell.is_piped |= descriptor == 0
                return self._execute(child)

            return work

        pids = [self.fork(side(node.left, writing, 1)), self.fork(side(node.right, reading, 0))]
        os.close(reading)
        os.close(writing)
        code = self.join(pids)
        return self._note(Status(code, code))

    def fork(self, work: Callable[[], int]) -> int:
        """Run work in a copy of the interpreter; return its pid."""

        def guarded() -> int:
            try:
                return self._guarded(work)
            except RefusedError as error:
                self._tell(error)
                end_by(REFUSED_SIGNAL)

        return self._shell.processes.fork(guarded)

    def join(self, pids: list[int]) -> int:
        """Return the code of the last of some forks; end if one has refused the file."""
        code = self._shell.processes.wait(pids)
        if self._shell.processes.was_refused(code):
            raise Quit(_REFUSAL)  # it has said why
        return code

    def _capture(self, command: str) -> str:
        reading, writing = os.pipe()

        def work() -> int:
            os.dup2(writing, 1)
            os.close(reading)
            os.close(writing)
            return self.run_text(command)

        pid = self.fork(work)
        os.close(writing)
        with open(reading, "rb") as file:
            data = file.read()
        self.join([pid])
        return data.decode("utf-8", "surrogateescape")

    def run_text(self, command: str) -> int:
        """Run a command that stands inside of another one; in a fork only."""
        lines = iter([(self._shell.line, command)])
        node = parse(lambda: next(lines, None))
        return self._execute(node) if node else 0

    def _simple(self, node: Simple) -> int:
        shell = self._shell
        shell.line = node.line
        shell.has_input = shell.is_piped or any(each.descriptor == 0 for each in node.redirects)
        text = shell.expand(node.text).lstrip(" \t,;=")
        try:
            with redirected(self._targets(node.redirects), shell.places):
                return self._note(self._command(text))
        except CommandError as error:
            return self._note(self._failed(error))

    def _targets(self, redirects: tuple[Redirect, ...]) -> list[Redirect]:
        return [replace(each, target=self._shell.expand(each.target)) for each in redirects]

    def _note(self, status: Status) -> int:
        if status.level is not None:
            self._shell.errorlevel = status.level
        return status.code

    @staticmethod
    def _failed(error: CommandError) -> Status:
        complain(str(error))
        return FAILED

    def _command(self, text: str) -> Status:
        """Run a command whose descriptors stand."""
        name, rest = split_name(text)
        if not name:
            return DONE
        try:
            return self.named(name, rest)
        except CommandError as error:
            return self._failed(error)
        except OSError as error:
            complain(f"{name}: {error.strerror or error}")
            return FAILED

    def named(self, name: str, rest: str) -> Status:
        """Run a command by its name; CommandError, OSError, RefusedError if it cannot be."""
        key = command_name(name)
        own = self._control.command(key)
        if own is not None:
            return own(rest)
        if key in COMMANDS:
            return COMMANDS[key](self._shell, rest)
        if key in REFUSED:
            raise RefusedError(f"`{name}` is not supported. {REFUSED[key]}")
        return self._control.program(name, rest)
