"""Fixtures: a site that a module fills with jobs, and the one platform that it shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from real import apps
from real.platform import Platform

from conformance.client import Jobs

#: The name of every platform here: logs show its first six characters.
INSTANCE = "abcdef-conformance"


@dataclass
class Workshop:
    """A site and a home of one module, and the platforms that were started on them."""

    site: Path
    home: Path
    started: list[Platform] = field(default_factory=list)

    def triggered(self, name: str, script: str, code: str, **settings: object) -> Path:
        """Write a triggered job and return its folder."""
        return apps.job(self.site, "triggered", name, script, code, **settings)

    def continuous(self, name: str, script: str, code: str, **settings: object) -> Path:
        """Write a continuous job and return its folder."""
        return apps.job(self.site, "continuous", name, script, code, **settings)

    def open(self, *options: str, env: Mapping[str, str] | None = None) -> Jobs:
        """Start a platform; it is stopped when the module is done."""
        options = ("--instance", INSTANCE, *options)
        platform = Platform(self.site, self.home, options=options, env=env)
        self.started.append(platform)
        return Jobs(platform.start())

    def close(self) -> None:
        """Stop what still runs."""
        for platform in self.started:
            if platform.running:
                platform.stop()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """An empty site for a module. `workshop.open()` in the module's own fixture starts it."""
    base = tmp_path_factory.mktemp("conformance")
    (base / "site").mkdir()
    made = Workshop(base / "site", base / "home")
    yield made
    made.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workshop]:
    """An empty site for one test that needs a platform of its own."""
    (tmp_path / "site").mkdir()
    made = Workshop(tmp_path / "site", tmp_path / "home")
    yield made
    made.close()
