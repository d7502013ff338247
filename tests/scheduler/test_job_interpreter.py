"""How a script is started: runtimes with a heap of their own get one that fits the sandbox."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from job_fakes import make_job

from scheduler.isolation import Isolation
from scheduler.job_interpreter import start_command


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Give a search path with programs that only exist."""
    for name in ("node", "java", "bash"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    return str(tmp_path)


def started(tmp_path: Path, path: str, script: str, memory_mib: int):
    """Return the command of a job with a memory limit."""
    job = make_job(tmp_path)
    bundle = replace(job.bundle, isolation=Isolation(memory_mib=memory_mib))
    job = replace(job, bundle=bundle, script=script)
    return start_command(job, Path("/work") / script, (), settings={}, path=path)


def test_the_heap_of_node_fits_the_sandbox(tmp_path: Path, path: str) -> None:
    """By its environment, over which the job's own wins."""
    made = started(tmp_path, path, "run.js", 1024)
    assert made.environment["NODE_OPTIONS"] == "--max-old-space-size=768"
    assert made.argv == (f"{path}/node", "run.js")


def test_the_heap_of_the_jvm_fits_the_sandbox(tmp_path: Path, path: str) -> None:
    """By the memory that it takes for the machine's: what the job says of its heap still counts."""
    made = started(tmp_path, path, "run.jar", 1024)
    assert made.argv == (f"{path}/java", "-XX:MaxRAM=1024m", "-jar", "run.jar")


@pytest.mark.parametrize(("script", "memory_mib"), [("run.js", 0), ("run.jar", 0), ("run.sh", 64)])
def test_nothing_is_said_without_a_limit_or_a_heap(
    tmp_path: Path, path: str, script: str, memory_mib: int
) -> None:
    """The runtimes' own defaults are theirs."""
    made = started(tmp_path, path, script, memory_mib)
    assert "NODE_OPTIONS" not in made.environment
    assert not [word for word in made.argv if "MaxRAM" in word]
