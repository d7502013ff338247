"""What every continuous job of this instance runs with: one value, made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from scheduler.clock import Clock
from scheduler.continuous_state import ContinuousStatus
from scheduler.functions import Job
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.job_program import JobPrograms, Launcher
from scheduler.store.port import Store


@dataclass(frozen=True, kw_only=True)
class JobPlace:
    """What every continuous job runs with; `retry_s` is the wait after a failure of ours."""

    launcher: Launcher
    store: Store
    folders: JobFolders
    programs: JobPrograms
    logs: JobLogs
    instance: str
    clock: Clock
    settings: Mapping[str, str]
    retry_s: float = 60.0
    on_status: list[Callable[[Job, ContinuousStatus], None]] = field(default_factory=list)
