"""What a ruleset governs and grants at each ABI: tables of masks, no kernel asked."""

from __future__ import annotations

import errno
import stat

import pytest

from sandbox.runtime import landlock

#: ABI -> rights on files, rights on TCP ports, scopes; from the kernel's uapi header.
HANDLED = {
    0: (0, 0, 0),
    1: (0x1FFF, 0, 0),
    2: (0x3FFF, 0, 0),
    3: (0x7FFF, 0, 0),
    4: (0x7FFF, 3, 0),
    5: (0xFFFF, 3, 0),
    6: (0xFFFF, 3, 3),
    7: (0xFFFF, 3, 3),
}


@pytest.mark.parametrize("version", HANDLED)
def test_each_abi_governs_all_that_it_can(version: int) -> None:
    """A ruleset handles every right and scope of its ABI, and none of a later one."""
    assert landlock.handled(version, tcp=True) == HANDLED[version]


@pytest.mark.parametrize("version", HANDLED)
def test_tcp_is_left_alone_without_a_list_of_ports(version: int) -> None:
    """With a network of its own, a sandbox binds and connects freely; all else is the same."""
    files, _tcp, scopes = HANDLED[version]
    assert landlock.handled(version, tcp=False) == (files, 0, scopes)


def test_the_newest_abi_is_in_the_table() -> None:
    """Whoever adds an ABI says here what it brought."""
    assert max(HANDLED) == landlock.NEWEST


def test_a_directory_can_have_every_right() -> None:
    """Nothing is taken from what a rule grants below a directory."""
    assert landlock.fitting(0xFFFF, stat.S_IFDIR | 0o755) == 0xFFFF


@pytest.mark.parametrize(
    "kind", [stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK]
)
def test_what_is_no_directory_has_the_rights_of_a_file(kind: int) -> None:
    """Execute, write, read, truncate and ioctl: the kernel refuses a file rule with any other."""
    assert landlock.fitting(0xFFFF, kind | 0o644) == 0xC007
    assert landlock.fitting(landlock.READ_DIR | landlock.READ_FILE, kind) == landlock.READ_FILE


def test_a_kernel_without_it_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """`abi` is 0 and never raises; `restrict` raises what the kernel said."""
    monkeypatch.setattr(landlock, "_CREATE_RULESET", 100_000)  # no such call, on any kernel
    assert landlock.abi() == 0
    with pytest.raises(OSError, match="landlock") as caught:
        landlock.restrict(read=(), write=(), connect=None)
    assert caught.value.errno == errno.ENOSYS
