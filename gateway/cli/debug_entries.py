"""What to put into an editor so that it attaches to a job's debugger through the tunnel. Pure."""

from __future__ import annotations

from typing import Any, Final

_LOOPBACK: Final = "127.0.0.1"


def launch_entry(state: dict[str, Any], port: int, local_root: str = "") -> dict[str, Any]:
    """Return an entry for launch.json of VS Code.

    Args:
        state: what the platform told of the debugging.
        port: of the tunnel, on this machine.
        local_root: where the job's files are here; by default where the site's folder has them.
    """
    local = local_root or "${workspaceFolder}/" + str(state["folder"])
    remote = str(state["remote_root"])
    entry = {"name": f"Taak: {state['job']}", "request": "attach"}
    match state["debugger"]:
        case "debugpy":
            return {
                **entry,
                "type": "debugpy",
                "connect": {"host": _LOOPBACK, "port": port},
                "pathMappings": [{"localRoot": local, "remoteRoot": remote}],
                "justMyCode": True,
            }
        case "node":
            return {
                **entry,
                "type": "node",
                "address": _LOOPBACK,
                "port": port,
                "localRoot": local,
                "remoteRoot": remote,
                "restart": True,
                "skipFiles": ["<node_internals>/**"],
            }
        case _:
            return {**entry, "type": "java", "hostName": _LOOPBACK, "port": port}


def hints(state: dict[str, Any], port: int) -> list[str]:
    """Return a line for each other client."""
    where = f"{_LOOPBACK}:{port}"
    match state["debugger"]:
        case "debugpy":
            return [f"other editors: attach to debugpy (DAP) at {where}"]
        case "node":
            return [
                f"Chrome: open chrome://inspect, Configure…, add {where}",
                f"WebStorm: Attach to Node.js/Chrome, {where}",
            ]
        case _:
            return [f"IntelliJ IDEA: Remote JVM Debug, attach, {where}", f"jdb -attach {where}"]
