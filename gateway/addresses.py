"""The addresses that the platform listens on: taken first, because all others need to know them."""

from __future__ import annotations

import socket

_BACKLOG = 4096


class StartError(Exception):
    """The platform cannot start; the message says why and what helps."""


def bind(host: str, port: int, flag: str) -> socket.socket:
    """Return a listening socket; StartError names the option that helps."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}; give another {flag} (0: any free)"
        ) from error


def url_of(sock: socket.socket) -> str:
    """Return the URL by which this machine reaches the socket, without a slash at the end."""
    host, port = sock.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}"
