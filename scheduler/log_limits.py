"""How much of a log is kept: the settings under "taak": {"logs": {...}}, and their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """How much is kept. The defaults stand here and nowhere else.

    Attributes:
        file_mib: of a run's output_log.txt, which is there for Kudu's tools beside our segments.
        run_mib: of one run of a triggered job: its first and its last half.
        job_mib: of one job, all its runs together.
        total_mib: of all jobs together; host.json only.
        lines: of one continuous job; 0 is no limit.
        days: since a segment was written last; 0 is no limit.
    """

    file_mib: int = 10
    run_mib: int = 64
    job_mib: int = 1024
    total_mib: int = 10_240
    lines: int = 0
    days: int = 30

    @property
    def file_bytes(self) -> int:
        """Return `file_mib` in bytes."""
        return self.file_mib * _MIB

    @property
    def run_bytes(self) -> int:
        """Return `run_mib` in bytes."""
        return self.run_mib * _MIB

    @property
    def job_bytes(self) -> int:
        """Return `job_mib` in bytes."""
        return self.job_mib * _MIB

    @property
    def total_bytes(self) -> int:
        """Return `total_mib` in bytes."""
        return self.total_mib * _MIB
