"""The attacker: every escape that the harness knows, and what a sandbox must allow beside it.

Plain Python without third-party code. The harness puts this folder into a sandbox, as the package
of a program (`python -m f`) and as the folder of an HTTP function whose every call tries one. No
attack harms the host when it succeeds: it looks, or changes a thing to what it was.
"""

from __future__ import annotations

from . import (
    files,
    ipc,
    kernel,
    limits,
    memory,
    namespaces,
    network,
    privileges,
    processes,
    roots,
    uses,
)
from .facts import Facts, read_facts
from .registry import ALONE, ATTACKS, USES, attempt

__all__ = ["ALONE", "ATTACKS", "USES", "Facts", "attempt", "main", "read_facts"]

#: Their import registers what they hold.
FAMILIES = (files, roots, memory, processes, ipc, network, namespaces, privileges, kernel, limits)
FAMILIES_OF_USES = (uses,)


def main(req):  # type: ignore[no-untyped-def]  # an annotation would ask for the library's class
    """Try what the query names: the HTTP function's entry point."""
    return attempt(req.params["attempt"], read_facts())
