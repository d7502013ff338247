"""git's pre-receive hook: a program of its own, started by git with what a push would change.

It hands the changes to the platform over a descriptor that it has inherited through git, so that
nobody else can speak there, and prints what comes back: git shows it to the pusher line by line.
The push is refused unless the platform says otherwise. The standard library only.
"""

from __future__ import annotations

import json
import os
import socket
import sys

#: Where the objects of the push are until it is accepted; git itself sets these.
_WHERE = (
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_SHALLOW_FILE",
)


def main() -> int:
    """Ask, print, and return the verdict."""
    number = os.environ.get("TAAK_PUSH_FD", "")
    if not number:
        print("Taak: push over HTTP to the platform's address; nothing else deploys.")
        return 1
    channel = socket.socket(fileno=int(number))
    where = {name: os.environ[name] for name in _WHERE if name in os.environ}
    channel.sendall(json.dumps({"changes": sys.stdin.read(), "where": where}).encode() + b"\n")
    with channel.makefile(encoding="utf-8", errors="replace") as answers:
        for line in answers:
            if line.startswith("="):
                return int(line[1:])
            print(line[1:], end="", flush=True)
    print("Taak: the platform has ended; the push is not accepted. Push again.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
