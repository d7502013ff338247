"""A leaf's limits, counts, killing and removal, by the files that a kernel would show."""

import errno
import os
import signal
from pathlib import Path

import pytest
from cgroup_fakes import GONE, FakeKernel

from sandbox.cgroup_leaf import Leaf
from sandbox.cgroups import CONTROLLERS

MIB = 1 << 20


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path)


def v2_leaf(kernel: FakeKernel) -> tuple[Leaf, Path]:
    """Return a leaf of v2 and its folder."""
    own = kernel.mount("", "/", *CONTROLLERS)
    return kernel.discover().leaf("a"), own / "taak/here/a"


def v1_leaf(kernel: FakeKernel) -> tuple[Leaf, dict[str, Path]]:
    """Return a leaf of v1 and its folder for each controller."""
    own = {
        "cpu": kernel.mount("cpu,cpuacct", "/", "cpu", "cpuacct"),
        "memory": kernel.mount("memory", "/", "memory"),
        "pids": kernel.mount("pids", "/", "pids"),
    }
    leaf = kernel.discover().leaf("a")
    return leaf, {name: each / "taak/here/a" for name, each in own.items()}


class Time:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def timed(leaf: Leaf, kernel: FakeKernel) -> tuple[Leaf, Time]:
    """Return the leaf under virtual time."""
    time = Time()
    return Leaf(leaf.name, leaf.places, kernel, clock=time, pause=time.pause), time


class TestLimits:
    def test_v2(self, kernel: FakeKernel) -> None:
        """Memory without swap, processes, and processor time per 100 ms."""
        leaf, folder = v2_leaf(kernel)
        assert leaf.limit(64 * MIB, 20, 0.5) == {"memory", "pids", "cpu"}
        assert (folder / "memory.max").read_text() == str(64 * MIB)
        assert (folder / "memory.swap.max").read_text() == "0"
        assert (folder / "memory.oom.group").read_text() == "0"
        assert (folder / "pids.max").read_text() == "20"
        assert (folder / "cpu.max").read_text() == "50000 100000"

    def test_v2_together(self, kernel: FakeKernel) -> None:
        """The whole leaf dies of one lack of memory only when that is asked for."""
        leaf, folder = v2_leaf(kernel)
        leaf.limit(64 * MIB, together=True)
        assert (folder / "memory.oom.group").read_text() == "1"

    def test_v1(self, kernel: FakeKernel) -> None:
        """The same in the words of v1."""
        leaf, folders = v1_leaf(kernel)
        assert leaf.limit(64 * MIB, 20, 1.5) == {"memory", "pids", "cpu"}
        assert (folders["memory"] / "memory.limit_in_bytes").read_text() == str(64 * MIB)
        assert (folders["memory"] / "memory.memsw.limit_in_bytes").read_text() == str(64 * MIB)
        assert (folders["memory"] / "memory.swappiness").read_text() == "60"
        assert (folders["pids"] / "pids.max").read_text() == "20"
        assert (folders["cpu"] / "cpu.cfs_quota_us").read_text() == "150000"

    def test_v1_without_swap_accounting(self, kernel: FakeKernel) -> None:
        """Where swap cannot be limited, the leaf is kept out of it."""
        kernel.absent = {"memory.memsw.limit_in_bytes"}
        leaf, folders = v1_leaf(kernel)
        leaf.limit(64 * MIB)
        assert (folders["memory"] / "memory.swappiness").read_text() == "0"

    def test_v1_can_be_raised(self, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
        """The kernel refuses memory above memory with swap: that rises first then."""
        leaf, folders = v1_leaf(kernel)
        write = kernel.write

        def strict(path: Path, text: str) -> None:
            both = path.parent / "memory.memsw.limit_in_bytes"
            if path.name == "memory.limit_in_bytes" and int(text) > int(both.read_text()):
                raise OSError(errno.EINVAL, "above memsw", str(path))
            write(path, text)

        monkeypatch.setattr(kernel, "write", strict)
        leaf.limit(64 * MIB)
        leaf.limit(128 * MIB)
        assert (folders["memory"] / "memory.limit_in_bytes").read_text() == str(128 * MIB)

    def test_v1_below_a_smaller_limit(self, kernel: FakeKernel) -> None:
        """More processors than a parent has is refused by v1: the parent's limit holds."""
        leaf, folders = v1_leaf(kernel)
        kernel.closed[folders["cpu"] / "cpu.cfs_quota_us"] = errno.EINVAL
        assert leaf.limit(cpu_cores=64) == {"cpu"}

    def test_none_leaves_as_it_is(self, kernel: FakeKernel) -> None:
        """What is not asked for is not written, and not said to be kept."""
        leaf, _ = v2_leaf(kernel)
        kernel.calls.clear()
        assert leaf.limit() == frozenset()
        assert leaf.limit(processes=3) == {"pids"}
        assert kernel.calls == [("pids.max", "3")]

    def test_a_refusal_is_raised(self, kernel: FakeKernel) -> None:
        """A limit that is not kept is never said to be."""
        leaf, folder = v2_leaf(kernel)
        kernel.closed[folder / "memory.max"] = errno.EPERM
        with pytest.raises(PermissionError):
            leaf.limit(64 * MIB)


class TestCounts:
    def test_v2(self, kernel: FakeKernel) -> None:
        """Kills, use, peak and processor time as the kernel counts them."""
        leaf, _ = v2_leaf(kernel)
        assert leaf.oom_kills() == 2
        assert (leaf.memory_bytes(), leaf.peak_bytes()) == (4096, 8192)
        assert leaf.cpu_seconds() == 2.5

    def test_v1(self, kernel: FakeKernel) -> None:
        """The same in the words of v1."""
        leaf, _ = v1_leaf(kernel)
        assert leaf.oom_kills() == 2
        assert (leaf.memory_bytes(), leaf.peak_bytes()) == (4096, 8192)
        assert leaf.cpu_seconds() == 1.5

    def test_what_a_kernel_does_not_count(self, kernel: FakeKernel) -> None:
        """An older kernel has no peak."""
        kernel.absent = {"memory.peak"}
        assert v2_leaf(kernel)[0].peak_bytes() is None

    def test_after_removal(self, kernel: FakeKernel) -> None:
        """A count that is gone is an error, not a zero."""
        leaf, _ = v2_leaf(kernel)
        assert leaf.remove()
        with pytest.raises(FileNotFoundError):
            leaf.oom_kills()


class TestMaking:
    def test_all_or_none(self, kernel: FakeKernel) -> None:
        """If one hierarchy refuses, the others keep no trace."""
        _, folders = v1_leaf(kernel)
        kernel.closed[folders["pids"].parent / "b"] = errno.ENOSPC
        with pytest.raises(OSError, match="No space"):
            kernel.discover().leaf("b")
        assert not any((each.parent / "b").exists() for each in folders.values())

    def test_a_name_is_taken_once(self, kernel: FakeKernel) -> None:
        """Two sandboxes never share a leaf, and the first one keeps its own."""
        _, folder = v2_leaf(kernel)
        with pytest.raises(FileExistsError):
            kernel.discover().leaf("a")
        assert folder.exists()

    def test_add(self, kernel: FakeKernel) -> None:
        """The process stands in every hierarchy."""
        leaf, folders = v1_leaf(kernel)
        leaf.add(GONE)
        assert {(each / "cgroup.procs").read_text() for each in folders.values()} == {f"{GONE}\n"}


class TestEnding:
    def test_one_write_kills(self, kernel: FakeKernel) -> None:
        """Where the kernel can kill a cgroup, it is asked once and nothing else is written."""
        leaf, folder = v2_leaf(kernel)
        kernel.put(folder, GONE)
        kernel.calls.clear()
        leaf.kill()
        assert kernel.calls == [("cgroup.kill", "1")]

    def test_forks_stop_first(self, kernel: FakeKernel) -> None:
        """Without cgroup.kill nobody may fork before the signals go out, in v1 and in v2."""
        leaf, _ = v1_leaf(kernel)
        kernel.calls.clear()
        leaf.kill()
        assert kernel.calls == [("pids.max", "0")]

    def test_or_are_frozen(self, kernel: FakeKernel) -> None:
        """An old v2 without a process limit is frozen: a kill works on the frozen."""
        kernel.absent = {"cgroup.kill"}
        kernel.mount("", "/", "memory")
        leaf = kernel.discover().leaf("a")
        kernel.calls.clear()
        leaf.kill()
        assert kernel.calls == [("cgroup.kill", "1"), ("cgroup.freeze", "1")]

    def test_we_and_strangers_are_spared(self, kernel: FakeKernel) -> None:
        """Pid 0 stands for who is not visible here; as a pid it would be our own group."""
        leaf, folders = v1_leaf(kernel)
        kernel.put(folders["memory"], 0, os.getpid())
        leaf.kill()  # this test goes on

    def test_a_number_that_is_another_process_now(
        self, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who is no longer listed once we hold the process is spared; who still is, is not."""
        leaf, folders = v1_leaf(kernel)
        signalled: list[int] = []
        monkeypatch.setattr(signal, "pidfd_send_signal", lambda _fd, how: signalled.append(how))
        procs = folders["memory"] / "cgroup.procs"
        opened, listed = os.pidfd_open, [False, True]

        def stranger(pid: int) -> int:
            procs.write_text(f"{pid}\n" if listed.pop(0) else "")
            return opened(pid)

        monkeypatch.setattr(os, "pidfd_open", stranger)
        kernel.put(folders["memory"], os.getppid())
        leaf._signal(signal.SIGKILL)
        assert signalled == []
        kernel.put(folders["memory"], os.getppid())
        leaf._signal(signal.SIGKILL)
        assert signalled == [signal.SIGKILL]

    def test_removal_waits_for_the_dying(self, kernel: FakeKernel) -> None:
        """A folder that is busy for a moment is tried again."""
        first, folder = v2_leaf(kernel)
        leaf, time = timed(first, kernel)
        kernel.holding[folder] = 3
        assert leaf.remove()
        assert not folder.exists()
        assert 0 < time.now < 0.1

    def test_removal_kills(self, kernel: FakeKernel) -> None:
        """Who is still inside is killed, also below a cgroup that was made inside."""
        first, folder = v2_leaf(kernel)
        leaf, _ = timed(first, kernel)
        kernel.make(folder / "deeper")
        kernel.put(folder / "deeper", GONE)
        assert leaf.remove()
        assert not folder.exists()

    def test_removal_ends(self, kernel: FakeKernel) -> None:
        """A leaf that will not go is told about, in the time given."""
        first, folder = v2_leaf(kernel)
        leaf, time = timed(first, kernel)
        kernel.holding[folder] = 10_000
        assert not leaf.remove(within_s=1.0)
        assert 1.0 <= time.now < 1.1

    def test_removal_is_idempotent(self, kernel: FakeKernel) -> None:
        """What is gone is gone."""
        leaf, _ = v1_leaf(kernel)
        assert leaf.remove()
        assert leaf.remove()
