"""Commands about time: date, time, timeout, ping as a pause, pause."""

from __future__ import annotations

import time

from .errors import RefusedError
from .output import say
from .shell import DONE, GOOD, Shell, Status
from .words import check_switch, split

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def date(shell: Shell, text: str) -> Status:
    """Show the date, as %DATE% has it."""
    _only_shows("date", text)
    say(shell.lookup("DATE") or "")
    return GOOD


def time_of_day(_shell: Shell, text: str) -> Status:
    """Show the time to the minute."""
    _only_shows("time", text)
    say(time.strftime("%I:%M %p"))
    return GOOD


def _only_shows(name: str, text: str) -> None:
    if [word.lower() for word in split(text)] != ["/t"]:
        raise RefusedError(f"`{name}` sets the clock, which a job cannot. Write {name} /t.")


def timeout(_shell: Shell, text: str) -> Status:
    """Wait so many seconds."""
    seconds = ""
    for word in split(text):
        if word.startswith("/"):
            check_switch("timeout", word[1:].lower(), {"t", "nobreak"})
        else:
            seconds = word
    if not seconds.isdigit():
        raise RefusedError("`timeout` needs a number of seconds, as in timeout /t 5 /nobreak.")
    say(f"Waiting for {seconds} seconds")
    time.sleep(int(seconds))
    return GOOD


def ping(_shell: Shell, text: str) -> Status:
    """Wait: one second between the echoes that a ping of the own machine would send."""
    words = split(text)
    count, pause_ms, host = 4, 1000, ""
    while words:
        word = words.pop(0)
        switch = word[1:].lower() if word[0] in "-/" else ""
        if not switch:
            host = word
            continue
        check_switch("ping", switch, {"n", "w", "4", "6"})
        if switch in {"n", "w"}:
            value = words.pop(0) if words else ""
            if not value.isdigit():
                raise RefusedError(f"`ping -{switch}` needs a number.")
            count = int(value) if switch == "n" else count
    if host.lower() not in _LOOPBACK:
        raise RefusedError(
            "`ping` is known as a pause only, as in ping -n 6 127.0.0.1. To ask another machine, "
            "write curl."
        )
    for index in range(count):
        time.sleep(pause_ms / 1000 if index else 0)
        say("Reply from 127.0.0.1: bytes=32 time<1ms TTL=64")
    return GOOD


def pause(_shell: Shell, _text: str) -> Status:
    """Go on at once: nobody is there to press a key."""
    say("Press any key to continue . . . ")
    return DONE
