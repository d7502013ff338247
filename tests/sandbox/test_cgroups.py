"""Cgroups are found where they are ours, best first, and told about where they are not."""

import errno
import os
from pathlib import Path

import pytest
from cgroup_fakes import DIVIDE, GONE, FakeKernel

from sandbox.cgroups import CONTROLLERS, Cgroups, safe_name

ALL = frozenset(CONTROLLERS)
UNIT = "/system.slice/taak.service"


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path)


def v1(kernel: FakeKernel) -> list[Path]:
    """Mount v1 as most machines had it: processor limit and count in one hierarchy."""
    return [
        kernel.mount("cpu,cpuacct", "/", "cpu", "cpuacct"),
        kernel.mount("memory", "/mine", "memory"),
        kernel.mount("pids", "/", "pids"),
    ]


class TestV2:
    def test_delegated(self, kernel: FakeKernel) -> None:
        """Our own cgroup is divided down to our folder, after we have moved aside in it."""
        own = kernel.mount("", UNIT, *CONTROLLERS)
        found = kernel.discover()
        assert (found.kind, found.reason, found.controllers) == ("v2", "", ALL)
        assert [place.path for place in found.places] == [own / "taak/here"]
        for level in (own, own / "taak", own / "taak/here"):
            assert set((level / DIVIDE).read_text().split()) == ALL
        assert (own / "cgroup.procs").read_text() == ""
        assert (own / "taak-platform/cgroup.procs").read_text().split() == [str(os.getpid())]

    def test_again_after_the_move(self, kernel: FakeKernel) -> None:
        """A platform that moved aside before divides the same cgroup, not one below it."""
        own = kernel.mount("", f"{UNIT}/taak-platform", *CONTROLLERS)
        kernel._fill(own.parent, ALL)
        found = kernel.discover()
        assert [place.path for place in found.places] == [own.parent / "taak/here"]
        assert found.controllers == ALL

    def test_the_tree_of_a_container(self, kernel: FakeKernel) -> None:
        """Where the mount shows a part of the tree, our place is below that part."""
        own = kernel.mount("", "/docker/x/app", *CONTROLLERS, shown="/docker/x")
        assert own == kernel.root / "app"
        assert kernel.discover().places[0].path == own / "taak/here"

    def test_not_writable(self, kernel: FakeKernel) -> None:
        """Nothing is moved or made, and the reason says what would help."""
        own = kernel.mount("", UNIT, *CONTROLLERS)
        kernel.closed[own] = errno.EACCES
        found = kernel.discover()
        assert (found.kind, found.places) == ("none", ())
        assert f"{own}/taak: EACCES: " in found.reason
        assert "Delegate=yes" in found.reason
        assert found.reason.startswith("memory, pids, cpu: ")
        assert (own / "cgroup.procs").read_text().split() == [str(os.getpid())]

    def test_read_only(self, kernel: FakeKernel) -> None:
        """A container's read-only mount is called that."""
        kernel.closed[kernel.mount("", "/", *CONTROLLERS)] = errno.EROFS
        assert "EROFS: the cgroup file system is read-only" in kernel.discover().reason

    def test_others_stay_where_they_are(self, kernel: FakeKernel) -> None:
        """With a stranger in our cgroup nobody moves: no limits, but leaves that can kill."""
        own = kernel.mount("", UNIT, *CONTROLLERS)
        kernel.put(own, 1)
        found = kernel.discover()
        assert (found.kind, found.controllers) == ("v2", frozenset())
        assert f"{own}/{DIVIDE}: EBUSY: other processes share this cgroup" in found.reason
        assert (own / "cgroup.procs").read_text().split() == [str(os.getpid()), "1"]
        assert not (own / "taak-platform").exists()

    def test_some_controllers(self, kernel: FakeKernel) -> None:
        """What is not delegated is named; the rest is used."""
        kernel.mount("", UNIT, "memory", "pids")
        found = kernel.discover()
        assert (found.kind, found.controllers) == ("v2", frozenset({"memory", "pids"}))
        assert found.reason.startswith("cpu: ")
        assert "Delegate=yes" in found.reason


class TestV1:
    def test_each_controller(self, kernel: FakeKernel) -> None:
        """Every controller has a folder below our own cgroup of its hierarchy."""
        folders = v1(kernel)
        found = kernel.discover()
        assert (found.kind, found.reason, found.controllers) == ("v1", "", ALL)
        assert {place.path for place in found.places} == {each / "taak/here" for each in folders}

    def test_what_is_writable(self, kernel: FakeKernel) -> None:
        """One closed controller is missing, the others are used."""
        kernel.closed[v1(kernel)[1]] = errno.EACCES
        found = kernel.discover()
        assert (found.kind, found.controllers) == ("v1", frozenset({"pids", "cpu"}))
        assert found.reason.startswith(f"memory: {kernel.root}/memory/mine/taak: EACCES: run as ")

    def test_beside_v2(self, kernel: FakeKernel) -> None:
        """Hybrid: v1 limits, and a v2 folder first, without controllers, that kills."""
        v1(kernel)
        own = kernel.mount("unified", "/", "hugetlb")
        found = kernel.discover()
        assert (found.kind, found.reason, found.controllers) == ("v1", "", ALL)
        assert (found.places[0].version, found.places[0].path) == (2, own / "taak/here")
        assert found.places[0].controllers == frozenset()
        assert (own / "cgroup.procs").read_text().split() == [str(os.getpid())]

    def test_our_cgroup_is_not_shown(self, kernel: FakeKernel) -> None:
        """A mount that shows another part of the tree is of no use."""
        kernel.mount("memory", "/elsewhere", "memory", shown="/docker/x")
        assert "memory: ENOENT: our own cgroup is not visible there" in kernel.discover().reason


def test_none(kernel: FakeKernel, tmp_path: Path) -> None:
    """Without mounts, or even without /proc, the answer is none with a reason."""
    found = kernel.discover()  # no file at all
    assert (found.kind, found.places) == ("none", ())
    assert found.reason.endswith("ENOENT: no cgroups are mounted there")
    v1(kernel)
    elsewhere = Cgroups.discover(
        "here", root=tmp_path / "other", own=kernel.own, mounts=kernel.mounts, files=kernel
    )
    assert elsewhere.kind == "none"


def test_a_leaf_of_none_does_nothing(kernel: FakeKernel) -> None:
    """It answers as honestly as a real one: nothing kept, nothing counted, nothing left."""
    leaf = kernel.discover().leaf("a")
    leaf.add(1)
    leaf.kill()
    assert leaf.limit(1 << 20, 5, 1.0) == frozenset()
    assert (leaf.oom_kills(), leaf.memory_bytes(), leaf.cpu_seconds()) == (0, None, None)
    assert leaf.remove()


def test_sweep(kernel: FakeKernel) -> None:
    """Leaves of our name go with who is in them; those of another instance stay."""
    own = kernel.mount("", UNIT, *CONTROLLERS)
    cgroups, other = kernel.discover(), kernel.discover("other")
    for name in ("a", "b"):
        cgroups.leaf(name)
        kernel.put(own / "taak/here" / name, GONE)
    other.leaf("a")
    kernel.closed[own / "taak/here/b"] = errno.EPERM
    swept = kernel.discover().sweep(within_s=0)
    assert swept == (("a",), ("b",))
    assert not (own / "taak/here/a").exists()
    assert (own / "taak/other/a").exists()


def test_close_leaves_no_folder(kernel: FakeKernel) -> None:
    """Our folders go; the one that instances share goes with the last."""
    folders = v1(kernel)
    cgroups, other = kernel.discover(), kernel.discover("other")
    cgroups.close()
    assert all((each / "taak/other").exists() for each in folders)
    assert not any((each / "taak/here").exists() for each in folders)
    other.close()
    assert not any((each / "taak").exists() for each in folders)


@pytest.mark.parametrize("name", ["a", "Ab_9-z", "x" * 64])
def test_a_plain_name_stays(name: str) -> None:
    """Names that cannot hurt are used as they are."""
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "/", "a b", "memory.max", "tasks", "release_agent", "é", "x" * 65],
)
def test_a_name_that_could_hurt_is_changed(name: str) -> None:
    """No path, no file of the kernel's; two different names never meet."""
    safe = safe_name(name)
    assert safe_name(safe) == safe != name
    assert len({safe_name(f"{name}{extra}") for extra in ("", "/", ".", "\n")}) == 4
