"""Capabilities and users on this kernel: what a step takes away, beside what worked before."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from needs import MISSING
from real.attempts import CAPABILITIES, NOBODY, USERS, Step, attempt

pytestmark = pytest.mark.real

#: Numbers of linux/capability.h.
CHOWN, SETUID, SETPCAP = 0, 7, 8
#: Of linux/securebits.h, each with its lock: NOROOT, NO_CAP_AMBIENT_RAISE; KEEP_CAPS locked off.
LOCKED = 0b11 | 0b10 << 4 | 0b11 << 6

DROP: Step = ("call", CAPABILITIES, "drop")
SEAL: Step = ("call", CAPABILITIES, "seal")
CURRENT: Step = ("call", CAPABILITIES, "current")
SETS: Step = ("sets",)
NO_SETS = {"Inh": 0, "Prm": 0, "Eff": 0, "Bnd": 0, "Amb": 0}

as_root = pytest.mark.skipif(os.getuid() != 0, reason="is about what root can give up")


def change_user(uid: int) -> Step:
    return ("call", CAPABILITIES, "change_user", uid)


def in_user_namespace(inside: int, *steps: Step, uid: int) -> list[Any]:
    """Try the steps as this user of a user namespace that `uid` made."""
    found = attempt(("unshare_user", inside), *steps, uid=uid)
    if found[0] in {"EPERM", "ENOSYS", "ENOSPC", "EINVAL"}:
        pytest.skip(f"{MISSING}: user namespaces for user {uid} ({found[0]})")
    assert found[0] == "ok"
    return found[1:]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of our own that every user can reach, with a file."""
    path = Path(tempfile.mkdtemp(prefix="taak-capabilities-"))
    path.chmod(0o755)
    (path / "file").write_text("content")
    yield path
    shutil.rmtree(path)


@as_root
def test_root_drops_all_it_has() -> None:
    """All five sets were filled, and are empty in the process and in what it executes."""
    found = attempt(
        ("raise_ambient", CHOWN), SETS, ("sets_of_program",), DROP, SETS, ("sets_of_program",)
    )
    _, before, program_before, dropped, after, program_after = found
    assert all(before.values())
    assert all(program_before.values())
    assert dropped == "ok"
    assert after == program_after == NO_SETS


@as_root
def test_root_without_capabilities_can_do_little(folder: Path) -> None:
    """After the drop, uid 0 cannot give files away, change its user or read others' files."""
    file = str(folder / "file")
    Path(file).chmod(0o600)
    steps: list[Step] = [
        ("read", file),
        ("chown", file, NOBODY, NOBODY),
        ("read", file),
        ("chown", file, 0, 0),
    ]
    assert attempt(*steps) == ["ok"] * 4
    assert attempt(*steps[:2], DROP, *steps[2:]) == ["ok", "ok", "ok", "EACCES", "EPERM"]
    assert attempt(DROP, ("become", NOBODY)) == ["ok", "EPERM"]
    assert attempt(("become", NOBODY)) == ["ok"]


@as_root
def test_the_mask_tells_what_is_in_effect() -> None:
    """`current` is what /proc shows, before and after."""
    before, shown, _, after = attempt(CURRENT, SETS, DROP, CURRENT)
    assert before == shown["Eff"] > 0
    assert after == 0


@pytest.mark.parametrize("uid", [uid for uid in USERS if uid != 0])
def test_nothing_to_drop_is_no_error(uid: int) -> None:
    """An unprivileged process calls it in vain, twice, and keeps its bounding set."""
    before, first, second, after = attempt(SETS, DROP, DROP, SETS, uid=uid)
    assert first == second == "ok"
    assert after == {**NO_SETS, "Bnd": before["Bnd"]}


@pytest.mark.parametrize("inside", [0, 1000])
@pytest.mark.parametrize("uid", USERS)
def test_the_owner_of_a_user_namespace_drops_all(uid: int, inside: int, folder: Path) -> None:
    """The full set that a new namespace gives is gone, for uid 0 of it too; before, it mounts."""
    target = str(folder)
    found = in_user_namespace(
        inside,
        ("mount", target),
        SETS,
        DROP,
        SETS,
        ("sets_of_program",),
        ("mount", target),
        uid=uid,
    )
    mounted, before, dropped, after, program, refused = found
    assert (mounted, dropped, refused) == ("ok", "ok", "EPERM")
    assert before["Eff"] > 0
    assert before["Bnd"] > 0
    assert after == program == NO_SETS


@pytest.mark.parametrize("uid", USERS)
def test_root_of_a_user_namespace_gets_all_back_by_exec_unless_it_drops(uid: int) -> None:
    """Uid 0 that has emptied its sets by itself is full again in the next program."""
    [program] = in_user_namespace(0, ("sets_of_program",), uid=uid)
    assert program["Eff"] > 0
    dropped, program = in_user_namespace(0, DROP, ("sets_of_program",), uid=uid)
    assert (dropped, program) == ("ok", NO_SETS)


@pytest.mark.parametrize("uid", USERS)
def test_securebits_are_locked(uid: int) -> None:
    """Sealing sets and locks them, so that even one who may set securebits cannot go back."""
    harmless = 1 << 2  # NO_SETUID_FIXUP, which sealing leaves alone
    found = in_user_namespace(
        0,
        ("securebits",),
        ("set_securebits", 1),
        ("set_securebits", 0),
        SEAL,
        ("securebits",),
        ("set_securebits", 0),
        ("set_securebits", LOCKED | harmless),
        uid=uid,
    )
    assert found == [0, "ok", "ok", "ok", LOCKED, "EPERM", "ok"]


@pytest.mark.parametrize("uid", USERS)
def test_securebits_that_others_locked_are_no_error(uid: int) -> None:
    """Where NOROOT is locked off already, the rest is locked and everything is dropped."""
    noroot_lock = 1 << 1
    found = in_user_namespace(
        0, ("set_securebits", noroot_lock), DROP, ("securebits",), SETS, uid=uid
    )
    assert found == ["ok", "ok", LOCKED & ~1, NO_SETS]


@pytest.mark.parametrize("uid", USERS)
def test_sealing_is_done_once(uid: int) -> None:
    """A second time there is nothing to do, also without the capability for it."""
    found = in_user_namespace(0, SEAL, SEAL, ("lose", SETPCAP), SEAL, DROP, SETS, uid=uid)
    assert found == ["ok"] * 5 + [NO_SETS]


@pytest.mark.parametrize("uid", USERS)
def test_a_privileged_process_that_may_not_seal_is_told(uid: int) -> None:
    """With capabilities but without CAP_SETPCAP, the step that failed is named."""
    found = in_user_namespace(0, ("lose", SETPCAP), ("explain", *DROP), DROP, uid=uid)
    assert found[1].endswith("capabilities: lock the securebits: Operation not permitted")
    assert found[2] == "EPERM"


@as_root
def test_root_becomes_another_user_for_good() -> None:
    """All ids change, no further group is left, and there is no way back."""
    ids = [[NOBODY] * 3, [NOBODY] * 3, []]
    groups: Step = ("setgroups", [1, 2])
    back: Step = ("setuid", 0)
    found = attempt(groups, back, change_user(NOBODY), ("identity",), back, groups, SETS)
    assert found[:6] == ["ok", "ok", "ok", ids, "EPERM", "EPERM"]
    assert found[6]["Eff"] == found[6]["Prm"] == 0


@as_root
def test_the_order_for_root_empties_all() -> None:
    """Seal, change the user, drop: no set has anything; without sealing, the bounding set has."""
    assert attempt(SEAL, change_user(NOBODY), DROP, SETS) == ["ok", "ok", "ok", NO_SETS]
    assert attempt(change_user(NOBODY), DROP, SETS)[2]["Bnd"] > 0


@pytest.mark.parametrize("uid", [0, -1])
def test_no_change_to_root_or_to_nobody_in_particular(uid: int) -> None:
    """0 would void the limit on processes, and -1 would leave the user as it is."""
    refused, text = attempt(change_user(uid), ("explain", *change_user(uid)))
    assert refused == "EINVAL"
    assert "uid" in text


@pytest.mark.parametrize("uid", [uid for uid in USERS if uid != 0])
def test_a_change_that_is_not_permitted_names_its_step(uid: int) -> None:
    """An unprivileged process stays who it is, with an error that says where it failed."""
    before, text, after = attempt(
        ("identity",), ("explain", *change_user(uid + 1)), ("identity",), uid=uid
    )
    assert "setgroups: Operation not permitted" in text
    assert before == after


@as_root
def test_each_step_of_the_change_is_named() -> None:
    """Without CAP_SETUID alone, the groups change and the last step fails."""
    text = attempt(("lose", SETUID), ("explain", *change_user(NOBODY)))[1]
    assert "setresuid: Operation not permitted" in text


@as_root
def test_after_a_change_of_user_the_process_is_closed_until_it_says_otherwise() -> None:
    """Its own environ is EACCES (T10); dumpable opens it, and can be taken back."""
    own = ("read", "/proc/self/environ")
    on: Step = ("call", CAPABILITIES, "set_dumpable", {"on": True})
    off: Step = ("call", CAPABILITIES, "set_dumpable", {"on": False})
    found = attempt(own, change_user(NOBODY), own, on, own, off, own)
    assert found == ["ok", "ok", "EACCES", "ok", "ok", "ok", "EACCES"]
