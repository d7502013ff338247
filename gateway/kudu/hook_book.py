"""Subscriptions to events: the file HOME/site/deployments/hooks, as Kudu keeps it (webjobs.md 7).

The file may hold secrets, so it is its owner's alone. It must not know HTTP.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from scheduler.errors import BadRequestError, ConflictError

_log = logging.getLogger("taak.hooks")

MAX_HOOKS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One subscription, and how its last delivery ended.

    Attributes:
        secret: ours: signs what is sent; never shown.
    """

    id: str
    event: str
    url: str
    insecure_ssl: bool = False
    secret: str = ""
    last_status: str | None = None
    last_reason: str | None = None
    last_datetime: str | None = None
    last_context: str | None = None

    def shape(self) -> dict[str, Any]:
        """Return the hook as Kudu shows it."""
        names = (
            "id", "event", "url", "insecure_ssl",
            "last_status", "last_reason", "last_datetime", "last_context",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def stored(self) -> dict[str, Any]:
        """Return the hook as the file holds it."""
        return self.shape() | ({"secret": self.secret} if self.secret else {})


class HookBook:
    """All hooks of this home."""

    def __init__(self, path: Path) -> None:
        """Read the file; one that cannot be read counts as empty, is told, and is kept aside."""
        self._path = path
        self._hooks = {hook.id: hook for hook in _read(path)}

    def __iter__(self) -> Iterator[Hook]:
        return iter(tuple(self._hooks.values()))

    def get(self, hook_id: str) -> Hook | None:
        """Return a hook."""
        return self._hooks.get(hook_id)

    def add(self, wanted: Mapping[str, Any], now: datetime) -> Hook:
        """Subscribe; the same url and event is the hook that is there.

        Raises ConflictError (the url has another event), BadRequestError (too many).
        """
        for hook in self:
            if hook.url == wanted["url"]:
                if hook.event == wanted["event"]:
                    return hook
                raise ConflictError(
                    f"the hook {hook.id} sends {hook.event} to this url already; DELETE it first"
                )
        if len(self._hooks) >= MAX_HOOKS:
            raise BadRequestError(f"there are {MAX_HOOKS} hooks, which is the most; DELETE some")
        number = int(now.timestamp() * 1_000_000)
        while str(number) in self._hooks:
            number += 1
        hook = Hook(id=str(number), **wanted)
        self._put({**self._hooks, hook.id: hook})
        return hook

    def remove(self, hook_id: str) -> None:
        """Unsubscribe; one that is not there is no error."""
        if hook_id in self._hooks:
            self._put({key: hook for key, hook in self._hooks.items() if key != hook_id})

    def note(self, hook_id: str, **outcome: str) -> None:
        """Write down how a delivery ended; a disk that refuses costs the note only."""
        if hook_id not in self._hooks:
            return
        hook = replace(self._hooks[hook_id], **outcome)  # type: ignore[arg-type]
        try:
            self._put({**self._hooks, hook_id: hook})
        except OSError as error:
            _log.warning("the outcome of hook %s is not recorded: %s", hook_id, error)

    def _put(self, hooks: dict[str, Hook]) -> None:
        _write(self._path, [hook.stored() for hook in hooks.values()])
        self._hooks = hooks


def _read(path: Path) -> list[Hook]:
    try:
        entries = json.loads(path.read_text("utf-8"))
        known = Hook.__dataclass_fields__
        return [Hook(**{key: entry[key] for key in entry if key in known}) for entry in entries]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        aside = path.with_name(f"{path.name}.broken")
        _log.error("%s cannot be read (%s); it is kept as %s", path, error, aside.name)
        os.replace(path, aside)
        return []


def _write(path: Path, entries: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(entries, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
