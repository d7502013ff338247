"""What a function's processes see of their host."""

from __future__ import annotations

import os
import sys

import pytest

from scheduler.function_environment import function_environment


def seen(**inherited: str) -> dict[str, str]:
    """Return the variables of a function on a platform with this environment."""
    return function_environment("vm-1", "shop", "http://127.0.0.1:7071", inherited)


def test_only_language_zone_and_path_are_inherited() -> None:
    """Four names; the platform's secrets and its own Python settings are not among them."""
    given = {"LANG": "de_DE.UTF-8", "LC_ALL": "C.UTF-8", "PATH": "/opt/bin", "TZ": "Asia/Tokyo"}
    secrets = {"TAAK_MASTER_KEY": "k", "PYTHONPATH": "/x", "LD_PRELOAD": "y", "NOTIFY_SOCKET": "z"}
    got = seen(**given, **secrets, HOME="/root")
    assert {name: got[name] for name in given} == given
    assert not secrets.keys() & got.keys()
    assert got["HOME"] == "/tmp"


def test_what_is_not_there_is_not_made_up_but_for_the_path() -> None:
    """A program is found even if the platform was started without a PATH."""
    got = seen()
    assert got["PATH"] == os.defpath
    assert not {"LANG", "LC_ALL", "TZ"} & got.keys()


def test_libraries_start_no_threads_at_their_import() -> None:
    """Numpy would: a process that has imported it could not be forked (sandbox.md T7)."""
    got = seen(OPENBLAS_NUM_THREADS="8")
    assert got["OMP_NUM_THREADS"] == got["OPENBLAS_NUM_THREADS"] == got["MKL_NUM_THREADS"] == "1"


def test_apps_read_about_their_host() -> None:
    """The names that Azure's documents give, with this platform's values."""
    got = seen()
    assert got["WEBSITE_HOSTNAME"] == "127.0.0.1:7071"
    assert got["WEBSITE_INSTANCE_ID"] == "vm-1"
    assert got["WEBSITE_SITE_NAME"] == "shop"
    assert got["AZURE_FUNCTIONS_ENVIRONMENT"] == "Production"
    assert got["FUNCTIONS_EXTENSION_VERSION"] == "~4"
    assert got["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert got["FUNCTIONS_WORKER_RUNTIME_VERSION"] == f"3.{sys.version_info.minor}"


def test_output_is_not_held_back() -> None:
    """What a function prints before it is killed is in its log."""
    assert seen()["PYTHONUNBUFFERED"] == "1"


def test_the_platform_s_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each call reads it anew, into a dict of its own."""
    monkeypatch.setenv("TZ", "Europe/Paris")
    first = function_environment("i", "s", "http://h")
    assert first["TZ"] == "Europe/Paris"
    first["TZ"] = "changed"
    assert function_environment("i", "s", "http://h")["TZ"] == "Europe/Paris"
