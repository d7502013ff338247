"""The stage of a benchmark: a real platform on a temporary site, and the bare server beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE = Path(__file__).resolve().parent
# The tests' helper starts, watches and ends a platform; a second one would only differ from it.
sys.path.insert(0, str(_HERE.parent / "tests"))

from real.platform import Platform, wait_until  # noqa: E402

__all__ = ["Platform", "bare_server", "http_function", "platform_on", "wait_until", "workshop"]


@contextmanager
def workshop() -> Iterator[Path]:
    """Give a folder for a site and a home, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="taak-bench-") as folder:
        (Path(folder) / "site").mkdir()
        yield Path(folder)


@contextmanager
def platform_on(folder: Path, *, timeout_s: float = 60.0) -> Iterator[Platform]:
    """Start the platform on `folder/site`, and stop it at the end."""
    platform = Platform(folder / "site", folder / "home").start(timeout_s=timeout_s)
    try:
        yield platform
    finally:
        if platform.running:
            platform.stop()


@contextmanager
def bare_server() -> Iterator[tuple[str, int]]:
    """Start the yardstick; gives its URL and pid."""
    command = [sys.executable, str(_HERE / "bare_server.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            assert process.stdin is not None
            process.stdin.close()


def http_function(site: Path, name: str, code: str, **more: object) -> None:
    """Write an anonymous HTTP function; the code goes in last, so that it is deployed whole."""
    folder = site / name
    folder.mkdir(parents=True, exist_ok=True)
    trigger = {"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous"}
    answer = {"type": "http", "direction": "out", "name": "$return"}
    manifest = {"scriptFile": "__init__.py", "bindings": [trigger, answer], **more}
    (folder / "function.json").write_text(json.dumps(manifest))
    (folder / "__init__.py").write_text(code)
