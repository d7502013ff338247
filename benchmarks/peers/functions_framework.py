"""functions-framework for Python: its default server (gunicorn, threads) and its --asgi mode."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from peers.environment import venv
from peers.server import Peer, Program

_APPS = Path(__file__).parent / "apps"
# uvloop and httptools are not asked for by it, but taken when they are there: it is at its best so.
_PACKAGES = (
    "functions-framework", "gunicorn", "uvicorn", "uvicorn-worker", "uvloop", "httptools",
)  # fmt: skip


def _program(target: str, *options: str) -> Program:
    programs, versions = venv("functions-framework", _PACKAGES)

    def command(port: int) -> list[str]:
        source = ["--target", target, "--source", str(_APPS / "framework.py")]
        place = ["--host", "127.0.0.1", "--port", str(port)]
        return [str(programs / "functions-framework"), *source, *place, *options]

    return Program(command, versions)


PEERS = (
    Peer("ff-gunicorn", "functions-framework Python, gunicorn", partial(_program, "hello")),
    Peer(
        "ff-asgi",
        "functions-framework Python, --asgi",
        partial(_program, "hello_async", "--asgi"),
    ),
)
