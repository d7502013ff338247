"""Zygotes and workers with real processes: calls, deaths, hostile workers, late imports."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from real.sandboxes import (
    Watcher,
    alive,
    answer,
    bound_zygote,
    call,
    inhabitants,
    inside,
    launchers,
    ready_worker,
    room_of,
    until,
)

from sandbox.errors import ProtocolBrokenError, SandboxDiedError, SpawnFailedError
from sandbox.worker import Worker, WorkerState

pytestmark = [pytest.mark.real, pytest.mark.core]

HELLO = """
import azure.functions as func
import os, time
def main(req: func.HttpRequest) -> func.HttpResponse:
    q = req.params
    if "exit" in q:
        os._exit(int(q["exit"]))
    if "sleep" in q:
        open(q["mark"], "w").close()
        time.sleep(float(q["sleep"]))
    if "until" in q:
        open(q["mark"], "w").close()
        while not os.path.exists(q["until"]):
            time.sleep(0.001)
    if "print" in q:
        print(q["print"])
        os.system("echo raw-" + q["print"])
    return func.HttpResponse(f"{os.getpid()} {q.get('name', '')}")
"""

COROUTINE = """
import asyncio
async def main(req):
    await asyncio.sleep(float(req.params["s"]))
    return "slept " + req.params["s"]
"""

THREADS = """
import threading, time, os
thread = threading.Thread(target=time.sleep, args=(300,), daemon=True)
thread.start()
def main(req):
    return f"{thread.is_alive()}"
"""

FORGER = """
import os, sys, struct
def main(req):
    mode = req.params["mode"]
    fds = [int(f) for f in os.listdir("/proc/self/fd")]
    frame = {
        "garbage": b"\\xff" * 64,
        "id": b"\\x00\\x00\\x00\\x16\\x95\\x0b\\xc4\\x10" + b"x" * 16 + b"\\x00\\x01",
        "huge": struct.pack(">I", 1 << 31),
        "hello": b"\\x00\\x00\\x00\\x04\\x93\\x0a\\xc2\\xc0",
    }[mode]
    for fd in fds:
        try:
            if fd > 2 and os.readlink(f"/proc/self/fd/{fd}").startswith("socket"):
                os.write(fd, frame)
        except OSError:
            pass
    return "answered"
"""


async def test_a_call_runs_user_code_in_another_process(tmp_path: Path) -> None:
    """The reply comes from the worker's pid, which the kernel vouches for."""
    async with launchers() as both:
        zygote, bound = await bound_zygote(both, tmp_path, HELLO)
        assert bound.errors == {"f": None}
        assert bound.unforkable == []
        worker, _ = await ready_worker(zygote)
        assert await answer(call(worker, name="Ada")) == f"{inside(worker.pid)} Ada"
        zygote.kill()
        await zygote.ended
        assert not alive(worker.pid)


async def test_a_module_that_does_not_load_is_an_answer(tmp_path: Path) -> None:
    """An import error names the user's line; the zygote lives."""
    async with launchers() as both:
        _zygote, bound = await bound_zygote(both, tmp_path, "import no_such_module\n")
        line, detail = bound.errors["f"] or ("", "")
        assert "no_such_module" in line
        assert "__init__.py" in detail


async def test_a_module_that_ends_the_process_is_an_error(tmp_path: Path) -> None:
    """os._exit at import fails the bind instead of leaving it waiting."""
    async with launchers() as both:
        with pytest.raises(SpawnFailedError, match=r"while it imported .*\(exit code 3\)"):
            await bound_zygote(both, tmp_path, "import os; os._exit(3)")


async def test_a_worker_that_ends_before_it_serves_says_how(tmp_path: Path) -> None:
    """os._exit in a late import: the worker counts as a failed start, with the exit's facts."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, "import os; os._exit(3)", import_here=False)
        watcher = Watcher()
        worker = zygote.fork("f", watcher)
        async with asyncio.timeout(5):
            assert await watcher.is_gone == []
        assert worker.failed_start
        assert worker.facts == "exit code 3"
        assert zygote.alive


async def test_a_zygote_that_does_not_read_is_given_up(tmp_path: Path) -> None:
    """Stopped by a signal: forks that it never takes end, each told once, and it is not alive."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, HELLO)
        os.kill(zygote.pid, signal.SIGSTOP)
        watchers = []
        while zygote.alive:
            watchers.append(Watcher())
            zygote.fork("f", watchers[-1])
        async with asyncio.timeout(5):
            assert await asyncio.gather(*(w.is_gone for w in watchers)) == [[]] * len(watchers)
        with pytest.raises(SpawnFailedError, match="gone"):
            zygote.fork("f", Watcher())


async def test_the_ordered_end_of_a_sandbox_is_no_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its init says how the zygote ended, whoever of both hears of the end first."""
    async with launchers() as both:
        for _ in range(5):
            zygote, _ = await bound_zygote(both, tmp_path, HELLO)
            await ready_worker(zygote)
            zygote.kill()
            async with asyncio.timeout(5):
                assert await zygote.ended != (None, None)
    assert "was killed" not in caplog.text


async def test_prints_and_raw_output_are_told_apart_and_named(tmp_path: Path) -> None:
    """print() carries its invocation; a subprocess's output arrives on the raw stream."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, HELLO)
        worker, watcher = await ready_worker(zygote)
        made = call(worker, print="hey")
        await answer(made)
        await until(lambda: watcher.records and b"raw-hey" in watcher.raw, "the output")
        assert watcher.records[0][0].replace("-", "") == made.id.hex()
        assert watcher.records[0][4].strip() == "hey"


async def test_a_worker_killed_while_idle_is_noticed_at_once(tmp_path: Path) -> None:
    """EOF is the death notice: no call, no poll."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, HELLO)
        worker, watcher = await ready_worker(zygote)
        os.kill(worker.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            assert await watcher.is_gone == []
        assert worker.state is WorkerState.GONE
        other, _ = await ready_worker(zygote)
        assert (await answer(call(other))).startswith(str(inside(other.pid)))


async def test_a_recall_brings_back_what_waits_behind_a_slow_call(tmp_path: Path) -> None:
    """The slow call goes on, the others return unharmed, and the worker serves on after it."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, HELLO)
        worker, watcher = await ready_worker(zygote)
        mark = tmp_path / "begun"
        slow = call(worker, sleep="0.3", mark=str(mark), name="slow")
        behind = [call(worker, name=str(number)) for number in range(3)]
        await until(mark.exists, "the slow call")
        worker.recall()
        assert not worker.usable
        await until(lambda: watcher.returns, "the recall")
        assert watcher.returns == [behind]
        assert await answer(slow) == f"{inside(worker.pid)} slow"
        assert worker.usable
        assert await answer(call(worker, name="next")) == f"{inside(worker.pid)} next"
        assert not any(made.answered for made in behind)


async def test_a_death_fails_the_call_that_began_and_gives_back_the_others(tmp_path: Path) -> None:
    """Of three frames in a worker's hands the first had begun; two come back unharmed."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, HELLO)
        worker, watcher = await ready_worker(zygote)
        mark = tmp_path / "begun"
        first = call(worker, sleep="60", mark=str(mark))
        others = [call(worker, name="b"), call(worker, name="c")]
        await until(mark.exists, "the call's begin")
        os.kill(worker.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            assert await watcher.is_gone == others
            with pytest.raises(SandboxDiedError, match="SIGKILL") as died:
                await first.future
        assert died.value.started
        assert not any(other.future.done() for other in others)


async def warm(worker: Worker) -> None:
    """Call so often that a call is quick: its answer may then wait for the next one's."""
    for _ in range(20):
        await answer(call(worker))


async def test_finished_answers_survive_a_crash_behind_them(tmp_path: Path) -> None:
    """Sent or still kept when the process ends: a crash takes no neighbour's answer."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, HELLO)
        worker, watcher = await ready_worker(zygote)
        await warm(worker)
        before = [call(worker, name=str(i)) for i in range(30)]
        crash = call(worker, exit="9")
        after = [call(worker, name="later")]
        for i, made in enumerate(before):
            assert (await answer(made)).endswith(f" {i}")
        with pytest.raises(SandboxDiedError, match="exit code 9"):
            await crash.future
        assert await watcher.is_gone == after


async def test_finished_answers_do_not_wait_for_a_slow_call_behind_them(tmp_path: Path) -> None:
    """A recall finds those that are kept; that they are sent later, too, harms nothing."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, HELLO)
        worker, watcher = await ready_worker(zygote)
        await warm(worker)
        mark, go_on = tmp_path / "begun", tmp_path / "go-on"
        before = [call(worker, name=str(i)) for i in range(5)]
        slow = call(worker, until=str(go_on), mark=str(mark), name="slow")
        behind = [call(worker, name="behind")]
        await until(mark.exists, "the slow call")
        worker.recall()
        for i, made in enumerate(before):
            assert await answer(made) == f"{inside(worker.pid)} {i}"
        await until(lambda: watcher.returns, "the recall")
        assert watcher.returns == [behind]
        assert not slow.answered
        go_on.touch()
        assert await answer(slow) == f"{inside(worker.pid)} slow"
        assert await answer(call(worker, name="next")) == f"{inside(worker.pid)} next"


async def test_a_dead_zygote_does_not_cost_its_workers_their_calls(tmp_path: Path) -> None:
    """Kill -9 of the zygote: the running call is answered, no new worker can be had."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, HELLO)
        worker, _ = await ready_worker(zygote)
        mark = tmp_path / "begun"
        made = call(worker, sleep="0.5", mark=str(mark), name="x")
        await until(mark.exists, "the call's begin")
        closed = asyncio.get_running_loop().create_future()
        zygote.on_closed = lambda: closed.set_result(None)
        os.kill(zygote.pid, signal.SIGKILL)
        await closed
        assert not zygote.alive
        assert await answer(made) == f"{inside(worker.pid)} x"
        worker.drain()
        async with asyncio.timeout(5):
            await zygote.ended


async def test_coroutines_overlap_in_one_worker_and_can_be_cancelled(tmp_path: Path) -> None:
    """Twenty sleeping calls take the time of one; a cancelled one frees its place."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, COROUTINE)
        worker, _ = await ready_worker(zygote)
        assert worker.is_coroutine
        made = [call(worker, s="0.2") for _ in range(20)]
        assert {await answer(one) for one in made} == {"slept 0.2"}
        long = call(worker, s="60")
        quick = call(worker, s="0")
        assert await answer(quick) == "slept 0"
        worker.cancel(long)
        status, _, _ = await asyncio.wait_for(long.future, 5)
        assert status == 1


async def test_threads_at_import_are_reported_and_late_import_works(tmp_path: Path) -> None:
    """T7: such a module is not forked; a worker that imports by itself has the live thread."""
    async with launchers() as both:
        zygote, bound = await bound_zygote(both, tmp_path, THREADS)
        assert bound.unforkable
        zygote.kill()
        zygote, bound = await bound_zygote(both, tmp_path, THREADS, import_here=False)
        worker, _ = await ready_worker(zygote)
        assert await answer(call(worker)) == "True"


@pytest.mark.parametrize("mode", ["garbage", "id", "huge", "hello"])
async def test_a_worker_that_forges_frames_is_ended_and_harms_nobody(
    tmp_path: Path, mode: str
) -> None:
    """Whatever it writes on its channel, its own call fails and its process ends."""
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, FORGER)
        worker, watcher = await ready_worker(zygote)
        made = call(worker, mode=mode)
        with pytest.raises(ProtocolBrokenError):
            await asyncio.wait_for(made.future, 10)
        await asyncio.wait_for(watcher.is_gone, 10)
        await until(lambda: not alive(worker.pid), "the worker's end")
        assert zygote.alive


async def test_a_sibling_worker_holds_no_channel_of_another(tmp_path: Path) -> None:
    """The second worker has as many descriptors as the first: nothing is inherited."""
    code = "import os\ndef main(req):\n    return str(len(os.listdir('/proc/self/fd')))\n"
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, code)
        workers = [(await ready_worker(zygote))[0] for _ in range(5)]
        counts = {await answer(call(worker)) for worker in workers}
    assert len(counts) == 1


async def test_killing_a_worker_ends_what_it_started(tmp_path: Path) -> None:
    """A timed-out call's subprocesses go with its worker; the zygote stays."""
    code = (
        "import subprocess, time\n"
        "def main(req):\n"
        "    child = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "    open(req.params['mark'], 'w').write(str(child.pid))\n"
        "    time.sleep(300)\n"
    )
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, code)
        worker, _ = await ready_worker(zygote)
        mark = tmp_path / "child"
        made = call(worker, mark=str(mark))
        await until(lambda: mark.exists() and mark.read_text(), "the child")
        room = room_of(worker.pid)
        assert int(mark.read_text()) in inhabitants(room)
        worker.kill("its time was over")
        with pytest.raises(SandboxDiedError, match="its time was over"):
            await asyncio.wait_for(made.future, 10)
        child = int(mark.read_text())
        await until(lambda: child not in inhabitants(room), "the child's end")
        assert zygote.alive
