"""Fixtures with real platforms: one on an empty site, and a maker for any other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from real.apps import Notebook
from real.batch_folder import Folder
from real.platform import ROOT, Platform

StartPlatform = Callable[..., Platform]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An empty app folder; write files into it before or while the platform runs."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def start_platform(site: Path, tmp_path: Path) -> Iterator[StartPlatform]:
    """`start_platform(*options, env={...})` starts one on the site; all are stopped at the end."""
    started: list[Platform] = []

    def start(*options: str, env: Mapping[str, str] | None = None) -> Platform:
        home = tmp_path / (f"home{len(started)}" if started else "home")
        platform = Platform(site, home, options=options, env=env)
        started.append(platform)
        return platform.start()

    yield start
    for platform in started:
        if platform.running:
            platform.stop()


@pytest.fixture
def platform(start_platform: StartPlatform) -> Platform:
    """A platform on the site as it is when the test starts (empty unless a fixture filled it)."""
    return start_platform()


@pytest.fixture
def samples(site: Path) -> Path:
    """The site, filled with the sample app."""
    shutil.copytree(ROOT / "functions", site, dirs_exist_ok=True)
    return site


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    """An empty notebook, open for the length of a test."""
    with Notebook() as open_one:
        yield open_one


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """An empty batch job; what a failed test leaves running is ended."""
    made = Folder(tmp_path)
    yield made
    made.end_all()
