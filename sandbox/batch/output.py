"""What the interpreter itself says: straight to the descriptors, which redirections have moved."""

from __future__ import annotations

import os


def say(text: str, descriptor: int = 1) -> None:
    """Write a line to stdout."""
    write(f"{text}\n", descriptor)


def complain(text: str) -> None:
    """Write a line to stderr."""
    say(text, 2)


def write(text: str, descriptor: int = 1) -> None:
    """Write text, all of it."""
    write_bytes(text.encode("utf-8", "surrogateescape"), descriptor)


def write_bytes(data: bytes, descriptor: int = 1) -> None:
    """Write bytes, all of them."""
    while data:
        data = data[os.write(descriptor, data) :]
