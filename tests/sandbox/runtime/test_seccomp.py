"""The filter, run by a BPF machine of our own: what it says to each call, on both architectures."""

from __future__ import annotations

import errno
import os
import signal
import struct
import sys
from bisect import bisect_right
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import trials

from sandbox.runtime import bpf, seccomp, syscalls

X86, ARM = "x86_64", "aarch64"
BOTH = pytest.mark.parametrize("machine", [X86, ARM])
EPERM, ENOSYS = "EPERM", "ENOSYS"
NAMES: dict[int, str] = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}  # it has two
LOW = 0xFFFF_FFFF
#: Bits that only the high half of a register has.
HIGH = 0xDEAD_BEEF_0000_0000

#: What must not be possible, whatever the tables of the filter say.
FORBIDDEN = (
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "bpf"),
    *("perf_event_open", "fanotify_init", "lookup_dcookie", "nfsservctl"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
    *("move_pages", "migrate_pages"),
    *("add_key", "request_key", "keyctl"),
    *("mount", "umount2", "pivot_root", "chroot", "open_tree", "open_tree_attr", "move_mount"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "setns"),
    *("open_by_handle_at", "name_to_handle_at", "quotactl", "quotactl_fd"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot"),
    *("swapon", "swapoff", "acct", "syslog", "vhangup"),
    *("clock_settime", "settimeofday", "adjtimex", "clock_adjtime"),
)
FORBIDDEN_X86 = (
    *("iopl", "ioperm", "modify_ldt", "uselib", "ustat", "sysfs", "create_module", "query_module"),
)


class Machine:
    """The kernel's classic BPF machine, as far as filters of system calls use it."""

    def __init__(self, program: bytes) -> None:
        self._code = list(struct.iter_unpack("<HBBI", program))
        #: What the last run looked at in the data, and how many instructions it took.
        self.seen: set[int] = set()
        self.steps = 0

    def run(self, data: bytes) -> int:
        self.seen = set()
        self.steps = at = register = 0
        while True:
            operation, if_true, if_false, value = self._code[at]
            at += 1
            self.steps += 1
            match operation:
                case 0x20:
                    self.seen.add(value)
                    (register,) = struct.unpack_from("<I", data, value)
                case 0x54:
                    register &= value
                case 0x05:
                    at += value
                case 0x15:
                    at += if_true if register == value else if_false
                case 0x35:
                    at += if_true if register >= value else if_false
                case 0x45:
                    at += if_true if register & value else if_false
                case 0x06:
                    return int(value)
                case _:
                    raise AssertionError(f"the kernel has no operation {operation:#x} here")


class Filter:
    """The filter of an architecture: a call goes in, a word comes out."""

    def __init__(self, machine: str, *, strict: bool = False) -> None:
        self.about = syscalls.MACHINES[machine]
        self.machine = Machine(seccomp.program(machine, strict=strict))

    def says(self, call: str | int, *arguments: int, audit: int | None = None) -> str:
        """Return "allow", "kill" or the name of an errno."""
        number = call if isinstance(call, int) else self.number(call)
        six = [each & (1 << 64) - 1 for each in (*arguments, *[0] * 6)][:6]
        audit = self.about.audit if audit is None else audit
        answer = self.machine.run(struct.pack("<IIQ6Q", number, audit, 0x1234, *six))
        if answer == 0x7FFF_0000:
            return "allow"
        if answer == 0x8000_0000:
            return "kill"
        assert answer >> 16 == 0x5, f"{answer:#x} is no answer of ours"
        return NAMES[answer & 0xFFFF]

    def number(self, name: str) -> int:
        """Return the number of a call; the architecture must have it."""
        tables = (*syscalls.REFUSED.values(), syscalls.ABSENT, syscalls.CHECKED, syscalls.STRICT)
        number = next(table[name] for table in tables if name in table)[self.about.column]
        assert number is not None, f"no {name} here"
        return number

    def has(self, name: str) -> bool:
        return syscalls.CHECKED[name][self.about.column] is not None


def calls_of(machine: str, *tables: dict[str, syscalls.Numbers]) -> set[int]:
    column = syscalls.MACHINES[machine].column
    numbers = {numbers[column] for table in tables for numbers in table.values()}
    return {number for number in numbers if number is not None}


# ------------------------------------------------------------------------------ calls by number


@BOTH
@pytest.mark.parametrize("strict", [False, True])
def test_what_is_forbidden_gets_eperm(machine: str, *, strict: bool) -> None:
    """Each call that reaches around the sandbox is refused, whatever its arguments are."""
    rules = Filter(machine, strict=strict)
    for name in FORBIDDEN + (FORBIDDEN_X86 if machine == X86 else ()):
        assert rules.says(name) == rules.says(name, *[-1] * 6) == EPERM, name


@BOTH
@pytest.mark.parametrize("strict", [False, True])
def test_each_number_gets_what_the_tables_say(machine: str, *, strict: bool) -> None:
    """Every number up to far beyond the newest is refused, absent, checked or allowed as listed."""
    rules = Filter(machine, strict=strict)
    refused = calls_of(machine, *syscalls.REFUSED.values())
    refused |= calls_of(machine, syscalls.STRICT) if strict else set()
    checked = calls_of(machine, syscalls.CHECKED) - refused
    absent = calls_of(machine, syscalls.ABSENT) | set(range(syscalls.NEWEST + 1, 700))
    absent |= set(range(*rules.about.unused))
    assert not refused & absent
    for number in set(range(700)) - checked:
        wanted = EPERM if number in refused else ENOSYS if number in absent else "allow"
        assert rules.says(number) == rules.says(number, *[-1] * 6) == wanted, number


@BOTH
def test_no_number_has_two_meanings(machine: str) -> None:
    """Within an architecture, the tables name each number once."""
    column = syscalls.MACHINES[machine].column
    tables = (*syscalls.REFUSED.values(), syscalls.ABSENT, syscalls.CHECKED)
    listed = [numbers[column] for table in tables for numbers in table.values()]
    given = [number for number in listed if number is not None]
    assert len(given) == len(set(given))
    assert max(given) <= syscalls.NEWEST


@BOTH
def test_what_is_simply_allowed_is_seen_so_by_the_kernel(machine: str) -> None:
    """Nothing but architecture and number is looked at: the kernel then asks no filter at all."""
    rules = Filter(machine)
    looked_at_arguments = set()
    for number in range(700):
        rules.says(number)
        if not rules.machine.seen <= {0, 4}:
            looked_at_arguments.add(number)
    assert looked_at_arguments == calls_of(machine, syscalls.CHECKED)


@BOTH
def test_no_call_waits_for_a_long_list(machine: str) -> None:
    """A hundred ranges are told apart in few instructions: for kernels that ask each time."""
    rules = Filter(machine)
    steps = []
    for number in set(range(700)) - calls_of(machine, syscalls.CHECKED):
        rules.says(number)
        steps.append(rules.machine.steps)
    assert max(steps) <= 16


@BOTH
def test_calls_that_cannot_be_checked_do_not_exist(machine: str) -> None:
    """clone3 and openat2 keep their flags in memory; ENOSYS makes libraries use the older ones."""
    rules = Filter(machine)
    assert rules.says("clone3") == rules.says("openat2") == ENOSYS


@BOTH
def test_calls_of_the_future_do_not_exist(machine: str) -> None:
    """A number that is newer than the list gets ENOSYS, not a free pass."""
    rules = Filter(machine)
    for number in (syscalls.NEWEST + 1, 471, 1000, 0x3FFF_FFFF):
        assert rules.says(number) == ENOSYS
    assert rules.says(syscalls.NEWEST) == "allow"


@BOTH
def test_another_architecture_kills(machine: str) -> None:
    """Whoever enters the kernel as another architecture is killed, whatever the number is."""
    rules = Filter(machine)
    others = {0x4000_0003, 0x4000_0028, 0xC000_003E, 0xC000_00B7, 0, LOW} - {rules.about.audit}
    assert len(others) == 5
    for audit in others:
        for number in (0, rules.number("ptrace"), 0x4000_0000, LOW):
            assert rules.says(number, audit=audit) == "kill"


def test_x32_kills() -> None:
    """The same calls with 32-bit pointers, which would pass by every check, are not entered."""
    rules = Filter(X86)
    for number in (0, 39, 56, 101, 520, 0x3FFF_FFFF):
        assert rules.says(0x4000_0000 + number) == "kill"
    assert rules.says(0xFFFF_FFFE) == "kill"
    # No call at all, as tracers say it.
    assert rules.says(LOW) == ENOSYS


def test_x32_calls_under_their_old_numbers_do_not_exist() -> None:
    """Kernels before 5.4 also take 512 to 547 without the bit of x32: execve, ptrace and more."""
    rules = Filter(X86)
    assert {rules.says(number) for number in range(512, 548)} == {ENOSYS}


def test_high_numbers_do_not_exist_on_aarch64() -> None:
    """There is no x32 there: such a number is no call."""
    rules = Filter(ARM)
    assert {rules.says(number) for number in (0x4000_0000, 0x4000_0065, LOW)} == {ENOSYS}


# ------------------------------------------------------------------- namespaces and personality

NAMESPACES = {
    "mount": 0x0002_0000,
    "cgroup": 0x0200_0000,
    "uts": 0x0400_0000,
    "ipc": 0x0800_0000,
    "user": 0x1000_0000,
    "pid": 0x2000_0000,
    "net": 0x4000_0000,
}


@BOTH
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_no_new_namespace(machine: str, namespace: str) -> None:
    """Each flag is refused, alone, with others, and with anything in the half nobody reads."""
    rules = Filter(machine)
    flag = NAMESPACES[namespace]
    for flags in (flag, flag | signal.SIGCHLD, flag | 0x3D_0F00, flag | HIGH):
        assert rules.says("clone", flags) == EPERM
        assert rules.says("unshare", flags) == EPERM


@BOTH
def test_processes_and_threads_start(machine: str) -> None:
    """The flags of fork, vfork and threads pass; the half that the kernel ignores is ignored."""
    rules = Filter(machine)
    for flags in (signal.SIGCHLD, 0x0120_0011, 0x4111, 0x003D_0F00, 0x8000_0000 | 0x11):
        assert rules.says("clone", flags) == rules.says("clone", flags | HIGH) == "allow"
    # A namespace's bit counts only in the low half: the kernel does not see this one.
    assert rules.says("clone", NAMESPACES["user"] << 32) == "allow"


@BOTH
def test_unshare_knows_what_it_allows(machine: str) -> None:
    """Files, directory, semaphores; no time namespace, nor any flag that came later."""
    rules = Filter(machine)
    for flags in (0, 0x200, 0x400, 0x0004_0000, 0x0004_0600, 0x0001_0900):
        assert rules.says("unshare", flags) == "allow"
    for flags in (0x80, 0x0010_0000, 0x0080_0000, 1 << 32, 0x400 | 1 << 63):
        assert rules.says("unshare", flags) == EPERM


@BOTH
def test_limits_of_other_processes(machine: str) -> None:
    """A process sets its own and reads those of others; pids are ints, pointers are not."""
    rules = Filter(machine)
    assert rules.says("prlimit64", 0, 7, 0x1000) == "allow"
    assert rules.says("prlimit64", HIGH, 7, 0x1000) == "allow"
    assert rules.says("prlimit64", 42, 7, 0, 0x1000) == "allow"
    for pointer in (0x1000, 1 << 32, HIGH):
        assert rules.says("prlimit64", 42, 7, pointer, 0) == EPERM


@BOTH
def test_personality(machine: str) -> None:
    """Asking, the native one, and one without random addresses; nothing that maps page 0."""
    rules = Filter(machine)
    for value in (LOW, 0, 0x0004_0000):
        assert rules.says("personality", value) == rules.says("personality", value | HIGH)
        assert rules.says("personality", value) == "allow"
    for value in (0x0010_0000, 0x0040_0000, 0x0044_0000, 8, 1):
        assert rules.says("personality", value) == rules.says("personality", value | HIGH) == EPERM


# ------------------------------------------------------------------------- terminals and sockets


@BOTH
def test_terminals_are_not_typed_into(machine: str) -> None:
    """TIOCSTI, TIOCLINUX and TIOCSETD are refused, also behind a high half; the rest works."""
    rules = Filter(machine)
    for command in (0x5412, 0x541C, 0x5423):
        assert rules.says("ioctl", 1, command) == rules.says("ioctl", 1, command | HIGH) == EPERM
    for command in (0x5401, 0x5413, 0x541B, 0x5421, 0x8912):
        assert rules.says("ioctl", 0x5412, command, 0x5412) == "allow"


STREAM, DATAGRAM, RAW, SEQUENCE, PACKET = 1, 2, 3, 5, 10
KIND_FLAGS = 0x8_0800  # SOCK_CLOEXEC | SOCK_NONBLOCK


@BOTH
def test_socket_families(machine: str) -> None:
    """Unix, IPv4, IPv6 and netlink; no family else, neither as a socket nor as a pair."""
    rules = Filter(machine)
    for family in (1, 2, 10, 16):
        assert rules.says("socket", family | HIGH, STREAM) == "allow"
    for family in (set(range(50)) | {LOW}) - {1, 2, 10, 16}:
        assert rules.says("socket", family, STREAM) == EPERM
        assert rules.says("socket", family | HIGH, DATAGRAM) == EPERM


@BOTH
def test_pairs_are_unix_ones(machine: str) -> None:
    """A pair is made by the family's code as well, so only the one that is needed passes."""
    rules = Filter(machine)
    assert rules.says("socketpair", 1, STREAM) == rules.says("socketpair", 1 | HIGH) == "allow"
    assert {rules.says("socketpair", family) for family in range(2, 50)} == {EPERM}


@BOTH
@pytest.mark.parametrize("family", [2, 10])
def test_internet_sockets_are_tcp_udp_and_ping(machine: str, family: int) -> None:
    """No raw sockets; no protocol that reaches TCP servers past Landlock, or loads a module."""
    rules = Filter(machine)
    for kind in (STREAM, DATAGRAM, STREAM | KIND_FLAGS, DATAGRAM | HIGH):
        for protocol in (0, 1, 6, 17, 58, 6 | HIGH):
            assert rules.says("socket", family, kind, protocol) == "allow"
        for protocol in (262, 256, 132, 33, 136, 115, 255, LOW, 262 | HIGH):
            assert rules.says("socket", family, kind, protocol) == "EPROTONOSUPPORT"
    for kind in (RAW, RAW | KIND_FLAGS, RAW | HIGH, PACKET, SEQUENCE, 6, 4, 0):
        assert rules.says("socket", family, kind, 0) == EPERM
        assert rules.says("socket", family, kind, 6) == EPERM


@BOTH
def test_netlink_is_for_routes(machine: str) -> None:
    """Name look-ups ask for routes; sockets of others, audit, filters and so on are not asked."""
    rules = Filter(machine)
    for kind in (RAW, DATAGRAM | KIND_FLAGS):
        assert rules.says("socket", 16, kind, 0) == rules.says("socket", 16, kind, HIGH) == "allow"
        assert {rules.says("socket", 16, kind, protocol) for protocol in range(1, 25)} == {EPERM}


@BOTH
def test_sending_does_not_connect(machine: str) -> None:
    """MSG_FASTOPEN, which Landlock does not see, is not there; other flags are."""
    rules = Filter(machine)
    for call, before in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        others = [0x2000_0000] * before
        for flags in (0x2000_0000, 0x2000_4000, 0x2000_0000 | HIGH):
            assert rules.says(call, *others, flags) == "EOPNOTSUPP"
        for flags in (0, 0x4000, 0x40, LOW & ~0x2000_0000, 0x2000_0000 << 32):
            assert rules.says(call, *others, flags) == "allow"


@BOTH
def test_tcp_stays_tcp(machine: str) -> None:
    """TCP_ULP is refused; the same number at other levels, and other options, are not."""
    rules = Filter(machine)
    assert rules.says("setsockopt", 3, 6, 31) == EPERM
    assert rules.says("setsockopt", 3, 6 | HIGH, 31 | HIGH) == EPERM
    for level, option in ((6, 1), (1, 31), (6, 30), (41, 26)):
        assert rules.says("setsockopt", 31, level, option) == "allow"


# -------------------------------------------------------------------------------- kinds of files

#: The call -> how many arguments are before the mode.
MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1, "mknod": 1}
MODES |= {"mknodat": 2}
CREATING = {"open": 1, "openat": 2}


@BOTH
def test_no_file_becomes_set_user_id(machine: str) -> None:
    """No call that takes a mode takes that bit; set-group-id is for shared directories."""
    rules = Filter(machine)
    for call, before in MODES.items():
        if not rules.has(call):
            continue
        others = [0o4000] * before
        for mode in (0o4755, 0o6755, 0o4000, 0o107777, 0o4755 | HIGH, 0o4755 | 1 << 16):
            assert rules.says(call, *others, mode) == EPERM, call
        for mode in (0o755, 0o2755, 0o1777, 0o3777, 0o644 | 0o4000 << 32):
            assert rules.says(call, *others, mode, 0o4000) == "allow", call


@BOTH
def test_no_file_is_made_set_user_id(machine: str) -> None:
    """Opening refuses the bit when it makes a file; else its mode may be anything, as ever."""
    rules = Filter(machine)
    for call, before in CREATING.items():
        if not rules.has(call):
            continue
        path = [0x40] * before
        for flags in (0x40, 0x41, 0x241, 0x0040_0000, 0x0041_4002, 0x40 | HIGH):
            assert rules.says(call, *path, flags, 0o4755) == EPERM
            assert rules.says(call, *path, flags, 0o4755 | HIGH) == EPERM
            assert rules.says(call, *path, flags, 0o2644) == "allow"
        for flags in (0, 2, 0x1_0000, 0x4000, 0x40 << 32):
            assert rules.says(call, *path, flags, 0o4755) == "allow"


@BOTH
def test_no_device_nodes(machine: str) -> None:
    """Plain files, pipes and sockets can be made, devices cannot; the kernel reads 16 bits."""
    rules = Filter(machine)
    for call, before in (("mknod", 1), ("mknodat", 2)):
        if not rules.has(call):
            continue
        path = [0] * before
        for kind in (0, 0o100000, 0o010000, 0o140000):
            for mode in (kind | 0o644, kind | 0o600 | HIGH, kind | 0x00FF_0000):
                assert rules.says(call, *path, mode) == "allow"
        for kind in (0o020000, 0o060000, 0o040000, 0o120000, 0o030000):
            for mode in (kind | 0o644, kind | HIGH, kind | 0x00FF_0000):
                assert rules.says(call, *path, mode) == EPERM


# ------------------------------------------------------------------------------------ strictness


@BOTH
def test_strict_starts_no_program_and_makes_no_socket(machine: str) -> None:
    """execve, execveat and every socket are refused; pairs and forks, which workers need, not."""
    strict, usual = Filter(machine, strict=True), Filter(machine)
    for call in ("execve", "execveat"):
        assert strict.says(call) == EPERM
        assert usual.says(call) == "allow"
    assert {strict.says("socket", family, STREAM) for family in range(50)} == {EPERM}
    assert strict.says("socketpair", 1, STREAM) == "allow"
    assert strict.says("clone", signal.SIGCHLD) == "allow"
    assert strict.says("sendto", 3, 0, 0, 0x4000) == "allow"


# ------------------------------------------------------------------------- the program as such


@BOTH
@pytest.mark.parametrize("strict", [False, True])
def test_the_kernel_accepts_the_form(machine: str, *, strict: bool) -> None:
    """Whole instructions, at most 4096; every jump stays inside, the last one is a verdict."""
    program = seccomp.program(machine, strict=strict)
    assert len(program) % 8 == 0
    code = list(struct.iter_unpack("<HBBI", program))
    assert len(code) <= 4096
    assert code[-1][0] == 0x06
    for at, (operation, if_true, if_false, value) in enumerate(code):
        if operation == 0x20:
            assert value % 4 == 0
            assert value < 64
        far = value if operation == 0x05 else max(if_true, if_false)
        assert at + 1 + far <= len(code) - (operation != 0x06)


@trials(100)
@given(st.dictionaries(st.integers(1, LOW), st.integers(0, 5), max_size=700), st.data())
def test_ranges_are_found(keys: dict[int, int], data: st.DataObject) -> None:
    """The greatest key that is not above decides, near or far, however many there are."""
    ranges = {0: 9} | keys
    machine = Machine(bpf.load(0, bpf.by_range({k: bpf.verdict(v) for k, v in ranges.items()})))
    starts = sorted(ranges)
    edges = st.sampled_from(starts).flatmap(lambda k: st.sampled_from([max(k - 1, 0), k]))
    for number in data.draw(st.lists(edges | st.integers(0, LOW), max_size=20)):
        wanted = ranges[starts[bisect_right(starts, number) - 1]]
        assert machine.run(struct.pack("<I", number)) == wanted


@pytest.mark.parametrize("length", [1, 254, 255, 256, 257, 3000])
def test_decisions_step_over_any_length(length: int) -> None:
    """A decision reaches 255 instructions, a longer way takes a jump of its own."""
    long = bpf.verdict(1)
    for _ in range(length - 1):
        long = bpf.keep(LOW, long)
    machine = Machine(bpf.load(0, bpf.equal(7, yes=long, no=bpf.verdict(2))))
    assert machine.run(struct.pack("<I", 7)) == 1
    assert machine.run(struct.pack("<I", 8)) == 2


# ----------------------------------------------------------------------------------- elsewhere


@pytest.mark.parametrize("name", ["riscv64", "i686", "armv8l", "aarch64_be", ""])
def test_an_unknown_architecture_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without numbers there is no filter: said beforehand, and raised when it is tried."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=name))
    told = seccomp.available()
    assert told.startswith("seccomp architecture: ENOEXEC: ")
    assert name in told
    with pytest.raises(OSError, match="seccomp architecture"):
        seccomp.install()
    with pytest.raises(OSError, match="64-bit x86_64 and aarch64 are known"):
        seccomp.program(name)


def test_a_32_bit_interpreter_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's name does not tell: a filter for it would kill a 32-bit Python at once."""
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert seccomp.available().startswith("seccomp architecture: ENOEXEC: ")
