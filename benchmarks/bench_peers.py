"""Warm dispatch side by side with other platforms and servers, all up at once, visited in turn.

Everybody gets the same requests, the function key of ours included. Memory is read after the load.
"""

from __future__ import annotations

from cpu import descendants
from figure import Figure
from findings import Findings
from load import Target
from memory import pss
from peers.catalogue import all_serving
from peers.server import Serving
from scene import bare_server, function_key, http_function, platform_on, running, workshop
from subject import Subject, cell_figures, over, visit_all

_MIB = 1 << 20
_OUT_OF_REACH = {
    "of-watchdog": (
        "OpenFaaS of-watchdog",
        "no package registry has it; it is built from Go sources",
    ),
}


def measure(findings: Findings) -> None:
    """Measure at 1, 16 and 64 connections."""
    rounds = 2 if findings.quick else 4
    for name, (title, reason) in _OUT_OF_REACH.items():
        findings.miss(name, title, reason)
    with workshop() as folder, bare_server() as bare, all_serving(findings) as others:
        http_function(folder / "site", "hello", level="function")
        with platform_on(folder) as platform:
            key = function_key(folder / "home")
            servers = [bare, running(platform, "hello"), *others]
            subjects = [Subject(s.name, s.pid, Target(s.url, key)) for s in servers]
            for connections in (16, 64) if findings.quick else (1, 16, 64):
                cell = visit_all(subjects, connections, rounds)
                findings.add(cell_figures(f"peers.c{connections}", cell))
                for other in others:
                    name = f"peers.c{connections}.taak.over.{other.name}"
                    findings.add(over(name, cell, "taak", other.name))
            findings.add(_memory(server) for server in servers)


def _memory(server: Serving) -> Figure:
    """Return the memory of a server's tree once it has served."""
    pids = sorted(descendants(server.pid))
    total = sum(pss(pid) for pid in pids)
    name = f"peers.memory.{server.name}"
    return Figure(name, total / _MIB, "MiB", "lower", f"PSS of {len(pids)} processes, after load")
