"""kill -9 of worker, zygote, launcher and platform, idle and busy: what is lost, what is not."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from real import apps
from real.platform import Answer, Platform, wait_until
from real.processes import address, alive, children, name, named, outside, parent, tree

pytestmark = [pytest.mark.real, pytest.mark.core]


@pytest.fixture
def sleeper(site: Path, start_platform) -> Platform:
    """A platform with one function that answers who it is, and sleeps when asked to."""
    apps.function(site, "sleeper", apps.SLEEPER)
    return start_platform()


def worker_of(platform: Platform) -> int:
    """Return the process, by its number here, that has answered a call and is there still."""
    found: int = wait_until(lambda: _answering(platform), what="a worker that outlives its answer")
    return found


def _answering(platform: Platform) -> int | None:
    answer = platform.get("/api/sleeper")
    assert answer.status == 200, answer.text + platform.told()
    # Those of a zygote that was killed may answer last calls, and be gone before they are found.
    with suppress(LookupError):
        return outside(answer.text.split()[0])
    return None


def launcher_of(platform: Platform) -> int:
    """Return the launcher; what it forks has its name for a moment, but is not the platform's."""
    [launcher] = [pid for pid in children(platform.pid) if name(pid) == "taak-launcher"]
    return launcher


class Busy:
    """A call that is under way in a worker when `with` begins."""

    _numbers = itertools.count()

    def __init__(self, platform: Platform, seconds: float = 30) -> None:
        self.answer: Answer | Exception | None = None
        self._platform, self._mark = platform, f"call-{next(self._numbers)}"
        self._path = f"/api/sleeper?s={seconds}&mark={self._mark}"
        self._thread = threading.Thread(target=self._call)

    def _has_begun(self) -> bool:
        lines = self._platform.v1("/functions/sleeper/logs")["items"]
        return any(line["text"] == f"begun {self._mark}" for line in lines)

    def _call(self) -> None:
        try:
            self.answer = self._platform.get(self._path)
        except OSError as error:
            self.answer = error

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(self._has_begun, what="the call's begin")
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(40)
        assert not self._thread.is_alive()


def test_worker_idle(sleeper: Platform) -> None:
    """No call fails: the next one is answered by another process."""
    first = worker_of(sleeper)
    for _ in range(10):
        os.kill(first, signal.SIGKILL)
        second = worker_of(sleeper)
        assert second != first
        first = second


def test_worker_busy(sleeper: Platform) -> None:
    """The call that ran gets 500 at once and the id of its log line; the next call is served."""
    worker = worker_of(sleeper)
    with Busy(sleeper) as busy:
        os.kill(worker, signal.SIGKILL)
    assert isinstance(busy.answer, Answer)
    assert busy.answer.status == 500
    assert sleeper.get("/api/sleeper").status == 200
    lines = sleeper.v1("/functions/sleeper/logs")["items"]
    told = [line for line in lines if "SIGKILL" in line["text"]]
    assert [line["invocation_id"] for line in told] == [busy.answer.headers["x-taak-invocation-id"]]


def test_zygote_idle(sleeper: Platform) -> None:
    """Calls go on without a failure, before and after the workers are replaced."""
    worker = worker_of(sleeper)
    zygote = parent(worker)
    assert name(zygote) == "taak-zygote"
    os.kill(zygote, signal.SIGKILL)
    answers = [sleeper.get("/api/sleeper") for _ in range(50)]
    assert {answer.status for answer in answers} == {200}
    sleeper.wait_until(lambda: worker_of(sleeper) != worker, what="a worker of a new zygote")
    sleeper.wait_until(lambda: not alive(worker), what="the old worker's end")


def test_zygote_busy(sleeper: Platform) -> None:
    """The running call is answered by the worker that the dead zygote left behind."""
    worker = worker_of(sleeper)
    who = address(worker)
    with Busy(sleeper, seconds=1) as busy:
        os.kill(parent(worker), signal.SIGKILL)
        assert sleeper.get("/api/sleeper").status == 200
    assert isinstance(busy.answer, Answer)
    assert busy.answer.text == f"{who} VERSION"


def test_launcher_idle(sleeper: Platform) -> None:
    """Serving goes on; a function that is added afterwards works."""
    launcher = launcher_of(sleeper)
    worker = worker_of(sleeper)
    os.kill(launcher, signal.SIGKILL)
    assert worker_of(sleeper) == worker
    apps.function(sleeper.site, "late", apps.SLEEPER)
    sleeper.wait_until(lambda: sleeper.get("/api/late").status == 200, what="the added function")
    assert launcher_of(sleeper) != launcher


def test_launcher_busy(sleeper: Platform) -> None:
    """The running call is answered."""
    who = address(worker_of(sleeper))
    with Busy(sleeper, seconds=1) as busy:
        launcher = launcher_of(sleeper)
        os.kill(launcher, signal.SIGKILL)
    assert isinstance(busy.answer, Answer)
    assert busy.answer.text == f"{who} VERSION"


def test_init_idle(sleeper: Platform) -> None:
    """The death of a sandbox's init takes the sandbox with it; the next call builds another."""
    worker = worker_of(sleeper)
    init = parent(parent(worker))
    assert name(init) == "taak-init"
    os.kill(init, signal.SIGKILL)
    sleeper.wait_until(lambda: not alive(worker), what="the worker's end")
    answer = sleeper.get("/api/sleeper")
    assert answer.status == 200, sleeper.told()


def test_platform_idle(sleeper: Platform) -> None:
    """Nothing is left of it, and it starts again."""
    worker_of(sleeper)
    below = tree(sleeper.pid)
    assert len(below) >= 4
    sleeper.kill()
    wait_until(lambda: not any(map(alive, below)), what="the end of the whole tree")
    assert sleeper.start().get("/api/sleeper").status == 200


def test_platform_busy(site: Path, start_platform) -> None:
    """The run that was under way is closed as aborted; no daemon of it lives; history is intact."""
    apps.function(site, "sleeper", apps.SLEEPER)
    script = "setsid sleep 300 & echo started; sleep 300"
    apps.job(site, "triggered", "long", "run.sh", script)
    apps.job(site, "triggered", "short", "run.sh", "echo short $1")
    platform = start_platform()
    done = platform.wait_for_run(platform.v1("/jobs/triggered/short/run", {"arguments": "a"})["id"])
    assert done["state"] == "success"
    long = platform.v1("/jobs/triggered/long/run", {})
    wait_until(lambda: len(named(platform.pid, "sleep")) == 2, what="the daemon and the script")
    below = tree(platform.pid)
    assert len({os.getsid(pid) for pid in named(platform.pid, "sleep")}) == 2
    with Busy(platform) as busy:
        platform.kill()
    assert isinstance(busy.answer, Exception)
    wait_until(lambda: not any(map(alive, below)), what="the end of the whole tree")
    platform.start()
    aborted = platform.v1(f"/runs/{long['id']}")
    assert aborted["state"] == "aborted"
    assert "host_restart" in aborted["reason"]
    assert aborted["ended_at"]
    assert platform.v1(f"/runs/{done['id']}") == done
    history = platform.kudu("GET", "/api/triggeredwebjobs/long/history").json()["runs"]
    assert [run["status"] for run in history] == ["Aborted"]
    assert platform.v1("/jobs/triggered/long/run", {})["state"] in {"initializing", "running"}
    platform.kill()  # in order, it would wait for that run


def test_an_ordered_stop_answers_what_runs_and_exits_0(sleeper: Platform) -> None:
    """SIGTERM: the call under way is answered, nothing is left, the exit code is 0."""
    worker_of(sleeper)
    below = tree(sleeper.pid)
    with Busy(sleeper, seconds=1) as busy:
        assert sleeper.stop() == 0
    assert isinstance(busy.answer, Answer)
    assert busy.answer.status == 200
    assert not any(map(alive, below))


def test_a_second_signal_ends_everything_at_once(sleeper: Platform) -> None:
    """The drain time is not waited for."""
    below = tree(sleeper.pid)
    with Busy(sleeper):
        sleeper.signal(signal.SIGTERM)
        sleeper.wait_until(lambda: any("stopping" in line for line in sleeper.lines))
        sleeper.signal(signal.SIGTERM)
        assert sleeper.wait(timeout_s=10) != 0
    wait_until(lambda: not any(map(alive, below)), what="the end of the whole tree")


def test_a_home_belongs_to_one_process(sleeper: Platform) -> None:
    """A second platform on the home refuses and names the first."""
    second = Platform(sleeper.site, sleeper.home)
    with pytest.raises(AssertionError, match="is in use by pid") as refused:
        second.start()
    assert str(sleeper.pid) in str(refused.value)
