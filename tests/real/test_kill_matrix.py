"""kill -9 of worker, zygote, launcher and platform, idle and busy: what is lost, what is not."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Self

import pytest
from real import apps
from real.platform import Answer, Platform, wait_until
from real.processes import alive, name, named, parent, tree

pytestmark = [pytest.mark.real, pytest.mark.core]


@pytest.fixture
def sleeper(site: Path, start_platform) -> Platform:
    """A platform with one function that answers its pid, and sleeps when asked to."""
    apps.function(site, "sleeper", apps.SLEEPER)
    return start_platform()


def worker_of(platform: Platform) -> int:
    return int(platform.get("/api/sleeper").text.split()[0])


class Busy:
    """A call that is under way in a worker when `with` begins."""

    def __init__(self, platform: Platform, mark: Path, seconds: float = 30) -> None:
        self.answer: Answer | Exception | None = None
        self._platform, self._mark = platform, mark
        self._path = f"/api/sleeper?s={seconds}&mark={mark}"
        self._thread = threading.Thread(target=self._call)

    def _call(self) -> None:
        try:
            self.answer = self._platform.get(self._path)
        except OSError as error:
            self.answer = error

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(self._mark.exists, what="the call's begin")
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(40)
        assert not self._thread.is_alive()


def test_worker_idle(sleeper: Platform) -> None:
    """No call fails: the next one is answered by another process."""
    first = worker_of(sleeper)
    for _ in range(10):
        os.kill(first, signal.SIGKILL)
        answer = sleeper.get("/api/sleeper")
        assert answer.status == 200, answer.text + sleeper.told()
        second = int(answer.text.split()[0])
        assert second != first
        first = second


def test_worker_busy(sleeper: Platform, tmp_path: Path) -> None:
    """The call that ran gets 500 at once and the id of its log line; the next call is served."""
    worker = worker_of(sleeper)
    with Busy(sleeper, tmp_path / "mark") as busy:
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


def test_zygote_busy(sleeper: Platform, tmp_path: Path) -> None:
    """The running call is answered by the worker that the dead zygote left behind."""
    worker = worker_of(sleeper)
    with Busy(sleeper, tmp_path / "mark", seconds=1) as busy:
        os.kill(parent(worker), signal.SIGKILL)
        assert sleeper.get("/api/sleeper").status == 200
    assert isinstance(busy.answer, Answer)
    assert busy.answer.text == f"{worker} VERSION"


def test_launcher_idle(sleeper: Platform) -> None:
    """Serving goes on; a function that is added afterwards works."""
    [launcher] = named(sleeper.pid, "taak-launcher")
    worker = worker_of(sleeper)
    os.kill(launcher, signal.SIGKILL)
    assert worker_of(sleeper) == worker
    apps.function(sleeper.site, "late", apps.SLEEPER)
    sleeper.wait_until(lambda: sleeper.get("/api/late").status == 200, what="the added function")
    assert named(sleeper.pid, "taak-launcher") != [launcher]


def test_launcher_busy(sleeper: Platform, tmp_path: Path) -> None:
    """The running call is answered."""
    worker = worker_of(sleeper)
    with Busy(sleeper, tmp_path / "mark", seconds=1) as busy:
        [launcher] = named(sleeper.pid, "taak-launcher")
        os.kill(launcher, signal.SIGKILL)
    assert isinstance(busy.answer, Answer)
    assert busy.answer.text == f"{worker} VERSION"


def test_init_idle(sleeper: Platform) -> None:
    """The death of a sandbox's init takes the sandbox with it; the next call builds another."""
    worker = worker_of(sleeper)
    os.kill(parent(parent(worker)), signal.SIGKILL)
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


def test_platform_busy(site: Path, start_platform, tmp_path: Path) -> None:
    """The run that was under way is closed as aborted; no daemon of it lives; history is intact."""
    apps.function(site, "sleeper", apps.SLEEPER)
    script = f"setsid sleep 300 & echo $! > {tmp_path}/daemon; echo started; sleep 300"
    apps.job(site, "triggered", "long", "run.sh", script)
    apps.job(site, "triggered", "short", "run.sh", "echo short $1")
    platform = start_platform()
    done = platform.wait_for_run(platform.v1("/jobs/triggered/short/run", {"arguments": "a"})["id"])
    assert done["state"] == "success"
    long = platform.v1("/jobs/triggered/long/run", {})
    wait_until((tmp_path / "daemon").exists)
    below = tree(platform.pid)
    with Busy(platform, tmp_path / "mark") as busy:
        platform.kill()
    assert isinstance(busy.answer, Exception)
    wait_until(lambda: not any(map(alive, below)), what="the end of the whole tree")
    assert not alive(int((tmp_path / "daemon").read_text()))
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


def test_an_ordered_stop_answers_what_runs_and_exits_0(sleeper: Platform, tmp_path: Path) -> None:
    """SIGTERM: the call under way is answered, nothing is left, the exit code is 0."""
    worker_of(sleeper)
    below = tree(sleeper.pid)
    with Busy(sleeper, tmp_path / "mark", seconds=1) as busy:
        assert sleeper.stop() == 0
    assert isinstance(busy.answer, Answer)
    assert busy.answer.status == 200
    assert not any(map(alive, below))


def test_a_second_signal_ends_everything_at_once(sleeper: Platform, tmp_path: Path) -> None:
    """The drain time is not waited for."""
    below = tree(sleeper.pid)
    with Busy(sleeper, tmp_path / "mark"):
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
