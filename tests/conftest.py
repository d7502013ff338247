"""For all tests: what a run of the pure tier alone leaves out, and tools that are absent.

A test that is skipped because a tool is absent fails in CI, and is shown at the end.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Generator
from pathlib import Path

import pytest
from needs import is_ci, judge
from trials import Trials

#: A module that is of the second tier as a whole says so in one line.
_ALL_REAL = re.compile(r"^pytestmark = .*\bpytest\.mark\.real\b", re.MULTILINE)
#: A file system in memory: no pure test is about the disk.
_MEMORY = "/dev/shm"
_ABSENT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin the list of what could not be tested."""
    config.stash[_ABSENT] = []
    Trials.few = _is_pure(config)
    if Trials.few and os.access(_MEMORY, os.W_OK):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY)  # where tmp_path is


def _is_pure(config: pytest.Config) -> bool:
    """Tell whether the pure tier runs alone: it has five seconds."""
    return config.option.markexpr == "not real"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a module of which the pure tier has no test: that is half of its time."""
    if not _is_pure(config) or not collection_path.match("test_*.py"):
        return None
    return True if _ALL_REAL.search(collection_path.read_text()) else None


def pytest_collection(session: pytest.Session) -> None:
    """Collect tests without collecting garbage: there is none in syntax trees that are kept."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what was read out of every later look for garbage, and look less often."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look once for what was left open; pytest and the interpreter would do so six times."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip for want of a tool into a failure where that must not happen."""
    report = yield
    reason = judge(report, strict=is_ci())
    if reason:
        item.config.stash[_ABSENT].append(f"{item.nodeid}: {reason}")
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell at the end what was not tested, whatever pytest's own summary shows."""
    absent = config.stash[_ABSENT]
    if absent:
        terminalreporter.section("NOT TESTED: tools are absent on this machine", red=True)
        for line in absent:
            terminalreporter.line(line)
