"""The WEBJOBS_* settings that the platform itself reads (webjobs.md 3.1), with their defaults.

They are read at the moment of use, so that a changed setting takes effect at the next use. A value
that cannot be read is the default, a negative time is zero: that is the contract, not leniency.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.app_settings import is_true, lookup
from scheduler.functions import Job
from scheduler.live_settings import laid_over

#: What Kudu reads as a number: .NET's Int32.
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_INT32 = 1 << 31


def own_setting(job: Job, name: str) -> Any:
    """Return what `"taak": {name: …}` of settings.job says, spelled with or without "_"."""
    ours = job.settings.get("taak")
    if not isinstance(ours, Mapping):
        return None
    wanted = _plain(name)
    return next((value for key, value in ours.items() if _plain(key) == wanted), None)


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Typed view of a job's app settings."""

    values: Mapping[str, str]

    @classmethod
    def of(cls, job: Job, defaults: Mapping[str, str]) -> JobSettings:
        """Return the job's settings; what it does not set comes from the platform's.

        What was set while the platform runs (`defaults` as LiveSettings) wins over both.
        """
        return cls({**defaults, **laid_over(job.environment, defaults)})

    @property
    def restart_time_s(self) -> int:
        """Wait after a continuous job's process has ended."""
        return self._seconds("WEBJOBS_RESTART_TIME", 60)

    @property
    def idle_timeout_s(self) -> int:
        """Silence after which a triggered run is looked at, and after as much again aborted."""
        return self._seconds("WEBJOBS_IDLE_TIMEOUT", 120)

    @property
    def history_size(self) -> int:
        """Runs kept of one triggered job."""
        size = self._number("WEBJOBS_HISTORY_SIZE", 50)
        return size if size > 0 else 50

    @property
    def stopped(self) -> bool:
        """Tell whether no job may run."""
        return self._flag("WEBJOBS_STOPPED")

    @property
    def schedule_disabled(self) -> bool:
        """Tell whether schedules are switched off; runs by hand still work."""
        return self._flag("WEBJOBS_DISABLE_SCHEDULE")

    @property
    def always_on_warning(self) -> bool:
        """Tell whether Kudu would warn that the site may be unloaded: exactly 0 says so."""
        return lookup(self.values, "WEBSITE_SCM_ALWAYS_ON_ENABLED") == "0"

    @property
    def logs_to_app(self) -> bool:
        """Tell whether a triggered run's output goes to the app log stream too."""
        return self._flag("WEBJOBS_LOG_TRIGGERED_JOBS_TO_APP_LOGS")

    @property
    def python(self) -> str:
        """Name or path of the interpreter for .py scripts; empty lets the platform choose."""
        return lookup(self.values, "TAAK_PYTHON") or ""

    def _flag(self, name: str) -> bool:
        return is_true(lookup(self.values, name))

    def _seconds(self, name: str, default: int) -> int:
        return max(0, self._number(name, default))

    def _number(self, name: str, default: int) -> int:
        text = (lookup(self.values, name) or "").strip()
        if not _INTEGER.fullmatch(text):
            return default
        number = int(text)
        return number if -_INT32 <= number < _INT32 else default
