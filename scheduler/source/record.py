"""What is kept of a delivery: who, when, what became of it, and its log, in files.

They lie where Kudu has them, below HOME/site/deployments, one folder each. The engine's own record
of the attempt, with the same id, is in the store. Blocks, but for a few small files only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from scheduler.source.folder_swap import write_document

#: Records that are kept; older ones go, with their logs.
KEPT_RECORDS = 100
_ID = re.compile(r"\d{20}")


class SourceKind(Enum):
    """Where a delivery came from."""

    GIT = "git"
    ZIP = "zip"
    ROLLBACK = "rollback"


class DeliveryStatus(Enum):
    """How far it came; the numbers are Kudu's."""

    PENDING = 0
    BUILDING = 1
    DEPLOYING = 2
    FAILED = 3
    SUCCESS = 4


#: status -> what may follow; the last two are ends.
FOLLOWING: dict[DeliveryStatus, frozenset[DeliveryStatus]] = {
    DeliveryStatus.PENDING: frozenset({DeliveryStatus.BUILDING, DeliveryStatus.FAILED}),
    DeliveryStatus.BUILDING: frozenset({DeliveryStatus.DEPLOYING, DeliveryStatus.FAILED}),
    DeliveryStatus.DEPLOYING: frozenset({DeliveryStatus.SUCCESS, DeliveryStatus.FAILED}),
    DeliveryStatus.FAILED: frozenset(),
    DeliveryStatus.SUCCESS: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """One delivery. Instants are aware UTC; `paths` are the files that it brought.

    Attributes:
        build_failed: it failed before it was checked.
        told: the reason of a failure, one line a problem.
    """

    id: str
    kind: SourceKind
    status: DeliveryStatus = DeliveryStatus.PENDING
    author: str = ""
    author_email: str = ""
    deployer: str = ""
    message: str = ""
    commit: str = ""
    received_at: datetime
    started_at: datetime
    ended_at: datetime | None = None
    build_failed: bool = False
    told: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Tell whether it has ended."""
        return not FOLLOWING[self.status]

    def step(self, status: DeliveryStatus, **changes: Any) -> DeliveryRecord:
        """Return the record one step further."""
        assert status in FOLLOWING[self.status], (self.status, status)
        return replace(self, status=status, **changes)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a delivery's log; `level` is 0 for words, 1 for a warning, 2 for an error."""

    at: datetime
    text: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose files in the site are: the delivery that brought them."""

    id: str = ""
    kind: str = ""
    paths: frozenset[str] = field(default_factory=frozenset)

    def document(self) -> dict[str, Any]:
        """Return the owner as JSON."""
        return {"id": self.id, "kind": self.kind, "paths": sorted(self.paths)}


class DeliveryRecords:
    """The records of one home, oldest first by their ids."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "site" / "deployments"
        self.owner_file = self.folder / "active.json"

    def write(self, record: DeliveryRecord) -> None:
        """Keep a record as it is now."""
        values = asdict(record)
        for name, value in values.items():
            if isinstance(value, Enum):
                values[name] = value.name.lower()
            elif isinstance(value, datetime):
                values[name] = value.isoformat()
        write_document(self._folder(record.id) / "deployment.json", values, durable=False)

    def read(self, record_id: str) -> DeliveryRecord | None:
        """Return a record; None if there is none that can be read."""
        if not _ID.fullmatch(record_id):
            return None
        document = _read_object(self._folder(record_id) / "deployment.json")
        known = {one.name for one in fields(DeliveryRecord)}
        values = {name: value for name, value in document.items() if name in known}
        try:
            for name in ("received_at", "started_at", "ended_at"):
                if values.get(name):
                    values[name] = datetime.fromisoformat(values[name])
            values["kind"] = SourceKind[values["kind"].upper()]
            values["status"] = DeliveryStatus[values["status"].upper()]
            values["told"] = tuple(values.get("told", ()))
            return DeliveryRecord(**values)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def ids(self) -> list[str]:
        """Return the ids, newest first."""
        with contextlib.suppress(OSError):
            return sorted(filter(_ID.fullmatch, os.listdir(self.folder)), reverse=True)
        return []

    def all(self) -> Iterator[DeliveryRecord]:
        """Yield the records, newest first."""
        yield from filter(None, map(self.read, self.ids()))

    def prune(self) -> None:
        """Forget the oldest."""
        for record_id in self.ids()[KEPT_RECORDS:]:
            self.forget(record_id)

    def forget(self, record_id: str) -> None:
        """Remove a record with its log."""
        shutil.rmtree(self._folder(record_id), ignore_errors=True)

    def owner(self) -> Owner:
        """Return whose the site's files are; nobody's before the first delivery."""
        return _owner(_read_object(self.owner_file))

    def keep_paths(self, owner: Owner) -> None:
        """Remember what a delivery brought, for a return to it."""
        write_document(self._folder(owner.id) / "manifest.json", owner.document(), durable=False)

    def paths_of(self, record_id: str) -> Owner | None:
        """Return what a delivery brought; None if it is not known any more."""
        document = _read_object(self._folder(record_id) / "manifest.json")
        return _owner(document) if document else None

    def log_file(self, record_id: str) -> Path:
        """Return where the log of a delivery is: one JSON object a line."""
        return self._folder(record_id) / "log.jsonl"

    def log(self, record_id: str) -> list[LogLine]:
        """Return the log of a delivery."""
        lines: list[LogLine] = []
        with contextlib.suppress(OSError):
            for text in self.log_file(record_id).read_text("utf-8", "replace").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    at, level, words = json.loads(text)
                    lines.append(LogLine(datetime.fromisoformat(at), words, level))
        return lines

    def _folder(self, record_id: str) -> Path:
        return self.folder / record_id


def _owner(document: dict[str, Any]) -> Owner:
    paths = document.get("paths")
    texts = [p for p in paths if isinstance(p, str)] if isinstance(paths, list) else []
    return Owner(str(document.get("id", "")), str(document.get("kind", "")), frozenset(texts))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
