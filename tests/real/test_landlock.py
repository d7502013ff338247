"""Landlock on this kernel: each refusal beside what stays allowed, as root and without rights."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from needs import MISSING, need
from real.attempts import LANDLOCK, SYSTEM, USERS, Step, attempt

from sandbox.runtime import landlock

pytestmark = pytest.mark.real


def need_abi(version: int) -> None:
    """Skip the test when the kernel's Landlock is older than what it is about."""
    if landlock.abi() < version:
        pytest.skip(f"{MISSING}: Landlock ABI {version} in the kernel")


@dataclass(frozen=True)
class Place:
    """Folders to read (ro), to write (rw) and to have no business in (other), of one user."""

    uid: int
    root: Path

    def path(self, name: str) -> str:
        return str(self.root / name)

    def rules(self, **changes: Any) -> dict[str, Any]:
        """Return the arguments of `restrict` for this place, some of them changed."""
        read, write = [*SYSTEM, self.path("ro")], [self.path("rw")]
        return {"read": read, "write": write, "connect": None, **changes}

    def free(self, *steps: Step) -> list[Any]:
        """Try the steps without Landlock."""
        return attempt(*steps, uid=self.uid)

    def inside(self, *steps: Step, **changes: Any) -> list[Any]:
        """Try the steps within the rules of this place."""
        found = attempt(enter(self.rules(**changes)), *steps, uid=self.uid)
        assert found[0] == min(landlock.abi(), landlock.NEWEST)
        return found[1:]


def enter(rules: dict[str, Any]) -> Step:
    return ("call", LANDLOCK, "restrict", rules)


@pytest.fixture(params=USERS, ids=lambda uid: "root" if uid == 0 else "unprivileged")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place of each user, where that user can reach it, unlike pytest's own folders."""
    need_abi(1)
    root = Path(tempfile.mkdtemp(prefix="taak-landlock-"))
    try:
        for folder in ("ro/sub", "rw/a", "rw/b", "other/sub"):
            (root / folder).mkdir(parents=True)
        for folder in ("ro", "rw", "rw/a", "other"):
            (root / folder / "file").write_text("content")
            shutil.copy(need("true"), root / folder / "program")
        for path in (root, *root.rglob("*")):
            path.chmod(0o755)
            os.chown(path, request.param, request.param if os.getuid() == 0 else -1)
        yield Place(request.param, root)
    finally:
        shutil.rmtree(root)


@pytest.fixture
def listeners() -> Iterator[tuple[int, int]]:
    """Two ports on which somebody outside listens."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        yield one.getsockname()[1], two.getsockname()[1]


def test_a_tree_to_read_is_read_and_executed_but_never_changed(place: Place) -> None:
    """All that changes something below `read` is EACCES; without Landlock the user may do it."""
    ro = place.path("ro")
    reads: list[Step] = [
        ("read", f"{ro}/file"),
        ("list", ro),
        ("execute", f"{ro}/program"),
        ("shell", f"cat {ro}/file | grep -q content"),
    ]
    changes: list[Step] = [
        ("write", f"{ro}/file"),
        ("create", f"{ro}/new"),
        ("mkdir", f"{ro}/folder"),
        ("rmdir", f"{ro}/sub"),
        ("symlink", "file", f"{ro}/link"),
        ("mkfifo", f"{ro}/fifo"),
        ("mksock", f"{ro}/sock"),
        ("unlink", f"{ro}/program"),
    ]
    assert place.inside(*reads, *changes) == ["ok"] * len(reads) + ["EACCES"] * len(changes)
    assert place.free(*reads, *changes) == ["ok"] * (len(reads) + len(changes))


def test_what_no_rule_names_is_out_of_reach(place: Place) -> None:
    """Below neither tree, even reading, listing and executing are EACCES."""
    other = place.path("other")
    steps: list[Step] = [
        ("read", f"{other}/file"),
        ("list", other),
        ("write", f"{other}/file"),
        ("create", f"{other}/new"),
        ("execute", f"{other}/program"),
    ]
    assert place.inside(*steps) == ["EACCES"] * len(steps)
    assert place.free(*steps) == ["ok"] * len(steps)


def test_a_tree_to_write_can_be_lived_in(place: Place) -> None:
    """Below `write` everything works, programs that were just written included."""
    rw = place.path("rw")
    steps: list[Step] = [
        ("read", f"{rw}/file"),
        ("list", rw),
        ("create", f"{rw}/new"),
        ("write", f"{rw}/new"),
        ("mkdir", f"{rw}/folder"),
        ("rmdir", f"{rw}/folder"),
        ("symlink", "file", f"{rw}/link"),
        ("mkfifo", f"{rw}/fifo"),
        ("mksock", f"{rw}/sock"),
        ("script", f"{rw}/script"),
        ("execute", f"{rw}/script"),
        ("execute", f"{rw}/program"),
        ("unlink", f"{rw}/new"),
    ]
    assert place.inside(*steps) == ["ok"] * len(steps)


def test_renames_and_links_stay_within_trees_to_write(place: Place) -> None:
    """Across folders to write they work; to or from any other tree they do not."""
    need_abi(2)
    allowed: list[Step] = [
        ("rename", place.path("rw/file"), place.path("rw/a/moved")),
        ("rename", place.path("rw/a/moved"), place.path("rw/b/moved")),
        ("link", place.path("rw/b/moved"), place.path("rw/linked")),
    ]
    refused: list[Step] = [
        ("link", place.path("ro/file"), place.path("rw/stolen")),
        ("rename", place.path("ro/program"), place.path("rw/stolen2")),
        ("rename", place.path("rw/a/file"), place.path("ro/planted")),
        ("rename", place.path("other/file"), place.path("rw/taken")),
    ]
    found = place.inside(*allowed, *refused)
    assert found[: len(allowed)] == ["ok"] * len(allowed)
    assert set(found[len(allowed) :]) <= {"EACCES", "EXDEV"}
    assert place.free(*refused) == ["ok"] * len(refused)


def test_truncating_is_writing(place: Place) -> None:
    """A file to read cannot be emptied, by truncate nor by a shell; one to write can."""
    need_abi(3)
    ro, rw = place.path("ro/file"), place.path("rw/file")
    steps: list[Step] = [
        ("truncate", ro),
        ("shell", f"(: > {ro}) 2>&-"),
        ("truncate", rw),
        ("shell", f": > {rw}"),
    ]
    first, second, *rest = place.inside(*steps)
    assert first == "EACCES"
    assert str(second).startswith("exit ")
    assert rest == ["ok", "ok"]
    assert (place.root / "ro/file").read_text() == "content"
    assert place.free(*steps) == ["ok"] * 4


def test_device_files_are_used_and_not_controlled(place: Place) -> None:
    """Devices are read and written; an ioctl is EACCES, but on what was open before."""
    need_abi(5)
    steps: list[Step] = [
        ("read", "/dev/zero"),
        ("write", "/dev/null"),
        ("shell", "echo gone > /dev/null"),
        ("ioctl", "/dev/random"),
        ("ioctl_held", "/dev/random"),
    ]
    hold = ("hold", "/dev/random")
    assert place.free(hold, *steps) == ["ok"] * 6
    found = attempt(hold, enter(place.rules()), *steps, uid=place.uid)
    assert found[2:] == ["ok", "ok", "ok", "EACCES", "ok"]


def test_only_the_devices_that_are_named_can_be_opened(place: Place) -> None:
    """The list replaces the usual devices."""
    steps = (("read", "/dev/zero"), ("read", "/dev/urandom"))
    assert place.inside(*steps, devices=["/dev/zero"]) == ["ok", "EACCES"]
    assert place.inside(*steps) == ["ok", "ok"]


def test_no_device_node_is_made_even_by_root(place: Place) -> None:
    """In a tree to write, mknod of a device is EACCES for one who otherwise could."""
    node = ("mkdevice", place.path("rw/node"))
    assert place.inside(node) == ["EACCES"]
    assert place.free(node) == ["ok" if place.uid == 0 else "EPERM"]


def test_single_files_can_be_granted(place: Place) -> None:
    """A file in `read` or `write` has those rights that a file can have; its neighbours none."""
    lists = {
        "read": [*SYSTEM, place.path("ro/file"), place.path("ro/program")],
        "write": [place.path("rw/file")],
    }
    steps: list[Step] = [
        ("read", place.path("ro/file")),
        ("execute", place.path("ro/program")),
        ("write", place.path("rw/file")),
        ("truncate", place.path("rw/file")),
        ("write", place.path("ro/file")),
        ("list", place.path("ro")),
        ("create", place.path("rw/new")),
        ("read", place.path("rw/program")),
    ]
    found = place.inside(*steps, **lists)
    assert found == ["ok"] * 4 + ["EACCES"] * 4
    assert place.free(*steps) == ["ok"] * 8


@pytest.mark.parametrize("where", ["read", "write", "devices"])
def test_a_missing_path_is_an_error_with_its_name(place: Place, where: str) -> None:
    """No rule is skipped in silence, and after the error nothing is restricted (T3)."""
    absent = place.path("absent")
    bad = enter(place.rules(**{where: [absent]}))
    other = ("read", place.path("other/file"))
    first, text, after, good, refused = attempt(
        bad, ("explain", *bad), other, enter(place.rules()), other, uid=place.uid
    )
    assert (first, after, refused) == ("ENOENT", "ok", "EACCES")
    assert absent in text
    assert good == min(landlock.abi(), landlock.NEWEST)


def test_a_second_set_of_rules_only_takes_away(place: Place) -> None:
    """What one inside grants itself later is worth nothing."""
    wider = place.rules(read=[*SYSTEM, str(place.root)], write=[str(place.root)])
    steps = (enter(wider), ("read", place.path("other/file")), ("read", place.path("ro/file")))
    assert place.inside(*steps)[1:] == ["EACCES", "ok"]
    assert place.free(*steps)[1:] == ["ok", "ok"]


def test_connections_go_to_the_listed_ports_only(place: Place, listeners: tuple[int, int]) -> None:
    """With a list of ports, others are EACCES and so is every bind; without one, all are free."""
    need_abi(4)
    listed, other = listeners
    steps: list[Step] = [("connect", listed), ("connect", other), ("bind", 0), ("loopback",)]
    assert place.inside(*steps, connect=[listed]) == ["ok", "EACCES", "EACCES", "EACCES"]
    assert place.inside(*steps, connect=[]) == ["EACCES"] * 4
    assert place.inside(*steps, connect=None) == ["ok"] * 4


@pytest.mark.parametrize("version", range(1, landlock.NEWEST + 1))
def test_an_older_abi_restricts_what_it_can(
    place: Place, listeners: tuple[int, int], version: int
) -> None:
    """Files always, TCP from 4, ioctls from 5, signals from 6; the ABI that is used is told."""
    need_abi(version)
    steps: list[Step] = [
        ("read", place.path("ro/file")),
        ("read", place.path("other/file")),
        ("connect", listeners[0]),
        ("ioctl", "/dev/random"),
        ("kill", os.getpid(), 0),
    ]
    older: Step = ("pretend", LANDLOCK, version)
    _, used, *found = attempt(older, enter(place.rules(connect=[])), *steps, uid=place.uid)
    own = place.uid == os.getuid()  # else the tests' process is out of reach in any case
    assert used == version
    assert found == [
        "ok",
        "EACCES",
        "ok" if version < 4 else "EACCES",
        "ok" if version < 5 else "EACCES",
        "ok" if version < 6 and own else "EPERM",
    ]


def test_abstract_sockets_of_the_outside_are_refused(place: Place) -> None:
    """One inside connects to abstract sockets of the inside, and not to others."""
    need_abi(6)
    name = f"taak-{os.getpid()}-{place.root.name}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        steps: Sequence[Step] = (("abstract", name), ("own_abstract",))
        assert place.inside(*steps) == ["EPERM", "ok"]
        assert place.free(*steps) == ["ok", "ok"]


def test_signals_stay_inside(place: Place) -> None:
    """Nobody outside is signalled; siblings and process groups of the inside are."""
    need_abi(6)
    user = place.uid if os.getuid() == 0 else None
    with subprocess.Popen([need("sleep"), "60"], user=user) as outsider:
        try:
            steps: Sequence[Step] = (
                ("kill", outsider.pid, 0),
                ("kill", outsider.pid, 15),
                ("kill_sibling",),
                ("group",),
            )
            assert place.inside(*steps) == ["EPERM", "EPERM", "ok", "ok"]
            assert outsider.poll() is None
            assert place.free(*steps) == ["ok"] * 4
            assert outsider.wait(30) == -15
        finally:
            outsider.kill()


def test_the_death_of_a_parent_outside_still_kills(place: Place) -> None:
    """The signals that come in are not restricted: PDEATHSIG of an init without rules works."""
    assert place.free(("death_signal", LANDLOCK, place.rules())) == ["ok"]


def test_rules_hold_for_what_is_executed(place: Place) -> None:
    """A program that is started inside is bound as its starter is."""
    ro, rw = place.path("ro"), place.path("rw")
    steps = (("shell", f": > {rw}/made"), ("shell", f"(: > {ro}/made) 2>&-"))
    first, second = place.inside(*steps)
    assert first == "ok"
    assert str(second).startswith("exit ")
    assert place.free(*steps) == ["ok", "ok"]


def test_privileges_are_given_up_with_it(place: Place) -> None:
    """no_new_privs is set by the call, and was not before."""
    bit = ("shell", "grep -q 'NoNewPrivs:.1' /proc/self/status")
    assert place.inside(bit) == ["ok"]
    assert place.free(bit) == ["exit 1"]
