"""Who may do what: the keys in force, looked up fast and compared in constant time.

Owns the folder HOME/data/secrets and the portal's one-time tokens. It must not know HTTP; the
listeners ask `allows` (function routes) and `scope` (management).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import Enum, IntEnum
from pathlib import Path

from gateway.key_file import (
    HOST_FILE,
    HostKeys,
    KeyFileError,
    StoredKey,
    new_host_keys,
    new_key,
    read_function_keys,
    read_host_keys,
    write_json,
)
from gateway.sessions import Sessions
from scheduler.errors import BadRequestError

__all__ = ["KeyFileError", "KeyStore", "Level", "Scope"]

log = logging.getLogger("taak.keys")

#: Edits of the files are seen within this time; a look-up costs no more than a clock read.
RECHECK_S = 2.0
_HOST = ""  # owner of the keys that hold for every function; no function has an empty name


class Level(IntEnum):
    """What a presented key opens on the data listener, in rising order."""

    NONE = 0
    FUNCTION = 1
    SYSTEM = 2
    ADMIN = 3


class Scope(Enum):
    """What a presented key opens on the management listener."""

    READ = "read"
    OPERATE = "operate"
    DEBUG = "debug"  # and all that operate opens
    ALL = "all"


_Grant = tuple[bytes, Level, str, Scope | None]  # value, level, owner, management scope
_Signature = tuple[tuple[str, int, int], ...]


class KeyStore:
    """The keys of one home."""

    def __init__(
        self,
        folder: Path,
        *,
        master: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load the folder, making it and its keys when there are none.

        Args:
            folder: HOME/data/secrets.
            master: TAAK_MASTER_KEY; it replaces the master key of the file.
            clock: seconds that only grow.

        Raises:
            KeyFileError: a file is there but cannot be used. Never replaced by a new key: that
                would lock out every client without a word.
        """
        self.sessions = Sessions(clock)
        self._folder = folder
        self._fixed_master = master or None
        self._clock = clock
        self._host = new_host_keys()
        self._functions: dict[str, tuple[StoredKey, ...]] = {}
        self._grants: dict[bytes, list[_Grant]] = {}
        self._version = 0
        self._prepare_folder()
        self._load()
        self._signature = self._sign()
        self._checked = clock()

    @property
    def master(self) -> str:
        """Return the master key in force."""
        return self._fixed_master or self._host.master.value

    @property
    def version(self) -> int:
        """Return a number that changes when a key may have: what was allowed must be asked anew."""
        self._recheck()
        return self._version

    @property
    def source(self) -> str:
        """Say in words where the master key comes from."""
        if self._fixed_master:
            return "the platform's environment variable TAAK_MASTER_KEY"
        # Not the absolute path: strangers read this, and where homes lie is not their business.
        return f"HOME/data/secrets/{HOST_FILE} (masterKey.value)"

    def allows(self, function: str, presented: str) -> Level:
        """Return what the presented key opens for the named function."""
        if not presented:
            return Level.NONE
        owner = function.lower()
        levels = [grant[1] for grant in self._matches(presented) if grant[2] in (_HOST, owner)]
        return max(levels, default=Level.NONE)

    def scope(self, presented: str) -> Scope | None:
        """Return what the presented key opens in management; None is nothing."""
        scopes = [grant[3] for grant in self._matches(presented) if grant[3]] if presented else []
        return max(scopes, key=list(Scope).index, default=None)

    def issue_token(self) -> str:
        """Return a one-time token for the portal link."""
        return self.sessions.issue_token()

    def host_keys(self) -> HostKeys:
        """Return the keys of host.json, as stored."""
        self._recheck()
        return self._host

    def function_keys(self, function: str) -> tuple[StoredKey, ...]:
        """Return the keys of one function; the first question makes its default key."""
        self._recheck()
        if function.lower() not in self._functions:
            self.put_function_keys(function, (new_key("default"),))
        return self._functions[function.lower()]

    def put_function_keys(self, function: str, keys: tuple[StoredKey, ...]) -> None:
        """Replace the keys of one function."""
        path = self._folder / f"{_file_stem(function)}.json"
        write_json(path, {"keys": [key.wire() for key in keys]})
        self._reload()

    def put_host_keys(self, keys: HostKeys) -> None:
        """Replace the keys of host.json."""
        write_json(self._folder / HOST_FILE, keys.wire())
        self._reload()

    def _matches(self, presented: str) -> Iterator[_Grant]:
        self._recheck()
        value = presented.encode("utf-8", "surrogateescape")
        # The digest finds the place without telling by its time how much of a key was right;
        # compare_digest then settles it.
        for grant in self._grants.get(hashlib.sha256(value).digest(), ()):
            if hmac.compare_digest(grant[0], value):
                yield grant

    def _recheck(self) -> None:
        now = self._clock()
        if now - self._checked < RECHECK_S:
            return
        self._checked = now
        signature = self._sign()
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._load()
        except KeyFileError as error:
            log.error("key file refused, the keys read before stay in force: %s", error)  # noqa: TRY400

    def _reload(self) -> None:
        self._load()
        self._signature = self._sign()

    def _prepare_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        if not (self._folder / HOST_FILE).exists():
            write_json(self._folder / HOST_FILE, self._host.wire())
            log.info("new keys written to %s", self._folder / HOST_FILE)
        for path in self._folder.glob("*.json"):
            if path.stat().st_mode & 0o077:
                log.warning("%s was readable by others; its mode is 0600 now", path)
                path.chmod(0o600)

    def _load(self) -> None:
        host = read_host_keys(self._folder / HOST_FILE)
        functions = {
            path.stem.lower(): read_function_keys(path)
            for path in sorted(self._folder.glob("*.json"))
            if path.name != HOST_FILE
        }
        if self._fixed_master:
            host = replace(host, master=replace(host.master, value=self._fixed_master))
        self._host, self._functions = host, functions
        self._grants = _grants(host, functions)
        self._version += 1

    def _sign(self) -> _Signature:
        """Return what tells that a file changed, without reading one."""
        try:
            with os.scandir(self._folder) as entries:
                files = [(e.name, e.stat()) for e in entries if e.name.endswith(".json")]
        except OSError:
            return ()
        return tuple(sorted((name, facts.st_mtime_ns, facts.st_size) for name, facts in files))


def _grants(
    host: HostKeys, functions: Mapping[str, tuple[StoredKey, ...]]
) -> dict[bytes, list[_Grant]]:
    table: dict[bytes, list[_Grant]] = {}

    def add(key: StoredKey, level: Level, owner: str, scope: Scope | None = None) -> None:
        value = key.value.encode()
        table.setdefault(hashlib.sha256(value).digest(), []).append((value, level, owner, scope))

    add(host.master, Level.ADMIN, _HOST, Scope.ALL)
    for key in host.system_keys:
        add(key, Level.SYSTEM, _HOST, _scope(key))
    for key in host.function_keys:
        add(key, Level.FUNCTION, _HOST)
    for owner, keys in functions.items():
        for key in keys:
            add(key, Level.FUNCTION, owner)
    return table


def _scope(key: StoredKey) -> Scope | None:
    """Return a system key's scope. Without one it opens extensions only, as upstream."""
    # "all" is the master key's alone: a file edit must not make a second one by accident.
    scopes = {scope.value: scope for scope in (Scope.READ, Scope.OPERATE, Scope.DEBUG)}
    if key.scope and key.scope not in scopes:
        log.warning(
            "system key %r has the unknown scope %r and opens nothing in management;"
            " known: read, operate, debug",
            key.name,
            key.scope,
        )
    return scopes.get(key.scope)


def _file_stem(function: str) -> str:
    """Return the file name of a function's keys; names come from requests, so no separators."""
    if not function or "/" in function or function.startswith(".") or "\0" in function:
        raise BadRequestError(f"{function!r} is not a function name")
    if f"{function.lower()}.json" == HOST_FILE:
        raise BadRequestError("a function named 'host' can have no keys: host.json is the host's")
    return function.lower()
