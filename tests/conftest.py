"""For all tests: a test that is skipped because a tool is absent fails in CI, and is shown here."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from needs import is_ci, judge

_ABSENT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin the list of what could not be tested."""
    config.stash[_ABSENT] = []


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
