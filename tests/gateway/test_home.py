"""The home: its lock, and what it tells the commands on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gateway.home import Home, HomeLockedError

FACTS = {"instance": "vm", "data_url": "http://d", "management_url": "http://m"}


def test_it_makes_its_folders(tmp_path: Path) -> None:
    """All that the parts write into is there, however deep the home lies, and twice is fine."""
    for _ in range(2):
        with Home(tmp_path / "a" / "home") as home:
            for folder in ("data", "tmp", "releases", "site/jobs"):
                assert (home.path / folder).is_dir()
    assert home.secrets == tmp_path / "a/home/data/secrets"
    assert home.function_logs == tmp_path / "a/home/data/functions"


def test_a_second_owner_is_refused_by_name(tmp_path: Path) -> None:
    """The message names the first by pid, instance and address, and what to do; it stays owner."""
    with Home(tmp_path) as first:
        with pytest.raises(HomeLockedError, match="in use by another process; .*--home"):
            Home(tmp_path).__enter__()
        first.announce(FACTS)
        for _ in range(2):
            with pytest.raises(HomeLockedError) as refusal:
                Home(tmp_path).__enter__()
        told = f"in use by pid {os.getpid()} (instance vm, http://m); stop it"
        assert told in str(refusal.value)
        assert json.loads((tmp_path / "run.json").read_text())["pid"] == os.getpid()


def test_a_refused_owner_keeps_no_descriptor(tmp_path: Path) -> None:
    """However often it is tried."""
    with Home(tmp_path):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(HomeLockedError):
                Home(tmp_path).__enter__()
        assert len(os.listdir("/proc/self/fd")) == before


def test_it_can_be_had_again_after_its_owner(tmp_path: Path) -> None:
    """Also after one that ended by an exception."""
    with pytest.raises(KeyError), Home(tmp_path):
        raise KeyError
    with Home(tmp_path):
        pass


def test_the_facts_are_announced_and_taken_back(tmp_path: Path) -> None:
    """run.json holds them with the pid, last told wins, no half file beside it; leaving ends it."""
    with Home(tmp_path) as home:
        assert not (tmp_path / "run.json").exists()
        home.announce({**FACTS, "management_url": "http://a-much-longer-address-than-later"})
        home.announce(FACTS)
        assert json.loads((tmp_path / "run.json").read_text()) == {"pid": os.getpid(), **FACTS}
        assert (tmp_path / "taak.lock").read_text().endswith("(instance vm, http://m)\n")
        assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
            "run.json",
            "taak.lock",
        ]
    assert not (tmp_path / "run.json").exists()
    assert (tmp_path / "taak.lock").read_text() == ""


def test_what_a_killed_owner_left_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Until the new owner announces itself nobody is told the old one's pid or address."""
    (tmp_path / "taak.lock").write_text("pid 1 (instance old, http://old)\n")
    (tmp_path / "run.json").write_text("{}")
    with Home(tmp_path):
        assert not (tmp_path / "run.json").exists()
        with pytest.raises(HomeLockedError, match="another process"):
            Home(tmp_path).__enter__()


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    """Else a job that outlives the platform would keep the home."""
    with Home(tmp_path) as home:
        assert not os.get_inheritable(home._lock)
