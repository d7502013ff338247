"""Commands about variables and what is shown: echo, set, setlocal, path, ver."""

from __future__ import annotations

import platform
import socket

from .arithmetic import evaluate
from .errors import CommandError, RefusedError
from .output import say, write
from .shell import DONE, FAILED, GOOD, Shell, Status
from .words import DELIMITERS, split


def nothing(_shell: Shell, _text: str) -> Status:
    """`title`, `color`, `cls`, `verify`: about a window or a disk that is not there."""
    return DONE


def echo(shell: Shell, text: str) -> Status:
    """Show a text, or turn the showing of commands on or off."""
    word = text.strip().lower()
    if word in {"on", "off"} and text[:1] in DELIMITERS:
        shell.echo = word == "on"
    elif not text.strip() and text[:1] in {"", *DELIMITERS}:
        say(f"ECHO is {'on' if shell.echo else 'off'}.")
    else:
        say(text[1:])
    return DONE


def set_variable(shell: Shell, text: str) -> Status:
    """Show, set or remove a variable; /a computes, /p reads what is redirected."""
    text = text.lstrip(DELIMITERS)
    switch = text[:2].lower()
    if switch == "/a":
        evaluate(text[2:], shell.variables)
        return GOOD if shell.frame.is_cmd else DONE
    if switch == "/p":
        return _ask(shell, text[2:])
    if switch.startswith("/"):
        raise RefusedError(f"`set {switch}` is not supported. Known are /a and /p.")
    name, equals, value = _assignment(text)
    if not equals:
        return _show(shell, name.strip())
    if not name:
        raise RefusedError(f"`set {text}` has no name before the =.")
    shell.variables.set(name, value)
    return GOOD if shell.frame.is_cmd else DONE


def _assignment(text: str) -> tuple[str, str, str]:
    if text.startswith('"'):
        text = text[1:].rpartition('"')[0] if '"' in text[1:] else text[1:]
    return text.partition("=")


def _show(shell: Shell, prefix: str) -> Status:
    found = shell.variables.beginning_with(prefix)
    if not found and prefix:
        raise CommandError(f"Environment variable {prefix} not defined")
    for name, value in found:
        say(f"{name}={value}")
    return GOOD if shell.frame.is_cmd else DONE


def _ask(shell: Shell, text: str) -> Status:
    if not shell.has_input:
        raise RefusedError(
            "`set /p` asks for input, and a job has none. Write set NAME=value, use an app "
            "setting, or read a file: set /p NAME=<file."
        )
    name, _, question = _assignment(text.lstrip(DELIMITERS))
    write(question.replace('"', ""))
    line = bytearray()
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        while (character := stdin.read(1)) and character != b"\n":
            line += character
    if not line:
        return FAILED
    shell.variables.set(name, line.decode("utf-8", "surrogateescape").removesuffix("\r"))
    return GOOD


def set_local(shell: Shell, text: str) -> Status:
    """Begin a part of the file whose changes do not last."""
    delayed = None
    for word in split(text):
        match word.lower():
            case "enabledelayedexpansion":
                delayed = True
            case "disabledelayedexpansion":
                delayed = False
            case "enableextensions":
                pass
            case _:
                raise RefusedError(
                    f"`setlocal {word}` is not supported. Known are enableextensions, "
                    "enabledelayedexpansion and disabledelayedexpansion."
                )
    shell.set_local(delayed=delayed)
    return GOOD


def end_local(shell: Shell, _text: str) -> Status:
    """End that part."""
    shell.end_local()
    return DONE


def path(shell: Shell, text: str) -> Status:
    """Show or set PATH."""
    value = text.strip(" \t=")
    if value:
        shell.variables.set("PATH", value.removeprefix(";"))
    else:
        say(f"PATH={shell.lookup('PATH') or ''}")
    return DONE


def code_page(_shell: Shell, text: str) -> Status:
    """Text is UTF-8 whatever the code page."""
    number = "".join(split(text)) or "65001"
    if not number.isdigit():
        raise RefusedError(f"`chcp {number}`: write a number.")
    say(f"Active code page: {number}")
    return GOOD


def version(_shell: Shell, _text: str) -> Status:
    """Say what this is: neither cmd nor Windows."""
    say(f"\nTaak batch interpreter [{platform.system()} {platform.release()}]")
    return GOOD


def host_name(_shell: Shell, _text: str) -> Status:
    """Show the machine's name."""
    say(socket.gethostname())
    return GOOD
