"""functions-framework for Node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peers.environment import node_modules
from peers.server import Peer, Program

_APP = Path(__file__).parent / "apps" / "framework.js"
_PACKAGE = "@google-cloud/functions-framework"


def _program() -> Program:
    folder, versions = node_modules("functions-framework-node", _PACKAGE)
    source = folder / "app"
    source.mkdir(exist_ok=True)
    (source / "index.js").write_text(_APP.read_text())
    (source / "package.json").write_text('{"main": "index.js"}\n')
    programs = folder / "node_modules" / ".bin"

    def command(port: int) -> Sequence[str]:
        options = ["--target=hello", f"--source={source}", f"--port={port}"]
        return [str(programs / "functions-framework"), *options]

    return Program(command, versions)


PEERS = (Peer("ff-node", "functions-framework Node", _program),)
