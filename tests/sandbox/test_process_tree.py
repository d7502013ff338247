"""Who belongs to a sandbox, and the processor time they used."""

import os
from pathlib import Path

import pytest
from proc_fakes import FakeProc

from sandbox import process_tree
from sandbox.process_tree import cpu_seconds, processes

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("lists_children", [True, False])
def test_everybody_below(tmp_path: Path, *, lists_children: bool) -> None:
    """All levels are found, strangers are not, with the kernel's list and without."""
    proc = FakeProc(tmp_path, lists_children=lists_children)
    proc.process(1)
    proc.process(10, 1)
    proc.process(11, 10)
    proc.process(12, 10)
    proc.process(13, 12)
    proc.process(99, 1)
    found = processes(10, proc=tmp_path)
    assert found[0] == 10
    assert sorted(found) == [10, 11, 12, 13]


def test_children_of_every_thread(tmp_path: Path) -> None:
    """A child that a second thread forked is a child as any other."""
    proc = FakeProc(tmp_path)
    proc.process(10, threads=(20,))
    proc.process(11, 10, by_thread=20)
    proc.process(12, 10)
    assert sorted(processes(10, proc=tmp_path)) == [10, 11, 12]


def test_who_is_gone_has_nobody(tmp_path: Path) -> None:
    """A process that ended is no error, and nobody is below it."""
    FakeProc(tmp_path)
    assert processes(10, proc=tmp_path) == [10]


def test_a_walk_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is visited twice, and a tree without end is left at a bound."""
    proc = FakeProc(tmp_path)
    proc.process(10)
    proc.process(11, 10)
    (tmp_path / "11/task/11/children").write_text("10 11 ")  # seen while parents changed
    assert processes(10, proc=tmp_path) == [10, 11]
    monkeypatch.setattr(process_tree, "_MOST", 50)
    monkeypatch.setattr(process_tree, "_children", lambda _proc, pid: [pid + 1])
    assert len(processes(10, proc=tmp_path)) == 51


def test_cpu_seconds(tmp_path: Path) -> None:
    """User and system time, of ended children too; who is gone adds nothing."""
    proc = FakeProc(tmp_path)
    proc.process(10, ticks=(TICKS, 0, 0, 0))
    proc.process(11, 10, ticks=(1 * TICKS, 2 * TICKS, 3 * TICKS, 4 * TICKS))
    assert cpu_seconds([10, 11, 12], proc=tmp_path) == 11.0


def test_cpu_seconds_of_ourselves() -> None:
    """The real format is read: it is what the kernel tells us about ourselves."""
    before = os.times()
    measured = cpu_seconds([os.getpid()])
    after = os.times()
    assert sum(before[:4]) - 0.03 <= measured <= sum(after[:4]) + 0.03
