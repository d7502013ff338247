"""Bare Python servers without a platform: granian (Rust, RSGI) and uvicorn (httptools, uvloop)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peers.environment import venv
from peers.server import Peer, Program

_APPS = Path(__file__).parent / "apps"
_PACKAGES = ("granian", "uvicorn", "httptools", "uvloop")


def _granian() -> Program:
    programs, versions = venv("python-servers", _PACKAGES)

    def command(port: int) -> Sequence[str]:
        place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--no-ws"]
        return [str(programs / "granian"), "--interface", "rsgi", *place, "plain:rsgi"]

    return Program(command, {"granian": versions["granian"]}, folder=_APPS)


def _uvicorn() -> Program:
    programs, versions = venv("python-servers", _PACKAGES)

    def command(port: int) -> Sequence[str]:
        place = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
        return [str(programs / "uvicorn"), *place, "plain:asgi"]

    shown = {name: versions[name] for name in ("uvicorn", "httptools", "uvloop")}
    return Program(command, shown, folder=_APPS)


PEERS = (
    Peer("granian-rsgi", "granian RSGI, no platform, function in the server's process", _granian),
    Peer("uvicorn", "uvicorn, no platform, function in the server's process", _uvicorn),
)
