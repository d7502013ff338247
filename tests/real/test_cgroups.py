"""The kernel keeps the limits of a leaf, and nothing stays of it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from needs import MISSING

from sandbox.cgroup_leaf import Leaf
from sandbox.cgroups import Cgroups

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

MIB = 1 << 20
WAIT_S = 20
ROOT = Path(__file__).parents[2]

#: Each waits for one byte (it stands in its leaf then), and every process ends by itself.
ALLOCATE = "import sys; sys.stdin.read(1); kept = bytearray(int(sys.argv[1])); print(len(kept))"
FORK = """
import os, sys, time
sys.stdin.read(1)
for made in range(int(sys.argv[1])):
    try:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    except BlockingIOError:
        break
else:
    made += 1
print(made, flush=True)
"""
SCATTER = """
import os, sys, time
sys.stdin.read(1)
reads, writes = os.pipe()
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(writes, b"%d " % os.getpid())
        time.sleep(30)
        os._exit(0)
    os.wait()
found = b""
while found.count(b" ") < int(sys.argv[1]):
    found += os.read(reads, 100)
print(found.decode(), flush=True)
time.sleep(float(sys.argv[2]))
"""
BURN = """
import sys, time
sys.stdin.read(1)
until = time.process_time() + float(sys.argv[1])
while time.process_time() < until:
    pass
"""
#: A platform in a unit of its own, that looks for its cgroups twice.
DIVIDE = """
import json, os, sys
from pathlib import Path
from sandbox import cgroups
unit = Path(sys.argv[1])
(unit / "cgroup.procs").write_text(str(os.getpid()))
found = [cgroups.Cgroups.discover("x") for _ in range(2)]
leaf = found[1].leaf("a")
own = next(line for line in open("/proc/self/cgroup") if line.startswith("0::"))
print(json.dumps({
    "kinds": [each.kind for each in found],
    "reasons": [each.reason for each in found],
    "paths": [str(place.path) for each in found for place in each.places],
    "own": own.strip().partition("::")[2],
    "leaf": sorted((leaf.places[0].path / "cgroup.controllers").read_text().split()),
}))
"""


@pytest.fixture
def discover() -> Iterator[Callable[[], Cgroups]]:
    """Return a way to instances of the test's own; all that they made goes, whatever happens."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found: list[Cgroups] = []

    def one() -> Cgroups:
        cgroups = Cgroups.discover(f"test-{uuid.uuid4().hex}")
        found.append(cgroups)
        if not {"memory", "pids", "cpu"} <= cgroups.controllers:
            pytest.skip(f"{MISSING}: writable cgroups ({cgroups.reason})")
        return cgroups

    yield one
    for cgroups in found:
        try:
            assert not cgroups.sweep().left
            cgroups.close()
            assert not any(place.path.exists() for place in cgroups.places)
        finally:
            for place in cgroups.places:
                tidy(place.path)


def tidy(path: Path) -> None:
    """Remove a cgroup with all below it, without a word of the code that is tested here."""
    until = time.monotonic() + WAIT_S
    while path.exists() and time.monotonic() < until:
        for folder, _, _ in os.walk(path, topdown=False):
            with suppress(OSError):
                for pid in Path(folder, "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            with suppress(OSError):
                os.rmdir(folder)
        time.sleep(0.01)
    with suppress(OSError):
        path.parent.rmdir()  # shared with other instances


@pytest.fixture
def cgroups(discover: Callable[[], Cgroups]) -> Cgroups:
    return discover()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start(leaf, code, *arguments)` runs Python code in a leaf; it is ended at the end."""
    with ExitStack() as stack:

        def one(leaf: Leaf, code: str, *arguments: object) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            leaf.add(process.pid)
            assert process.stdin is not None
            process.stdin.write("x")
            process.stdin.flush()
            return process

        yield one


Start = Callable[..., subprocess.Popen[str]]


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process says."""
    assert process.stdout is not None
    return process.stdout.readline()


def gone(pids: list[int], action: Callable[[], object]) -> list[int]:
    """Do something that should end processes; return those that have not ended in time."""
    with ExitStack() as stack:
        watched = {}
        for pid in pids:
            descriptor = os.pidfd_open(pid)
            stack.callback(os.close, descriptor)
            watched[pid] = descriptor
        action()
        return [
            pid
            for pid, descriptor in watched.items()
            if not select.select([descriptor], [], [], WAIT_S)[0]
        ]


def by_signals(cgroups: Cgroups) -> Cgroups:
    """Return the same without v2, whose cgroup.kill makes everything easy."""
    places = tuple(place for place in cgroups.places if place.version == 1)
    if not places:
        pytest.skip("cgroup v1 is not mounted here")
    return Cgroups("v1", "", places)


class TestMemory:
    def test_more_than_the_limit_kills(self, cgroups: Cgroups, start: Start) -> None:
        """200 MiB under a limit of 64 MiB is death, and the kernel has counted it."""
        leaf = cgroups.leaf("a")
        assert leaf.limit(64 * MIB) == {"memory"}
        process = start(leaf, ALLOCATE, 200 * MIB)
        assert process.wait(WAIT_S) == -signal.SIGKILL
        assert leaf.oom_kills() == 1
        assert 32 * MIB < (leaf.peak_bytes() or 0) <= 64 * MIB
        assert leaf.remove()

    def test_less_is_fine(self, cgroups: Cgroups, start: Start) -> None:
        """16 MiB under the same limit are given."""
        leaf = cgroups.leaf("a")
        leaf.limit(64 * MIB)
        process = start(leaf, ALLOCATE, 16 * MIB)
        assert process.wait(WAIT_S) == 0
        assert leaf.oom_kills() == 0
        assert (leaf.peak_bytes() or 0) > 16 * MIB

    def test_a_kill_is_no_lack_of_memory(self, cgroups: Cgroups, start: Start) -> None:
        """Signal 9 from anybody else is not counted."""
        leaf = cgroups.leaf("a")
        leaf.limit(64 * MIB)
        process = start(leaf, SCATTER, 0, 30)
        line(process)
        process.kill()
        process.wait(WAIT_S)
        assert leaf.oom_kills() == 0

    def test_it_can_be_changed(self, cgroups: Cgroups, start: Start) -> None:
        """A limit that was raised is the one that holds, and so is one that was lowered."""
        leaf = cgroups.leaf("a")
        for limit in (16, 128, 64):
            leaf.limit(limit * MIB)
        assert start(leaf, ALLOCATE, 40 * MIB).wait(WAIT_S) == 0
        assert start(leaf, ALLOCATE, 100 * MIB).wait(WAIT_S) == -signal.SIGKILL


class TestProcesses:
    def test_the_limit_holds(self, cgroups: Cgroups, start: Start) -> None:
        """With ten allowed, a process has nine children, as root too."""
        leaf = cgroups.leaf("a")
        assert leaf.limit(processes=10) == {"pids"}
        assert line(start(leaf, FORK, 20)) == "9\n"
        assert leaf.remove()

    def test_fewer_are_fine(self, cgroups: Cgroups, start: Start) -> None:
        """With thirty allowed, it has all twenty that it wants."""
        leaf = cgroups.leaf("a")
        leaf.limit(processes=30)
        assert line(start(leaf, FORK, 20)) == "20\n"


def test_processor_time(cgroups: Cgroups, start: Start) -> None:
    """A tenth of a processor is throttled, by the kernel's count; its time is known after it."""
    leaf = cgroups.leaf("a")
    assert leaf.limit(cpu_cores=0.1) == {"cpu"}
    assert start(leaf, BURN, 0.05).wait(WAIT_S) == 0
    place = next(place for place in leaf.places if "cpu" in place.controllers)
    stat = dict(each.split() for each in (place.path / "cpu.stat").read_text().splitlines())
    assert int(stat["nr_throttled"]) > 0
    assert (leaf.cpu_seconds() or 0) >= 0.05


class TestEnding:
    @pytest.mark.parametrize("way", ["as it is", "signals"])
    def test_nobody_survives(self, cgroups: Cgroups, start: Start, way: str) -> None:
        """Ten processes in sessions of their own, orphans all, end by one call."""
        used = cgroups if way == "as it is" else by_signals(cgroups)
        leaf = used.leaf("a")
        process = start(leaf, SCATTER, 10, 30)
        pids = [int(pid) for pid in line(process).split()]
        assert len(pids) == 10
        assert gone([*pids, process.pid], leaf.kill) == []
        assert leaf.remove()

    @pytest.mark.parametrize("way", ["as it is", "signals"])
    def test_removal_kills_who_is_left(self, cgroups: Cgroups, start: Start, way: str) -> None:
        """A leaf with processes goes with them, before anybody has reaped the dead."""
        used = cgroups if way == "as it is" else by_signals(cgroups)
        leaf = used.leaf("a")
        process = start(leaf, SCATTER, 3, 30)
        pids = [int(pid) for pid in line(process).split()]
        assert gone([*pids, process.pid], leaf.remove) == []
        assert not any(place.path.exists() for place in leaf.places)

    @pytest.mark.parametrize("way", ["as it is", "signals"])
    def test_with_cgroups_inside(self, cgroups: Cgroups, start: Start, way: str) -> None:
        """What a process made below its leaf goes too, with who is in there."""
        leaf = (cgroups if way == "as it is" else by_signals(cgroups)).leaf("a")
        process = start(leaf, SCATTER, 2, 30)
        pids = [int(pid) for pid in line(process).split()]
        for place in leaf.places:
            (place.path / "deeper").mkdir()
            (place.path / "deeper/cgroup.procs").write_text(str(pids[0]))
        assert gone([*pids, process.pid], leaf.remove) == []
        assert not any(place.path.exists() for place in leaf.places)

    def test_who_has_ended_cannot_be_added(self, cgroups: Cgroups) -> None:
        """The caller learns that the process is gone, and the leaf can still go."""
        with subprocess.Popen(["true"]) as ended:
            ended.wait(WAIT_S)
        leaf = cgroups.leaf("a")
        with pytest.raises(ProcessLookupError):
            leaf.add(ended.pid)
        assert leaf.remove()

    def test_sweep(self, discover: Callable[[], Cgroups], start: Start) -> None:
        """An orphan of a dead platform ends at the next start; another instance's lives on."""
        cgroups, other = discover(), discover()
        leaf = cgroups.leaf("a")
        process = start(leaf, SCATTER, 1, 0)
        pids = [int(pid) for pid in line(process).split()]
        process.wait(WAIT_S)
        spared = start(other.leaf("a"), SCATTER, 0, 30)
        line(spared)
        assert gone(pids, cgroups.sweep) == []
        assert not any(place.path.exists() for place in leaf.places)
        assert spared.poll() is None


def test_dividing_v2() -> None:
    """On a real v2 tree the platform moves aside, and finds its place again after that."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    top = Path("/sys/fs/cgroup")
    switch = top / "cgroup.subtree_control"
    names = switch.read_text().split() if os.access(switch, os.W_OK) else []
    if not {"memory", "pids", "cpu"} <= set(names):
        pytest.skip("needs a machine with cgroup v2 only")
    unit = top / f"taak-test-{uuid.uuid4().hex}"
    unit.mkdir()
    try:
        done = subprocess.run(
            [sys.executable, "-c", DIVIDE, str(unit)],
            cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["kinds"] == ["v2", "v2"]
        assert told["reasons"] == ["", ""]
        assert told["paths"] == [str(unit / "taak/x")] * 2
        assert told["own"].endswith("/taak-platform")
        assert told["leaf"] == ["cpu", "memory", "pids"]
    finally:
        for folder, _, _ in os.walk(unit, topdown=False):
            os.rmdir(folder)
