"""What systemd hears from us."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gateway.notify import notify


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_a_state_is_one_datagram(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a socket in the file system, or, with an @, in the abstract name space."""
    shown = str(tmp_path / "n") if kind == "file" else f"@taak-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", shown)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(shown.replace("@", "\0", 1))
        systemd.setblocking(False)
        notify("READY=1")
        notify("STOPPING=1")
        assert [systemd.recv(100), systemd.recv(100)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize("address", [None, "", "relative", "vsock:2:1234"])
def test_without_a_socket_nothing_happens(
    address: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """Not started by systemd, or an address of a kind that we do not speak: no word about it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
    assert caplog.records == []


def test_a_socket_that_is_gone_does_not_stop_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """The variable may be inherited from a unit that ended: told, and the platform goes on."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
    assert "READY=1" in caplog.text
    assert str(tmp_path / "gone") in caplog.text
