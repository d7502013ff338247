"""The stage of a benchmark: a real platform on a temporary site, and the bare server beside it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from peers.server import Program, Serving, serving

_HERE = Path(__file__).resolve().parent
# The tests' helper starts, watches and ends a platform; a second one would only differ from it.
sys.path.insert(0, str(_HERE.parent / "tests"))

from real.apps import job, timer  # noqa: E402
from real.platform import KEY, ROOT, Platform, call, wait_until  # noqa: E402

__all__ = [
    "KEY", "ROOT", "Platform", "bare_program", "bare_server", "call", "function_key",
    "http_function", "job", "platform_on", "platform_program", "running", "timer", "wait_until",
    "workshop",
]  # fmt: skip

PLAIN = "def main(req):\n    return 'hello'\n"


@contextmanager
def workshop() -> Iterator[Path]:
    """Give a folder for a site and a home, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="taak-bench-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "site").mkdir()
        yield Path(folder)


@contextmanager
def platform_on(folder: Path, *options: str, timeout_s: float = 60.0) -> Iterator[Platform]:
    """Start the platform on `folder/site`, and stop it at the end."""
    platform = Platform(folder / "site", folder / "home", options=options)
    platform.start(timeout_s=timeout_s)
    try:
        yield platform
    finally:
        if platform.running:
            platform.stop()


def platform_program(folder: Path) -> Program:
    """Return how to start the platform on `folder/site`, as peers are started."""

    def command(port: int) -> list[str]:
        place = [str(folder / "site"), "--home", str(folder / "home")]
        ports = ["--port", str(port), "--management-port", "0"]
        return [sys.executable, "-m", "gateway", "run", *place, *ports]

    return Program(command, environment={"TAAK_MASTER_KEY": KEY}, folder=ROOT)


def bare_program() -> Program:
    """Return how to start the yardstick."""
    script = str(_HERE / "bare_server.py")
    return Program(lambda port: [sys.executable, script, str(port)])


#: Starts the yardstick, and ends it.
bare_server = partial(serving, "bare", bare_program())


def http_function(
    site: Path,
    name: str,
    code: str = PLAIN,
    *,
    level: str = "anonymous",
    limits: Mapping[str, object] | None = None,
) -> None:
    """Write an HTTP function; the code goes in last, so that it is deployed whole."""
    folder = site / name
    folder.mkdir(parents=True, exist_ok=True)
    trigger = {"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": level}
    answer = {"type": "http", "direction": "out", "name": "$return"}
    manifest: dict[str, object] = {"scriptFile": "__init__.py", "bindings": [trigger, answer]}
    if limits:
        manifest["taak"] = dict(limits)
    (folder / "function.json").write_text(json.dumps(manifest))
    (folder / "__init__.py").write_text(code)


def function_key(home: Path) -> dict[str, str]:
    """Return the header with the home's key for functions."""
    keys = json.loads((home / "data" / "secrets" / "host.json").read_text())
    return {"x-functions-key": keys["functionKeys"][0]["value"]}


def running(platform: Platform, name: str) -> Serving:
    """Return the platform as a server of one function, beside others."""
    return Serving("taak", f"{platform.data_url}/api/{name}", platform.pid, 0.0)
