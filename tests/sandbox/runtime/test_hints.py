"""A failure that the sandbox causes names the setting that changes it; others get no such words."""

from __future__ import annotations

import errno
import socket

import pytest

from sandbox.runtime import hints


@pytest.fixture(autouse=True)
def _forget():
    yield
    hints.behind("")


def test_no_network_is_told_with_the_setting():
    """Also when a library has wrapped the operating system's error."""
    hints.behind("none")
    for error in (OSError(errno.ENETUNREACH, "x"), socket.gaierror(-3, "x")):
        wrapped = RuntimeError("cannot fetch")
        wrapped.__cause__ = error
        assert '"network": "outbound"' in hints.hint(error)
        assert '"network": "outbound"' in hints.hint(wrapped)


def test_a_refused_port_is_told_with_the_setting():
    """But not a file that may not be opened, which has a name."""
    hints.behind("outbound")
    assert '"ports"' in hints.hint(PermissionError(errno.EACCES, "x"))
    assert hints.hint(PermissionError(errno.EACCES, "x", "/a")) == ""


def test_a_read_only_file_is_told():
    """Whatever the network is."""
    assert "/tmp" in hints.hint(OSError(errno.EROFS, "x", "/a"))


def test_other_failures_get_no_hint():
    """Nor does a network error where the network is not closed; a circle of causes ends."""
    hints.behind("host")
    assert hints.hint(OSError(errno.ENETUNREACH, "x")) == ""
    error = ValueError("x")
    error.__context__ = TypeError("y")
    error.__context__.__context__ = error
    assert hints.hint(error) == ""


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'hello'", name="hello"),
        ModuleNotFoundError("No module named 'hello.parts'", name="hello.parts"),
        ModuleNotFoundError("No module named '__app__.hello'", name="__app__.hello"),
        ImportError("cannot import name 'hello' from '__app__' (unknown location)", name="__app__"),
    ],
)
def test_the_module_of_another_function_is_told_with_the_ways_to_share(error):
    """However it is spelled: pip would not help, and the folder is there for whoever looks."""
    hints.behind("none", "bye hello")
    told = hints.hint(error)
    assert told.startswith('Hint: "hello" is another function of this app')
    assert "shared/" in told
    assert '"taak": {"isolation": "app"}' in told
    hints.behind("none", "bye")
    assert hints.hint(error) == ""
