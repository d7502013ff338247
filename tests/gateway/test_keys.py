from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.keys import KeyFileError, KeyStore, Level
from gateway.scopes import EVERYTHING, Rights
from scheduler.errors import BadRequestError, ConflictError, NotFoundError

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        """Return the time."""
        return self.now


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return where the keys are kept."""
    return tmp_path / "data" / "secrets"


def entry(value, **more):
    """Return a key as the files hold it."""
    return {"name": "x", "value": value, "encrypted": False, **more}


def write(folder, name="host.json", **document):
    """Write a key file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(document, indent=2))


def test_first_start_writes_keys_for_the_owner_only(folder):
    """A new home gets random keys of at least 40 characters, modes 0600 and 0700."""
    keys = KeyStore(folder)
    stored = json.loads((folder / "host.json").read_text())
    assert stored["masterKey"] == {"name": "_master", "value": keys.master, "encrypted": False}
    assert [key["name"] for key in stored["functionKeys"]] == ["default"]
    assert stored["systemKeys"] == []
    assert len(keys.master) >= 40
    assert (folder / "host.json").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_second_start_keeps_the_keys(folder):
    """Keys are generated once."""
    assert KeyStore(folder).master == KeyStore(folder).master


def test_environment_replaces_the_master_key(folder):
    """With TAAK_MASTER_KEY the file's master key opens nothing, the function keys still do."""
    stored = KeyStore(folder)
    keys = KeyStore(folder, master="given")
    assert keys.master == "given"
    assert keys.allows("f", "given") is Level.ADMIN
    assert keys.allows("f", stored.master) is Level.NONE
    assert keys.allows("f", keys.host_keys().function_keys[0].value) is Level.FUNCTION
    assert "TAAK_MASTER_KEY" in keys.source


def test_levels(folder):
    """Each kind of key opens its level; a function's key only that function, without case."""
    write(
        folder,
        masterKey=entry("m"),
        functionKeys=[entry("host-wide")],
        systemKeys=[entry("sys")],
    )
    write(folder, "hello.json", keys=[entry("own")])
    keys = KeyStore(folder)
    assert keys.allows("hello", "m") is Level.ADMIN
    assert keys.allows("hello", "sys") is Level.SYSTEM
    assert keys.allows("anything", "host-wide") is Level.FUNCTION
    assert keys.allows("HELLO", "own") is Level.FUNCTION
    assert keys.allows("other", "own") is Level.NONE
    assert keys.allows("hello", "") is Level.NONE
    assert keys.allows("hello", "näh\udc80") is Level.NONE


def test_one_value_with_two_uses_opens_the_higher_level(folder):
    """A value that is a function's key and a system key counts as the latter."""
    write(folder, masterKey=entry("m"), functionKeys=[entry("both")], systemKeys=[entry("both")])
    assert KeyStore(folder).allows("f", "both") is Level.SYSTEM


def test_scopes_of_management(folder, caplog):
    """The master key opens all, a system key what its scope says, function keys nothing."""
    write(
        folder,
        masterKey=entry("m"),
        functionKeys=[entry("f")],
        systemKeys=[
            entry("r", taak={"scope": "read"}),
            entry("o", taak={"scope": "operate"}),
            entry("plain"),
            entry("all", taak={"scope": "all"}),
        ],
    )
    keys = KeyStore(folder)
    assert keys.rights("m") == EVERYTHING
    assert keys.rights("r") == Rights.of(["read"])
    assert keys.rights("o") == Rights.of(["operate"])
    for nothing in ("f", "plain", "all", "wrong", ""):
        assert keys.rights(nothing) is None
    assert "unknown scope 'all'" in caplog.text


def test_keys_of_management_are_kept_as_digests(folder):
    """The value is given once; the file holds what cannot be turned back, for its owner alone."""
    keys = KeyStore(folder)
    value = keys.create_scoped_key("ci", ["deploy", "deploy"], NOW)
    path = folder / "taak.keys.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert value not in path.read_text()
    (kept,) = KeyStore(folder).scoped_keys()
    assert (kept.name, kept.scopes) == ("ci", ("deploy",))
    assert KeyStore(folder).rights(value) == Rights.of(["deploy"])
    assert keys.allows("hello", value) is Level.FUNCTION
    assert keys.rights(kept.digest) is None
    keys.revoke_scoped_key("CI")
    assert keys.rights(value) is None
    assert keys.allows("hello", value) is Level.NONE


@pytest.mark.parametrize(
    ("name", "scopes", "words"),
    [
        ("", ["read"], "no name"),
        ("a/b", ["read"], "no name"),
        ("ci", [], "at least one scope"),
        ("ci", ["all"], "'all' is no scope"),
        ("ci", ["READ"], "'READ' is no scope"),
        ("ci", ["job:x"], "'job:x' is no scope"),
        ("ci", ["job::run"], "'job::run' is no scope"),
        ("ci", ["job:x:stop"], "'job:x:stop' is no scope"),
    ],
)
def test_bad_keys_of_management(folder, name, scopes, words):
    """What is wrong is told with what would be right."""
    with pytest.raises(BadRequestError, match=words):
        KeyStore(folder).create_scoped_key(name, scopes, NOW)


def test_names_of_keys_are_taken_once(folder):
    """A second key of the name, in any case, is a conflict; one that is not there not found."""
    keys = KeyStore(folder)
    keys.create_scoped_key("ci", ["read"], NOW)
    with pytest.raises(ConflictError):
        keys.create_scoped_key("CI", ["read"], NOW)
    with pytest.raises(NotFoundError):
        keys.revoke_scoped_key("other")


def test_a_broken_file_of_keys_is_told(folder):
    """Never replaced: that would lock out every client without a word."""
    write(folder, "taak.keys.json", keys=[{"name": "x"}])
    with pytest.raises(KeyFileError, match=r"taak\.keys\.json"):
        KeyStore(folder)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{\n  "masterKey": {\n  "value" "x"}\n}', 3, "not valid JSON"),
        ("", 1, "not valid JSON"),
        ("[]", 1, "a JSON object is expected"),
        ('{"functionKeys": []}', 1, "masterKey is missing"),
        ('{\n"masterKey": "plain text"}', 2, "masterKey"),
        ('{"masterKey": {"value": "m"},\n"functionKeys": {}}', 2, "functionKeys: a list"),
        ('{"masterKey": {"value": "m"},\n\n"systemKeys": [{"value": 7}]}', 3, "systemKeys[0]"),
        ('{\n"masterKey": {"value": "m", "encrypted": true}}', 2, "encrypted for another host"),
    ],
)
def test_broken_file_stops_the_start_with_file_and_line(folder, text, line, words):
    """A key file that cannot be used is told with its place and is never replaced."""
    folder.mkdir(parents=True)
    (folder / "host.json").write_text(text)
    with pytest.raises(KeyFileError, match=r"host\.json") as told:
        KeyStore(folder)
    assert told.value.line == line
    assert words in str(told.value)
    assert (folder / "host.json").read_text() == text


def test_file_that_is_not_text_is_told(folder):
    """Bytes that are no UTF-8 are a broken file, not a crash."""
    folder.mkdir(parents=True)
    (folder / "host.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KeyFileError, match="not UTF-8"):
        KeyStore(folder)


def test_edit_is_seen_within_two_seconds_and_not_looked_for_more_often(folder):
    """A changed file is read at the first look-up after the recheck time."""
    clock = Clock()
    keys = KeyStore(folder, clock=clock)
    write(folder, masterKey=entry("fresh"))
    assert keys.allows("f", "fresh") is Level.NONE
    clock.now += 2.1
    assert keys.allows("f", "fresh") is Level.ADMIN


def test_bad_edit_keeps_the_keys_in_force(folder, caplog):
    """A file that is broken while the platform runs is logged; nobody is locked out."""
    clock = Clock()
    keys = KeyStore(folder, clock=clock)
    master = keys.master
    (folder / "host.json").write_text("{")
    clock.now += 2.1
    assert keys.allows("f", master) is Level.ADMIN
    assert "host.json:1" in caplog.text


def test_removed_file_keeps_the_keys_in_force(folder):
    """Deleting the folder under a running platform does not open or shut any door."""
    clock = Clock()
    keys = KeyStore(folder, clock=clock)
    master = keys.master
    (folder / "host.json").unlink()
    clock.now += 2.1
    assert keys.allows("f", master) is Level.ADMIN
    assert keys.allows("f", "") is Level.NONE


def test_function_keys_are_made_when_first_asked_for(folder):
    """The default key of a function is written to <function lower>.json."""
    keys = KeyStore(folder)
    (default,) = keys.function_keys("Hello")
    assert default.name == "default"
    assert keys.allows("hello", default.value) is Level.FUNCTION
    assert json.loads((folder / "hello.json").read_text())["keys"][0]["value"] == default.value
    assert keys.function_keys("hello") == (default,)


@pytest.mark.parametrize("name", ["../x", ".hidden", "", "a/b", "host", "HOST"])
def test_function_names_cannot_leave_the_folder(folder, name):
    """A name from a request never becomes another file, least of all host.json."""
    keys = KeyStore(folder)
    with pytest.raises(BadRequestError):
        keys.function_keys(name)
    assert [path.name for path in folder.iterdir()] == ["host.json"]


def test_open_modes_are_tightened(folder, caplog):
    """A key file that others could read is closed to them, with a warning."""
    KeyStore(folder)
    (folder / "host.json").chmod(0o644)
    KeyStore(folder)
    assert (folder / "host.json").stat().st_mode & 0o777 == 0o600
    assert "readable by others" in caplog.text


def test_token_opens_one_session_once(folder):
    """A portal token works once; the session ends after its life."""
    clock = Clock()
    keys = KeyStore(folder, clock=clock)
    token = keys.issue_token()
    session = keys.sessions.redeem(token)
    assert session is not None
    assert keys.sessions.holds(session)
    assert keys.sessions.redeem(token) is None
    clock.now += 12 * 3600 + 1
    assert not keys.sessions.holds(session)


def test_token_gets_too_old(folder):
    """A token that nobody used for an hour is void."""
    clock = Clock()
    keys = KeyStore(folder, clock=clock)
    token = keys.issue_token()
    clock.now += 3601
    assert keys.sessions.redeem(token) is None


def test_sessions_cannot_fill_the_memory(folder):
    """The table of tokens is bounded: the oldest goes."""
    keys = KeyStore(folder)
    first = keys.issue_token()
    for _ in range(1000):
        last = keys.issue_token()
    assert keys.sessions.redeem(first) is None
    assert keys.sessions.redeem(last) is not None
    assert not keys.sessions.holds("made up")
    keys.sessions.close("made up")
