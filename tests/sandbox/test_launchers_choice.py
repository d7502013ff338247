"""What a machine gives instead of what was asked for, and what no app can ask for."""

from __future__ import annotations

from pathlib import Path

from sandbox.drain import Drain
from sandbox.launchers import Launchers
from sandbox.selftest import Reach
from sandbox.spec import Level, Network, SandboxSpec
from sandbox.users import Users

WHOLE = Reach(Level.STANDARD, layers={"namespaces": ["mount", "pid"]})
POOR = Reach(Level.PROCESS, "unshare(mount): EPERM")


def launchers(reach: Reach, tmp_path: Path, *, root: bool = False) -> Launchers:
    users = Users(None, root=root)
    made = Launchers(Drain(), users, scratch=tmp_path, closed_ports=[7071, 7072])
    made.reach = reach
    return made


async def test_the_platforms_own_ports_cannot_be_asked_for(tmp_path: Path) -> None:
    """They are taken out of an app's list; the others stay."""
    spec = SandboxSpec(name="f", cwd="/", network=Network.OUTBOUND, ports=(443, 7072, 7071))
    assert launchers(WHOLE, tmp_path).possible(spec).ports == (443,)


async def test_a_machine_without_namespaces_gives_less_and_says_why(tmp_path: Path) -> None:
    """A private TMPDIR takes the place of the private /tmp; the platform's home is out of reach."""
    spec = SandboxSpec(name="f", cwd="/", scratch=("/var/lib/taak",), env={"A": "b"})
    given = launchers(POOR, tmp_path).possible(spec)
    assert (given.level, given.because, given.kind.namespaces) == (
        Level.PROCESS,
        POOR.because,
        "bare",
    )
    assert given.env["TMPDIR"].startswith(str(tmp_path))
    assert given.scratch == (given.env["TMPDIR"],)


async def test_trusted_code_stays_trusted_on_a_poor_machine(tmp_path: Path) -> None:
    """It gets no walls that it was freed of."""
    given = launchers(POOR, tmp_path).possible(SandboxSpec(name="f", cwd="/", level=Level.TRUSTED))
    assert (given.level, given.kind.namespaces, given.kind.filtered) == (
        Level.TRUSTED,
        "bare",
        False,
    )


async def test_each_bundle_has_its_own_user_where_the_platform_is_root(tmp_path: Path) -> None:
    """The same name gets the same one; without root everybody keeps the platform's."""
    made = launchers(WHOLE, tmp_path, root=True)
    one, two = (made.possible(SandboxSpec(name=name, cwd="/")).uid for name in ("one", "two"))
    assert one != two
    assert 0 not in (one, two)
    assert made.possible(SandboxSpec(name="one", cwd="/")).uid == one
    assert launchers(WHOLE, tmp_path).possible(SandboxSpec(name="one", cwd="/")).uid == 0
