"""What the harness tells the attacker: where everything is that must be out of reach.

An attacker who had to guess names and numbers would prove little. The harness writes the facts
beside the code; both sides use this one class.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

_FILE = "facts.json"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One harness and its bait.

    Attributes:
        token: stands in every file, queue and reply of the bait: who has it was there.
        secret: name of the variable with which the platform's environment was started.
        pids: processes of the host by name, as the host numbers them.
        memory: address of the token in the platform's memory.
        files: paths of the host by name; `code` and `data` are the attacker's own.
        ports: of the host's listeners by name.
        abstract: name of an abstract socket of the host, without its leading zero.
        ipc_key: of a shared memory segment and of a message queue.
        mqueue: name of a POSIX message queue.
        handle: of the file `canary`, by which it can be opened without a path; in hex.
        terminal: path of a terminal of the host.
        namespaces: of the host, as /proc/PID/ns shows them.
        limits: what the sandbox was given; 0 or absent means that it has no such limit.
    """

    token: str
    secret: str
    pids: Mapping[str, int] = field(default_factory=dict)
    memory: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    abstract: str = ""
    ipc_key: int = 0
    mqueue: str = ""
    handle: str = ""
    handle_type: int = 0
    terminal: str = ""
    namespaces: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)

    def write(self, folder: str) -> None:
        """Put the facts beside the code."""
        with open(os.path.join(folder, _FILE), "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)


def read_facts() -> Facts:
    """Return the facts that lie beside this file."""
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, _FILE), encoding="utf-8") as file:
        return Facts(**json.load(file))
