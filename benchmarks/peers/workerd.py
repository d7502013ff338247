"""Cloudflare workerd: one hello module in one isolate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peers.environment import node_modules
from peers.server import Peer, Program

_CONFIG = (Path(__file__).parent / "apps" / "workerd.capnp").read_text()


def _program() -> Program:
    folder, versions = node_modules("workerd", "workerd")
    config = folder / "config"
    config.mkdir(exist_ok=True)

    def command(port: int) -> Sequence[str]:
        # The address stands in the configuration, so that each start writes its own.
        file = config / f"{port}.capnp"
        file.write_text(_CONFIG.replace("PORT", str(port)))
        return [str(folder / "node_modules" / ".bin" / "workerd"), "serve", str(file)]

    return Program(command, versions)


PEERS = (Peer("workerd", "workerd, hello module", _program),)
