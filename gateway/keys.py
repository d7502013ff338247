"""Who may do what: the keys in force, looked up fast and compared in constant time.

Owns the folder HOME/data/secrets and the portal's one-time tokens. It must not know HTTP; the
listeners ask `allows` (function routes) and `rights` (management).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import IntEnum
from pathlib import Path

from gateway.key_file import (
    HOST_FILE,
    SCOPED_FILE,
    HostKeys,
    KeyFileError,
    ScopedKey,
    StoredKey,
    new_host_keys,
    new_key,
    new_value,
    read_function_keys,
    read_host_keys,
    read_scoped_keys,
    write_json,
)
from gateway.scopes import EVERYTHING, GRANTABLE, JOB_FORM, Rights, Scope, check_grant
from gateway.sessions import Sessions
from scheduler.errors import BadRequestError, ConflictError, NotFoundError

__all__ = ["KeyFileError", "KeyStore", "Level"]

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


_NOTHING = Rights()
_Grant = tuple[bytes, Level, str, Rights]  # digest, level, owner, what it opens in management
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
        self._scoped: tuple[ScopedKey, ...] = ()
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

    def rights(self, presented: str) -> Rights | None:
        """Return what the presented key opens in management; None is nothing."""
        found = [grant[3] for grant in self._matches(presented)] if presented else []
        scopes = frozenset[Scope]().union(*(rights.scopes for rights in found))
        jobs = frozenset[str]().union(*(rights.jobs for rights in found))
        return Rights(scopes, jobs) if scopes or jobs else None

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

    # --- Keys of management

    def scoped_keys(self) -> tuple[ScopedKey, ...]:
        """Return the keys of management, without their values: nobody has those."""
        self._recheck()
        return self._scoped

    def create_scoped_key(self, name: str, scopes: Sequence[str], now: datetime) -> str:
        """Make a key and return its value, which is shown this once.

        Raises BadRequestError (name or scopes), ConflictError (the name is taken).
        """
        check_grant(name, scopes)
        if any(key.name.casefold() == name.casefold() for key in self.scoped_keys()):
            raise ConflictError(f"there is a key named {name!r} already; revoke it first")
        value = new_value()
        digest = hashlib.sha256(value.encode()).hexdigest()
        made = ScopedKey(name, tuple(dict.fromkeys(scopes)), digest, now.isoformat())
        self._put_scoped((*self._scoped, made))
        return value

    def revoke_scoped_key(self, name: str) -> None:
        """Take a key back; it opens nothing from now on. NotFoundError if there is none."""
        kept = [key for key in self.scoped_keys() if key.name.casefold() != name.casefold()]
        if len(kept) == len(self._scoped):
            raise NotFoundError(f"there is no key named {name!r}", hint="list them: GET /v1/keys")
        self._put_scoped(tuple(kept))

    def _put_scoped(self, keys: tuple[ScopedKey, ...]) -> None:
        write_json(self._folder / SCOPED_FILE, {"keys": [key.wire() for key in keys]})
        self._reload()

    def _matches(self, presented: str) -> Iterator[_Grant]:
        self._recheck()
        # The digest finds the place without telling by its time how much of a key was right;
        # compare_digest then settles it.
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        for grant in self._grants.get(digest, ()):
            if hmac.compare_digest(grant[0], digest):
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
            if path.name not in {HOST_FILE, SCOPED_FILE}
        }
        scoped = read_scoped_keys(self._folder / SCOPED_FILE)
        if self._fixed_master:
            host = replace(host, master=replace(host.master, value=self._fixed_master))
        self._host, self._functions, self._scoped = host, functions, scoped
        self._grants = _grants(host, functions, scoped)
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
    host: HostKeys,
    functions: Mapping[str, tuple[StoredKey, ...]],
    scoped: Iterable[ScopedKey],
) -> dict[bytes, list[_Grant]]:
    table: dict[bytes, list[_Grant]] = {}

    def add(value: str | bytes, level: Level, owner: str, rights: Rights = _NOTHING) -> None:
        digest = value if isinstance(value, bytes) else hashlib.sha256(value.encode()).digest()
        table.setdefault(digest, []).append((digest, level, owner, rights))

    add(host.master.value, Level.ADMIN, _HOST, EVERYTHING)
    for key in host.system_keys:
        add(key.value, Level.SYSTEM, _HOST, _rights(key.name, key.scope.split()))
    for key in host.function_keys:
        add(key.value, Level.FUNCTION, _HOST)
    for owner, keys in functions.items():
        for key in keys:
            add(key.value, Level.FUNCTION, owner)
    for made in scoped:
        rights = _rights(made.name, made.scopes)
        level = Level.FUNCTION if Scope.INVOKE in rights.scopes else Level.NONE
        add(_digest(made), level, _HOST, rights)
    return table


def _rights(name: str, words: Sequence[str]) -> Rights:
    """Return what a key of a file opens in management; a system key without a scope opens nothing.

    "all" is the master key's alone: a file edit must not make a second one by accident.
    """
    try:
        return Rights.of(words)
    except ValueError as error:
        log.warning(
            "the key %r has the unknown scope %r and opens nothing in management; known: %s, %s",
            name, str(error), ", ".join(GRANTABLE), JOB_FORM,
        )  # fmt: skip
        return _NOTHING


def _digest(key: ScopedKey) -> bytes:
    try:
        return bytes.fromhex(key.digest)
    except ValueError:
        return b""  # no value has it


def _file_stem(function: str) -> str:
    """Return the file name of a function's keys; names come from requests, so no separators."""
    if not function or "/" in function or function.startswith(".") or "\0" in function:
        raise BadRequestError(f"{function!r} is not a function name")
    if f"{function.lower()}.json" in {HOST_FILE, SCOPED_FILE}:
        raise BadRequestError(
            f"a function named {function!r} can have no keys: the file of that name is the host's"
        )
    return function.lower()
