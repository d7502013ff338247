"""The escape table: each attack against each kind of sandbox, one test a cell (sandbox.md 2).

The runs are what takes time: one for each mode, begun by the first test that asks for it.
"""

from __future__ import annotations

import os

import pytest
from escapes import modes, table
from escapes.attacks import ALONE, ATTACKS, USES
from escapes.expected import open_by_design, refused_by_design
from escapes.modes import (
    BARE,
    OUTBOUND,
    PROCESS,
    STANDARD,
    STRICT,
    TRUSTED,
    WITHOUT,
    ImpossibleError,
    Mode,
    Result,
)
from real.leaks import no_leaks

pytestmark = pytest.mark.real

CLOSED = (*STANDARD, *OUTBOUND, *STRICT, *PROCESS)
SANDBOXED = (*CLOSED, *TRUSTED)
#: What not every kernel, machine or user has: the control tells which of them proves nothing here.
MAY_BE_ABSENT = {
    "administer", "bpf", "cgroup_files", "devices", "file_handle", "host_interfaces", "i386_calls",
    "io_uring", "kernel_crypto", "kernel_log", "kernel_memory", "line_discipline", "load_module",
    "management_port_fast_open", "management_port_other_protocols", "management_port_v6", "netlink",
    "page_out_platform", "perf_events", "personality", "ports_of_hardware", "protect_from_oom",
    "raise_limit", "rare_families", "replace_kernel", "sysrq", "type_on_terminal", "userfaultfd",
    "vsock", "write_sys", "x32_calls",
}  # fmt: skip


def result(mode: Mode) -> Result:
    """Return what the run of a mode found; skips where there can be none."""
    found = modes.run(mode)
    if isinstance(found, ImpossibleError):
        pytest.skip(f"{mode}: {found}")
    if isinstance(found, Exception):
        pytest.fail(f"the run has failed: {found}", pytrace=False)
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_without_a_sandbox_the_attack_goes_through(name: str) -> None:
    """The control: an attack that fails anyway would prove nothing where it is stopped."""
    bare = BARE[0] if os.getuid() == 0 else BARE[1]
    said = result(bare).verdicts(name)["program"]
    assert not said.startswith("broken"), said
    if said.startswith("stopped") and (not bare.root or name in MAY_BE_ABSENT):
        pytest.skip(f"not to be had here: {said[:80]}")
    assert said.startswith("open"), said


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("mode", CLOSED, ids=str)
def test_the_attack_is_stopped(mode: Mode, name: str) -> None:
    """From a program and from a function; what is open by design is open, and listed."""
    found = result(mode).verdicts(name)
    if mode not in STRICT or name not in ALONE:  # strict starts no programs
        assert found, "it was not tried"
    by_design = open_by_design(mode).get(name)
    for kind, said in found.items():
        if by_design is None:
            assert said.startswith("stopped: "), f"{kind}: {said}"
        elif name not in table.absent(BARE[0] if mode.root else BARE[1]):
            assert said.startswith("open: "), f"{kind}: closed by now? Then say so: {said}"


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("mode", SANDBOXED, ids=str)
def test_the_use_works(mode: Mode, name: str) -> None:
    """A sandbox in which nothing works would stop every attack."""
    refused = refused_by_design(mode).get(name) if mode not in TRUSTED else None
    for kind, said in result(mode).verdicts(name).items():
        wanted = "works: " if refused is None else "refused: "
        assert said.startswith(wanted), f"{kind}: {said}"


@pytest.mark.parametrize("mode", [*BARE, *SANDBOXED, *WITHOUT], ids=str)
def test_nothing_is_left_and_nothing_is_spoiled(mode: Mode) -> None:
    """After a run all is as before: processes, mounts, cgroups, folders, descriptors, the bait."""
    with no_leaks():
        found = result(mode)
    assert found.left == []
    assert found.spoiled == []
    assert found.broken == {}


@pytest.mark.parametrize("mode", SANDBOXED, ids=str)
def test_the_sandbox_tells_what_it_is(mode: Mode) -> None:
    """The layers that the report names are those that the mode can have; a lack has its reason."""
    told = result(mode).layers
    assert told["level"] == ("process" if mode in PROCESS else mode.level)
    assert told["no_new_privs"] is True
    assert bool(told["namespaces"]) == (mode not in PROCESS)
    assert told["seccomp"] == (mode not in TRUSTED)
    assert bool(told["landlock_abi"]) == (mode not in TRUSTED)
    assert told["network"] == mode.network
    if mode in PROCESS:
        assert "unshare" in told["degraded_because"]
    else:
        assert told["degraded_because"] == ""


@pytest.mark.parametrize("mode", TRUSTED, ids=str)
def test_even_trusted_code_does_not_inherit_the_secret(mode: Mode) -> None:
    """No process in the sandbox was started with the platform's environment (sandbox.md T1)."""
    for kind, said in result(mode).verdicts("inherited_environ").items():
        assert said.startswith("stopped"), f"{kind}: {said}"


@pytest.mark.parametrize("mode", WITHOUT, ids=str)
def test_the_published_table_tells_what_opens_without_one_layer(mode: Mode) -> None:
    """What goes through when a layer is left out is what layers.md marks, no more and no less."""
    opened = result(mode).open
    marked = table.published()[mode.root, mode.without]
    assert sorted(opened - marked) == []
    assert sorted(marked - opened - table.absent(BARE[0] if mode.root else BARE[1])) == []
