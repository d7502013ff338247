"""Programs in sandboxes, with real processes and signals: start, output, end of the whole tree."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from real.processes import parent
from real.sandboxes import Lines, alive, inhabitants, launchers, room_of, shell, until

from sandbox.errors import SpawnFailedError
from sandbox.spec import Level, Network, ResourceLimits, SandboxSpec

pytestmark = [pytest.mark.real, pytest.mark.core]

DAEMONS = """
for i in 1 2 3; do setsid sh -c 'setsid sleep 300 & echo $!; sleep 300' & done
sleep 0.3
"""


async def test_a_program_runs_with_its_streams_apart_and_its_exit_code_told() -> None:
    """stdout, stderr and exit code arrive; nothing of our environment does."""
    os.environ["TAAK_TEST_SECRET"] = "s3cret"
    sink = Lines()
    async with launchers() as both:
        process = await both.run(shell("echo out; echo err >&2; env; exit 7", A="b"), sink)
        exit_ = await process.wait()
    assert exit_.code == 7
    assert "out\n" in sink.out
    assert sink.err == "err\n"
    assert "s3cret" not in sink.out
    assert "A=b\n" in sink.out
    assert sink.closed.is_set()


async def test_a_program_that_cannot_start_says_which_step_failed() -> None:
    """A missing program and a missing directory are told by name; the next program runs."""
    async with launchers() as both:
        with pytest.raises(SpawnFailedError, match=r"exec: No such file.*/bin/nope"):
            await both.run(SandboxSpec(name="x", cwd="/", argv=("/bin/nope",)), Lines())
        with pytest.raises(SpawnFailedError, match="chdir: No such file"):
            await both.run(SandboxSpec(name="x", cwd="/none", argv=("/bin/true",)), Lines())
        assert (await (await both.run(shell("exit 0"), Lines())).wait()).ok


async def test_the_tree_ends_with_the_program_also_its_daemons() -> None:
    """Processes in sessions of their own are gone when the run is over."""
    sink = Lines()
    async with launchers() as both:
        process = await both.run(shell(f"{DAEMONS}\nsleep 0.5"), sink)
        await until(lambda: sink.out.count("\n") == 3, "the daemons")
        room = room_of(process.pid)
        assert {int(line) for line in sink.out.split()} <= inhabitants(room).keys()
        assert (await process.wait()).ok
        await until(lambda: not inhabitants(room), "the end of all")


async def test_terminate_reaches_every_process_and_kill_ends_what_ignores_it() -> None:
    """SIGTERM goes to the whole tree; a program that ignores it is ended by kill()."""
    sink = Lines()
    async with launchers() as both:
        script = "trap 'echo told' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done'"
        process = await both.run(shell(script), sink)
        await until(lambda: sink.out != "", "the first line")
        process.terminate()
        room = room_of(process.pid)
        assert int(sink.out.split()[0]) in inhabitants(room)
        exit_ = await process.kill()
        assert exit_.signal == signal.SIGKILL or exit_.code is not None
        await until(lambda: not inhabitants(room), "the end of all")


async def test_an_init_that_is_killed_takes_its_tree_with_it() -> None:
    """Kill -9 of the trusted root of a sandbox leaves nothing running."""
    sink = Lines()
    async with launchers() as both:
        process = await both.run(shell("setsid sleep 300 & echo $!; sleep 300"), sink)
        await until(lambda: sink.out != "", "the daemon's pid")
        room = room_of(process.pid)
        assert int(sink.out) in inhabitants(room)
        os.kill(parent(process.pid), signal.SIGKILL)
        exit_ = await process.wait()
        assert exit_.vanished
        await until(lambda: not inhabitants(room), "the end of all")


async def test_sandboxes_outlive_their_launcher_and_new_ones_come() -> None:
    """Kill -9 of the launcher costs no running program; the next starts from another launcher."""
    sink = Lines()
    async with launchers() as both:
        process = await both.run(shell("echo one; read x < /dev/null; sleep 0.5; echo two"), sink)
        await until(lambda: "one" in sink.out, "the first line")
        old = both.preloaded.pid
        os.kill(old, signal.SIGKILL)
        await until(lambda: both.preloaded.pid != old, "another launcher")
        again = await both.run(shell("exit 4"), Lines())
        assert (await again.wait()).code == 4
        assert (await process.wait()).ok
    assert sink.out == "one\ntwo\n"


async def test_programs_come_from_a_launcher_of_their_own() -> None:
    """It is there after the first program; its death costs as little as another launcher's."""
    async with launchers() as both:
        assert (await (await both.run(shell("exit 0"), Lines())).wait()).ok
        await both.programs.ready()
        process = await both.run(shell("read x < /dev/null; sleep 0.5; exit 3"), Lines())
        old = both.programs.pid
        assert parent(parent(process.pid)) == old
        os.kill(old, signal.SIGKILL)
        await until(lambda: both.programs.pid != old, "another launcher")
        again = await both.run(shell("exit 4"), Lines())
        assert (await again.wait()).code == 4
        assert (await process.wait()).code == 3


async def test_a_flood_of_output_blocks_neither_program_nor_loop() -> None:
    """64 MB of output are read while the loop goes on turning."""
    sink = Lines()
    got = 0

    def count(_stream: object, chunk: bytes) -> None:
        nonlocal got
        got += len(chunk)

    sink.write = count  # type: ignore[method-assign]
    turns = 0
    async with launchers() as both:
        process = await both.run(shell("head -c 64000000 /dev/zero"), sink)
        waiting = asyncio.ensure_future(process.wait())
        while not waiting.done():
            await asyncio.sleep(0.001)
            turns += 1
    assert waiting.result().ok
    assert got == 64_000_000
    assert turns > 3


async def test_resource_limits_hold_in_the_program() -> None:
    """The open-files limit of the spec is the limit that the program sees."""
    sink = Lines()
    spec = shell("ulimit -n; ulimit -c")
    limits = ResourceLimits(open_files=77)
    async with launchers() as both:
        process = await both.run(
            SandboxSpec(name="x", cwd="/", argv=spec.argv, env=spec.env, limits=limits), sink
        )
        await process.wait()
    assert sink.out.split() == ["77", "0"]


async def test_nothing_is_left_when_the_launchers_end() -> None:
    """Programs still running when the platform stops are gone with it."""
    sink = Lines()
    async with launchers() as both:
        process = await both.run(shell("setsid sleep 300 & echo $!; sleep 300"), sink)
        await until(lambda: sink.out != "", "the daemon's pid")
        launcher, room = both.preloaded.pid, room_of(process.pid)
        assert int(sink.out) in inhabitants(room)
    assert not alive(launcher)
    await until(lambda: not inhabitants(room), "the end of all")


async def test_trusted_code_reaches_python_wherever_it_is_installed(tmp_path: Path) -> None:
    """Under a user of its own, through a folder that only root may enter, and nothing beside it."""
    closed = tmp_path / "closed"
    (closed / "app").mkdir(parents=True)
    (closed / "app" / "data").write_text("mine")
    (closed / "other").write_text("not mine")
    closed.chmod(0o700)
    python = f"{sys.base_prefix}/bin/python3"
    code = (
        "import os, sqlite3\n"
        "print(open('data').read(), os.path.exists('../other') and os.access('../other', os.R_OK))"
    )
    sink = Lines()
    spec = SandboxSpec(
        name="trusted",
        cwd=str(closed / "app"),
        argv=(python, "-I", "-S", "-c", code),
        level=Level.TRUSTED,
        network=Network.HOST,
    )
    async with launchers() as both:
        exit_ = await (await both.run(spec, sink)).wait()
    is_root = os.geteuid() == 0
    assert (exit_.code, sink.out.split()) == (0, ["mine", str(not is_root)]), sink.err


async def test_private_files_are_bounded_by_size_and_number_together() -> None:
    """What fits is written, also in HOME; one byte or file more is refused."""
    script = (
        "head -c 3145728 /dev/zero > /tmp/a && echo three; "
        "head -c 2097152 /dev/zero > /tmp/b || rm /tmp/b; "
        "head -c 524288 /dev/zero > $HOME/c && echo home; "
        "i=0; while [ $i -lt 200 ] && touch /var/tmp/$i; do i=$((i+1)); done 2>/dev/null; "
        "[ $i -lt 100 ] && echo few"
    )
    sink = Lines()
    plain = shell(script, HOME="/home/me")
    limits = ResourceLimits(scratch_bytes=4 << 20, scratch_files=100)
    async with launchers() as both:
        await (await both.run(replace(plain, limits=limits, scratch=("/home/me",)), sink)).wait()
        usual = Lines()
        await (
            await both.run(shell("head -c 9000000 /dev/zero > /tmp/a; wc -c < /tmp/a"), usual)
        ).wait()
    assert sink.out.split() == ["three", "home", "few"], sink.err
    assert usual.out.split() == ["9000000"], usual.err


async def test_limits_that_the_kernel_refuses_harm_no_other_sandbox() -> None:
    """They are told as the reason, and the next program starts."""
    bad = replace(shell("true"), limits=ResourceLimits(cpu_s=1 << 70))
    async with launchers() as both:
        with pytest.raises(SpawnFailedError, match="limits cannot be set"):
            await both.run(bad, Lines())
        assert (await (await both.run(shell("exit 0"), Lines())).wait()).ok


async def test_processor_time_that_is_over_is_told_as_the_reason() -> None:
    """Not as one kill among others."""
    limits = ResourceLimits(cpu_s=1)
    async with launchers() as both:
        busy = replace(shell("while :; do :; done"), limits=limits)
        ended = await (await both.run(busy, Lines())).wait()
    assert "processor time" in str(ended)
