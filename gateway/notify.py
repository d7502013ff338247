"""Telling systemd how we are (sd_notify): a datagram, when NOTIFY_SOCKET names where to."""

from __future__ import annotations

import logging
import os
import socket

_log = logging.getLogger("taak")


def notify(state: str) -> None:
    """Send one state such as "READY=1"; without systemd nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())
    except OSError as error:  # a name inherited from a unit that is gone must not stop us
        _log.warning("systemd is not told %s: %s: %s", state, address, error)
