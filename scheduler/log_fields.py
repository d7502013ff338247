"""The keys of "taak": {"logs": {...}}: read, checked, and told when wrong."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

from scheduler.log_limits import LogLimits
from scheduler.manifest_fields import Fields

#: Beyond these no machine goes.
_AT_MOST: Final = {
    "file_mib": 1 << 24,
    "run_mib": 1 << 24,
    "job_mib": 1 << 24,
    "total_mib": 1 << 30,
    "days": 100_000,
}
LOG_KEYS: Final = tuple(field.name for field in fields(LogLimits))


def read_log_limits(taak: Fields, default: LogLimits, *, whole_app: bool = False) -> LogLimits:
    """Return what the "logs" of a "taak" object set, over a default; what is wrong is noted."""
    logs = taak.inner("logs", loose=True)
    known = LOG_KEYS if whole_app else tuple(name for name in LOG_KEYS if name != "total_mib")
    logs.warn_unknown(known)
    return replace(default, **{name: _read(logs, name, default) for name in known})


def _read(logs: Fields, name: str, default: LogLimits) -> int:
    usual: int = getattr(default, name)
    most = _AT_MOST.get(name, 1 << 50)
    number = logs.whole(name, usual, at_least=1 if name.endswith("_mib") else 0)
    if number > most:
        logs.complain(f"must be at most {most}, not {number}", name)
        return usual
    return number
