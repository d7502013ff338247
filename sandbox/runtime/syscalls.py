"""The system calls that the seccomp filter knows, by name: their numbers, and why they are refused.

Numbers are (x86_64, aarch64), None where an architecture never had the call. From 403 on both use
the same ones. Contract: the kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and
`scripts/syscall.tbl`, as of Linux 6.18.
"""

from __future__ import annotations

from typing import Final

Numbers = tuple[int | None, int | None]


class Machine:
    """What differs between architectures; a plain class, as a named tuple costs 1 ms at import."""

    def __init__(
        self, column: int, *, audit: int, seccomp: int, unused: tuple[int, int], foreign: int
    ) -> None:
        #: Where its numbers are in `Numbers`.
        self.column = column
        #: AUDIT_ARCH_*: what the kernel says that a call was made as.
        self.audit = audit
        #: The call that installs a filter.
        self.seccomp = seccomp
        #: Numbers that never were a call: the first, and one past the last.
        self.unused = unused
        #: From here on, and up to `NO_CALL`, are the same calls with a data model that the filter
        #: does not check; 0 where there are none.
        self.foreign = foreign


MACHINES: Final = {
    "x86_64": Machine(
        0,
        audit=0xC000_003E,
        seccomp=317,
        unused=(337, 424),
        foreign=0x4000_0000,  # x32
    ),
    "aarch64": Machine(1, audit=0xC000_00B7, seccomp=277, unused=(295, 424), foreign=0),
}
#: The highest number that is judged here. Later calls do not exist in a sandbox, whatever they do;
#: nor do 512 to 547, under which kernels before 5.4 take calls of x32 as if they were x86_64's.
NEWEST: Final = 469
#: What programs and tracers use as the number of no call at all; the kernel answers ENOSYS.
NO_CALL: Final = 0xFFFF_FFFF

#: Why -> the calls that always fail with EPERM.
REFUSED: Final[dict[str, dict[str, Numbers]]] = {
    # Large, young, or made for tools: where most kernel holes of the last years were.
    "kernel interfaces that functions do not need": {
        "io_uring_setup": (425, 425),  # also does what is refused below, unseen by any filter
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "userfaultfd": (323, 282),  # stops the kernel in the middle of a copy: the exploit's friend
        "bpf": (321, 280),
        "perf_event_open": (298, 241),
        "fanotify_init": (300, 262),
        "fanotify_mark": (301, 263),
        "modify_ldt": (154, None),
        "lookup_dcookie": (212, 18),
        "nfsservctl": (180, 42),
        "uselib": (134, None),
        "ustat": (136, None),
        "sysfs": (139, None),
        "_sysctl": (156, None),
    },
    # Siblings of a function share a uid; in the degraded levels so do other functions.
    "memory and descriptors of other processes": {
        "ptrace": (101, 117),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "process_madvise": (440, 440),
        "process_mrelease": (448, 448),
        "pidfd_getfd": (438, 438),
        "kcmp": (312, 272),
        "move_pages": (279, 239),
        "migrate_pages": (256, 238),
    },
    # Keyrings belong to a uid or a session, and to no namespace.
    "the kernel's keyrings": {
        "add_key": (248, 217),
        "request_key": (249, 218),
        "keyctl": (250, 219),
    },
    # A mount can put anything under a path that others trust, or take a read-only cover away.
    "the file tree": {
        "mount": (165, 40),
        "umount2": (166, 39),
        "pivot_root": (155, 41),
        "chroot": (161, 51),
        "open_tree": (428, 428),
        "open_tree_attr": (467, 467),
        "move_mount": (429, 429),
        "fsopen": (430, 430),
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fspick": (433, 433),
        "mount_setattr": (442, 442),
        "name_to_handle_at": (303, 264),  # a handle names a file wherever it is, past every root
        "open_by_handle_at": (304, 265),
        "quotactl": (179, 60),
        "quotactl_fd": (443, 443),
    },
    # With unshare and clone below: what comes with a new namespace is capabilities in it.
    "other namespaces": {
        "setns": (308, 268),
    },
    # Privileged anyway; refused too, because a host that runs as root may have dropped less.
    "the machine itself": {
        "reboot": (169, 142),
        "kexec_load": (246, 104),
        "kexec_file_load": (320, 294),
        "init_module": (175, 105),
        "finit_module": (313, 273),
        "delete_module": (176, 106),
        "create_module": (174, None),
        "query_module": (178, None),
        "get_kernel_syms": (177, None),
        "swapon": (167, 224),
        "swapoff": (168, 225),
        "acct": (163, 89),
        "settimeofday": (164, 170),
        "clock_settime": (227, 112),
        "clock_adjtime": (305, 266),
        "adjtimex": (159, 171),
        "sethostname": (170, 161),
        "setdomainname": (171, 162),
        "iopl": (172, None),
        "ioperm": (173, None),
        "syslog": (103, 116),  # the kernel's log: addresses, and what others do
        "vhangup": (153, 58),
    },
}

#: Calls that take what matters from memory, where a filter cannot look: on older kernels they do
#: not exist, and so every program has another way (clone; open, openat).
ABSENT: Final[dict[str, Numbers]] = {
    "clone3": (435, 435),
    "openat2": (437, 437),
}

#: Calls whose arguments decide.
CHECKED: Final[dict[str, Numbers]] = {
    "clone": (56, 220),
    "unshare": (272, 97),
    "personality": (135, 92),
    "prlimit64": (302, 261),
    "ioctl": (16, 29),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "setsockopt": (54, 208),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "open": (2, None),
    "openat": (257, 56),
    "creat": (85, None),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
}

#: Refused in addition where a function may neither start a program nor make a socket.
STRICT: Final[dict[str, Numbers]] = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "socket": CHECKED["socket"],
}
