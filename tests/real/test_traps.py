"""The traps of sandbox.md 2, so that nobody falls into one again: T1 to T12, a test or more each.

T4 (memory past the rlimits) is `memory_by_memfd` and `memory_by_children` of the escape table, T7
(threads at import) is in test_workers.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from escapes.modes import ATTACKER, PLATFORM
from escapes.outer import UNABLE
from needs import need
from real.leaks import no_leaks
from real.sandboxes import (
    Lines,
    answer,
    bound_zygote,
    call,
    launchers,
    ready_worker,
    shell,
    until,
)
from real.unprivileged import ROOT

from sandbox import launcher_process
from sandbox.errors import SpawnFailedError
from sandbox.launchers import Launchers
from sandbox.spec import Mount, ResourceLimits, SandboxSpec

pytestmark = pytest.mark.real

PYTHON = os.path.realpath(sys.executable)


@pytest.fixture
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Launchers]:
    """Launchers on a machine that gives sandboxes of the standard level; nothing is left after."""
    tmp_path_factory.getbasetemp()  # outlives the block, so it must not be made within
    with no_leaks():
        async with launchers() as made:
            if not made.reach.namespaces:
                pytest.skip(f"no sandboxes of the standard level here: {made.reach.because}")
            yield made


@pytest.fixture
def folder_in_tmp() -> Iterator[Path]:
    """A folder of the host right below /tmp, with a file that anybody may change."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o777)
    (folder / "file").write_text("here")
    (folder / "file").chmod(0o666)
    yield folder
    shutil.rmtree(folder)


async def printed(both: Launchers, spec: SandboxSpec) -> list[str]:
    """Run a program to its good end and return the lines that it wrote."""
    sink = Lines()
    exit_ = await (await both.run(spec, sink)).wait()
    assert exit_.ok, f"{exit_}: {sink.err}"
    return sink.out.splitlines()


def python(code: str) -> SandboxSpec:
    """Return the description of a Python program's sandbox."""
    return replace(shell(""), argv=(PYTHON, "-I", "-c", code))


# --- T1 -------------------------------------------------------------------------------------------

ENVIRONMENTS = """
import glob

def environments():
    found = []
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            found.append(open(path, "rb").read().decode(errors="replace"))
        except OSError:
            pass
    return "\\0".join(found)
"""


def ours() -> set[str]:
    """Return the names with which the environment of these tests began, but for PATH."""
    start = Path("/proc/self/environ").read_bytes().decode(errors="replace")
    return {line.partition("=")[0] for line in start.split("\0") if "=" in line} - {"PATH"}


async def test_t1_no_process_of_a_program_began_with_our_environment(both: Launchers) -> None:
    """Whatever a program finds in /proc, none of our variables is among it."""
    assert ours()
    spec = python(f"{ENVIRONMENTS}\nprint(environments().replace(chr(0), chr(10)))")
    names = {line.partition("=")[0] for line in await printed(both, spec)}
    assert "PATH" in names
    assert not names & ours()


async def test_t1_no_process_of_a_function_began_with_our_environment(
    both: Launchers, tmp_path: Path
) -> None:
    """A worker is forked, not started: what its ancestors began with would be seen in it."""
    code = f"{ENVIRONMENTS}\ndef main(req):\n    return environments() + '\\0read=1'\n"
    zygote, _ = await bound_zygote(both, tmp_path, code)
    worker, _ = await ready_worker(zygote)
    names = {line.partition("=")[0] for line in (await answer(call(worker))).split("\0")}
    assert "read" in names
    assert not names & ours()
    zygote.kill()
    await zygote.ended


# --- T2 -------------------------------------------------------------------------------------------

FORKS = """
import os, signal
children = []
try:
    while len(children) < 60:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        children.append(pid)
except OSError:
    pass
for pid in children:
    os.kill(pid, signal.SIGKILL)
print(len(children))
"""


async def test_t2_the_limit_of_processes_holds_because_no_user_code_is_root(
    both: Launchers,
) -> None:
    """With 20 allowed, 60 are not to be had: to the kernel's user 0 no such limit applies."""
    # A number of its own: other platforms' sandboxes of the same user would count.
    uid = ATTACKER if os.getuid() == 0 else 0
    spec = replace(python(FORKS), limits=ResourceLimits(processes=20), uid=uid)
    (count,) = await printed(both, spec)
    assert 10 < int(count) < 20


async def test_t2_user_code_has_a_user_of_its_own(both: Launchers, tmp_path: Path) -> None:
    """As the host numbers users, neither a program's nor a worker's is root."""
    process = await both.run(shell("exec sleep 60"), Lines())
    zygote, _ = await bound_zygote(both, tmp_path, "def main(req):\n    return 'x'\n")
    worker, _ = await ready_worker(zygote)
    for pid in (process.pid, zygote.pid, worker.pid):
        assert os.stat(f"/proc/{pid}").st_uid != 0
    zygote.kill()
    await zygote.ended
    await process.kill()


# --- T3 -------------------------------------------------------------------------------------------


async def test_t3_what_is_to_be_shown_and_is_not_there_is_named(both: Launchers) -> None:
    """A missing source is an error with its path, never a sandbox without it."""
    spec = replace(shell("exit 0"), mounts=(Mount.at("/nowhere/to-be-found"),))
    with pytest.raises(SpawnFailedError, match="/nowhere/to-be-found: No such file"):
        await both.run(spec, Lines())


async def test_t3_a_folder_below_a_closed_one_is_shown(
    both: Launchers, folder_in_tmp: Path
) -> None:
    """What the sandbox's user could not have reached by itself is there."""
    closed = folder_in_tmp / "closed"
    (closed / "code").mkdir(parents=True)
    (closed / "code" / "file").write_text("reached\n")
    closed.chmod(0o700)
    spec = replace(shell(f"cat {closed}/code/file"), mounts=(Mount.at(closed / "code"),))
    assert await printed(both, spec) == ["reached"]


async def test_t3_the_interpreter_and_its_library_are_there(both: Launchers) -> None:
    """Wherever the interpreter lies, its extension modules load."""
    assert await printed(both, python("import ssl, asyncio, sqlite3; print('all')")) == ["all"]


# --- T5 -------------------------------------------------------------------------------------------


async def test_t5_a_program_is_not_pid_1_and_dies_of_signals(both: Launchers) -> None:
    """Pid 1 ignores what has no handler, even SIGKILL from within; user code must not be that."""
    sink = Lines()
    process = await both.run(shell("echo $$; kill -TERM $$; echo lives on"), sink)
    exit_ = await process.wait()
    assert int(sink.out) > 1
    assert exit_.signal == signal.SIGTERM


async def test_t5_a_worker_is_not_pid_1_and_dies_of_signals(
    both: Launchers, tmp_path: Path
) -> None:
    """A worker that kills itself is gone."""
    code = "import os\ndef main(req):\n    os.kill(os.getpid(), 9)\n    return 'lives on'\n"
    zygote, _ = await bound_zygote(both, tmp_path, code)
    worker, watcher = await ready_worker(zygote)
    made = call(worker)
    await until(watcher.is_gone.done, "the worker's end")
    await until(made.future.done, "the call's end")
    assert "SIGKILL" in str(made.future.exception())
    zygote.kill()
    await zygote.ended


# --- T6 -------------------------------------------------------------------------------------------

USERS = [
    pytest.param(0, marks=pytest.mark.skipif(os.getuid() != 0, reason="not root"), id="root"),
    pytest.param(os.getuid() or PLATFORM, id="user"),
]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("refuse", [False, True], ids=["standard", "process"])
def test_t6_a_fork_bomb_is_ended_as_a_whole(user: int, *, refuse: bool) -> None:
    """At the standard level and without name spaces: nothing lives once its end is told."""
    options = ["--seconds", "80", "--user", str(user), "--reachable"]
    options += ["--refuse-namespaces"] if refuse else []
    python = [sys.executable, "-m"]
    done = subprocess.run(
        [*python, "escapes.outer", *options, "--", *python, "escapes.bomb"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    if done.returncode == UNABLE:
        pytest.skip(f"no pid name space to be had: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["layers"]["tree_kill"] == ("subreaper" if refuse else "pidns")
    assert found["grown"] >= 60
    assert found["left"] == 0


def environment() -> dict[str, str]:
    """Return the environment of a program that is made of the tests' own words."""
    paths = f"{ROOT / 'tests'}:{ROOT}"
    return {"PATH": os.defpath, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}


# --- T8 -------------------------------------------------------------------------------------------


async def test_t8_one_launcher_makes_one_sandbox_after_the_other(both: Launchers) -> None:
    """Name spaces are entered by a process of its own each time: the tenth is as the first."""
    launcher = both.preloaded.pid
    pids = [await printed(both, shell("echo $$")) for _ in range(10)]
    assert {pid for (pid,) in pids} == {pids[0][0]}
    assert both.preloaded.pid == launcher


# --- T9 -------------------------------------------------------------------------------------------


async def test_t9_a_folder_below_tmp_is_shown_in_spite_of_the_private_tmp(
    both: Launchers, folder_in_tmp: Path
) -> None:
    """It can be read and not be written, and its neighbours in the host's /tmp are not there."""
    neighbour = tempfile.mkdtemp(dir="/tmp")
    script = (
        f"cat {folder_in_tmp}/file; echo; test -e {neighbour} && echo seen || echo hidden;"
        f"echo mine > /tmp/own; cat /tmp/own; sh -c 'echo spoiled > {folder_in_tmp}/file' || true"
    )
    sink = Lines()
    spec = replace(shell(script), mounts=(Mount.at(folder_in_tmp),))
    ended = await (await both.run(spec, sink)).wait()
    os.rmdir(neighbour)
    assert ended.ok
    assert sink.out.split() == ["here", "hidden", "mine"]
    assert "Read-only file system" in sink.err
    assert (folder_in_tmp / "file").read_text() == "here"


async def test_t9_azure_functions_is_found_where_the_platform_itself_lies_below_tmp(
    folder_in_tmp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone in /tmp has its packages there: the sandbox's own /tmp does not cover them."""
    for name in ("azure", "werkzeug", "markupsafe"):
        spec = importlib.util.find_spec("azure.functions" if name == "azure" else name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin).parent
        shutil.copytree(origin, folder_in_tmp / (f"{name}/functions" if name == "azure" else name))
    monkeypatch.setattr(launcher_process, "_site_dirs", lambda: [str(folder_in_tmp)])
    code = "import azure.functions as func\ndef main(req):\n    return func.__file__ + '\\0'\n"
    async with launchers() as made:
        zygote, bound = await bound_zygote(made, tmp_path, code, preload=False)
        assert bound.errors == {"f": None}
        worker, _ = await ready_worker(zygote)
        assert (await answer(call(worker))).startswith(str(folder_in_tmp))
        zygote.kill()
        await zygote.ended


# --- T10 ------------------------------------------------------------------------------------------

LOOKS = """
import os

def look(path):
    try:
        return "read" if open(path, "rb").read(1) is not None else ""
    except OSError as error:
        return error.strerror

def main(req):
    return "; ".join(look(f"/proc/{pid}/environ") for pid in (os.getpid(), 1))
"""


async def test_t10_a_worker_may_look_into_itself_and_not_into_init(
    both: Launchers, tmp_path: Path
) -> None:
    """Its own /proc is its business although its user was changed; the trusted init's is not."""
    zygote, _ = await bound_zygote(both, tmp_path, LOOKS)
    worker, _ = await ready_worker(zygote)
    assert await answer(call(worker)) == "read; Permission denied"
    zygote.kill()
    await zygote.ended


# --- T11 ------------------------------------------------------------------------------------------

DAEMONS = """
import asyncio
from real.sandboxes import Lines, launchers, shell, until

async def main():
    sink = Lines()
    async with launchers() as both:
        await both.run(shell("setsid sleep 4711 & setsid setsid sleep 4712 & echo up; wait"), sink)
        await until(lambda: sink.out, "the daemons")
        print("up", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def sleepers() -> list[str]:
    """Return the processes that the platform's program has started."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            if words[:1] == [b"sleep"] and words[1] in {b"4711", b"4712"}:
                found.append(entry)
    return found


async def test_t11_what_runs_ends_with_the_platform_however_that_ends() -> None:
    """After kill -9 of the platform no process of any sandbox lives, daemons neither."""
    with subprocess.Popen(
        [sys.executable, "-c", DAEMONS], cwd=ROOT, env=environment(), stdout=subprocess.PIPE
    ) as platform:
        assert platform.stdout is not None
        assert platform.stdout.readline() == b"up\n"
        await until(lambda: len(sleepers()) == 2, "the daemons")
        platform.kill()
        await until(lambda: not sleepers(), "the end of all")


# --- T12 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("bash", ["-c", "echo $((1 + 1))"]),
        ("node", ["-e", "console.log(1 + 1)"]),
        ("php", ["-r", "echo 1 + 1;"]),
    ],
)
async def test_t12_other_languages_run_at_the_standard_level(
    both: Launchers, program: str, arguments: list[str]
) -> None:
    """Neither the filter of system calls nor the way memory is limited keeps them from running."""
    argv = (os.path.realpath(need(program)), *arguments)
    assert await printed(both, replace(shell(""), argv=argv)) == ["2"]


async def test_t12_java_runs_at_the_standard_level(both: Launchers) -> None:
    """Its heap is a reservation of addresses, which is no use of memory."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("java is not installed")
    sink = Lines()
    spec = replace(shell(""), argv=(os.path.realpath(java), "-version"))
    assert (await (await both.run(spec, sink)).wait()).ok, sink.err
