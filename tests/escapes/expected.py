"""What is open, or refused, by design: everything else must be stopped, and must work.

The reasons are for the reader. When one of these is closed, its line here has to go: tests see to
that.
"""

from __future__ import annotations

from .modes import OUTBOUND, PROCESS, STRICT, Mode

#: What a sandbox on the host's network may do (sandbox.md 3): Landlock knows TCP only.
_HOST_NETWORK = {
    "udp_service": "Landlock has no rules for UDP",
    "udp_port": "Landlock has no rules for UDP",
    "listen_on_host": "a socket that was never bound listens on a port that the kernel picks",
    "host_interfaces": "their names can be listed on the host's network",
}
#: What a sandbox without name spaces leaves open (sandbox.md 2, the second row).
_NO_NAMESPACES = {
    **_HOST_NETWORK,
    "see_processes": "the host's /proc is the only one; it tells pids, and nothing of their memory",
    "path_socket": "Landlock does not look at sockets with a path; their mode decides",
    "shared_memory": "System V IPC has no other fence than a name space; its mode decides",
    "message_queue": "System V IPC has no other fence than a name space; its mode decides",
    "fill_tmp": "a folder of the host cannot be given a size",
    "fill_tmp_with_files": "a folder of the host cannot be given a number of files",
}
#: What stands open besides when sandboxes keep the platform's user, for want of another.
_SAME_USER = {
    "capability_bounds": "only root may lower them; without new privileges they give nothing",
    "slow_down_platform": "a user may set the priority of all processes of the user",
    "pin_platform": "a user may choose the processors of all processes of the user",
}


def open_by_design(mode: Mode) -> dict[str, str]:
    """Return the attacks that go through in this mode, and why."""
    if mode in OUTBOUND:
        return _HOST_NETWORK
    if mode in PROCESS:
        return _NO_NAMESPACES | ({} if mode.root else _SAME_USER)
    return {}


def refused_by_design(mode: Mode) -> dict[str, str]:
    """Return the uses that do not work in this mode, and why."""
    no_network = {"allowed_port": "there is no network outside"}
    no_listening = {"loopback": "on the host's network nobody may listen"}
    if mode in OUTBOUND:
        return no_listening
    if mode in PROCESS:
        return no_network | no_listening | {"semaphores": "there is no private /dev/shm"}
    if mode in STRICT:
        programs = ("run_from_tmp", "run_programs", "run_python", "event_loop", "signal_own_child")
        sockets = ("own_socket_file", "loopback")
        return (
            no_network
            | dict.fromkeys(programs, "no program is started")
            | dict.fromkeys(sockets, "no socket is made, but for pairs")
        )
    return no_network
