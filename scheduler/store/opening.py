"""From a URL to a store. The one place that knows which adapters exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from scheduler.errors import BadRequestError
from scheduler.store.memory import MemoryStore
from scheduler.store.port import Store, Unavailable
from scheduler.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from scheduler.clock import Clock

_EXIST = "sqlite:///path/to/file.db (one machine, durable) or memory: (nothing survives)"


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """Return the store for a URL, not yet connected: `async with` it, or open and migrate it.

    sqlite:///relative/path, sqlite:////absolute/path, memory:
    """
    scheme, _, rest = url.partition(":")
    match scheme.lower():
        case "memory":
            return MemoryStore(clock=clock)
        case "sqlite":
            return SqliteStore(_path(url, rest), clock=clock)
        case "postgresql" | "postgres":
            raise Unavailable(f"store {url!r}: PostgreSQL is not there yet; there is {_EXIST}")
    raise BadRequestError(f"store {url!r}: unknown kind {scheme!r}; there is {_EXIST}")


def _path(url: str, rest: str) -> Path:
    if not rest.startswith("///") or len(rest) == len("///"):
        raise BadRequestError(
            f"store {url!r}: names no file; write sqlite:///relative/path or sqlite:////absolute/path"
        )
    return Path(unquote(rest[len("///") :]))
