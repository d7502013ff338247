"""All peers that answer HTTP, and the one way to have those that this machine can have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from findings import Findings

from peers import functions_framework, node_servers, python_servers, workerd
from peers.environment import UnavailableError
from peers.server import Peer, Program, Serving, StartError, serving

PEERS: tuple[Peer, ...] = (
    *functions_framework.PEERS,
    *python_servers.PEERS,
    *workerd.PEERS,
    *node_servers.PEERS,
)


def available(findings: Findings, names: tuple[str, ...] = ()) -> list[tuple[Peer, Program]]:
    """Return the peers that can be started, installed by now; the others are told and left out."""
    found: list[tuple[Peer, Program]] = []
    for peer in PEERS:
        if names and peer.name not in names:
            continue
        try:
            program = peer.program()
        except UnavailableError as reason:
            findings.miss(peer.name, peer.title, str(reason))
            continue
        findings.meet(peer.name, peer.title, program.versions)
        found.append((peer, program))
    return found


@contextmanager
def all_serving(findings: Findings, names: tuple[str, ...] = ()) -> Iterator[list[Serving]]:
    """Start all peers that can be had, side by side; they are ended together."""
    with ExitStack() as stack:
        running: list[Serving] = []
        for peer, program in available(findings, names):
            try:
                running.append(stack.enter_context(serving(peer.name, program, peer.path)))
            except StartError as error:
                findings.miss(peer.name, peer.title, str(error).splitlines()[-1])
        yield running
