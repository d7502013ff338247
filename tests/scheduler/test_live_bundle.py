"""The sandbox of a bundle: built once, rebuilt when it dies, with zygotes that a test drives."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.errors import SpawnFailedError
from sandbox.spec import SandboxSpec
from sandbox.zygote import Bound
from scheduler import live_bundle as module
from scheduler.functions import (
    AuthLevel,
    Binding,
    Bundle,
    BundleKind,
    Function,
    HttpTrigger,
    Limits,
)
from scheduler.live_bundle import LiveBundle


class FakeZygote:
    """A fork parent that answers its bind as the test says."""

    def __init__(self, spec: SandboxSpec, preload: bool, answer: Bound | Exception | None) -> None:
        self.spec = spec
        self.preload = preload
        self.alive = True
        self.killed = False
        self.layers = {"level": "process"}
        self.on_closed: Any = lambda: None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.bound: list[tuple[dict[str, Any], bool]] = []
        self._answer = answer

    async def bind(self, bind: dict[str, Any], *, import_here: bool) -> Bound:
        self.bound.append((bind, import_here))
        await asyncio.sleep(0)
        if self._answer is None:
            await asyncio.Event().wait()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer if import_here else Bound({}, [])

    def kill(self) -> None:
        self.alive = False
        self.killed = True

    def die(self) -> None:
        """Lose the channel; its workers still serve until `ended`."""
        self.alive = False
        self.on_closed()


class Bench:
    """A bundle of two functions, and what its launchers gave."""

    def __init__(self, tmp: Path) -> None:
        self.made: list[FakeZygote] = []
        self.refusals: list[Exception] = []
        self.answer: Bound | Exception | None = Bound({"f": None, "g": None}, [])
        self.sinks: list[str] = []
        self.lost = 0
        self.time = 100.0
        self.bundle = Bundle("app", BundleKind.APP, "d1", tmp, package_paths=("lib",))

    def function(self, name: str = "f", **given: Any) -> Function:
        fields: dict[str, Any] = {
            "name": name,
            "bundle": self.bundle,
            "directory": name,
            "script_file": f"{name}/__init__.py",
            "entry_point": "main",
            "trigger": HttpTrigger(name, None, AuthLevel.ANONYMOUS),
            "trigger_name": "req",
            "bindings": (
                Binding("req", "httpTrigger", "in", {"dataType": "Binary"}),
                Binding("$return", "http", "out"),
            ),
            "limits": Limits(),
            "environment": {"MINE": "1", "WEBSITE_SITE_NAME": "theirs"},
        }
        return Function(**(fields | given))

    def live(self, *functions: Function) -> LiveBundle:
        made = LiveBundle(
            self.bundle,
            functions or (self.function("f"), self.function("g")),
            self,
            self._sink,
            {"PATH": "/bin", "WEBSITE_SITE_NAME": "ours"},
            now=lambda: self.time,
        )
        made.on_lost.append(self._note)
        return made

    async def zygote(self, spec: SandboxSpec, sink: Any, *, preload: bool) -> FakeZygote:
        await asyncio.sleep(0)
        if self.refusals:
            raise self.refusals.pop(0)
        self.made.append(FakeZygote(spec, preload, self.answer))
        return self.made[-1]

    def _sink(self, name: str) -> Any:
        self.sinks.append(name)

    def _note(self) -> None:
        self.lost += 1


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Give the fakes."""
    return Bench(tmp_path)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> list[float]:
    """Give the pauses; none of them takes time."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 3))
        bench.time += seconds

    monkeypatch.setattr(
        module, "asyncio", SimpleNamespace(Lock=asyncio.Lock, sleep=sleep, timeout=asyncio.timeout)
    )
    return pauses


# --- Building


async def test_one_build_at_a_time(bench: Bench) -> None:
    """However many pools want workers at once, there is one sandbox, and all get it."""
    live = bench.live()
    assert live.ready is None
    assert live.layers == {}
    got = await asyncio.gather(*(live.zygote() for _ in range(5)))
    assert len(bench.made) == 1
    assert set(map(id, got)) == {id(bench.made[0])}
    assert live.ready is bench.made[0]
    assert live.layers == {"level": "process"}
    assert await live.zygote() is bench.made[0]


async def test_the_sandbox_is_what_the_definition_says(bench: Bench) -> None:
    """The release's folder; the host's variables, over which the app's own win."""
    await bench.live().zygote()
    (zygote,) = bench.made
    assert (zygote.spec.name, zygote.spec.cwd) == ("function-app", str(bench.bundle.root))
    assert zygote.spec.env == {
        "PATH": "/bin",
        "WEBSITE_SITE_NAME": "theirs",
        "AzureWebJobsScriptRoot": str(bench.bundle.root),
        "MINE": "1",
    }
    assert bench.sinks == ["app"]


async def test_the_guest_is_told_what_to_load(bench: Bench) -> None:
    """Plain values in the guest's spelling, for every function of the bundle."""
    await bench.live().zygote()
    ((bind, import_here),) = bench.made[0].bound
    assert import_here
    root = bench.bundle.root
    assert {name: bind[name] for name in ("root", "package_paths", "preloaded")} == {
        "root": str(root),
        "package_paths": ["lib"],
        "preloaded": True,
    }
    assert [each["name"] for each in bind["functions"]] == ["f", "g"]
    assert bind["functions"][0] == {
        "name": "f",
        "directory": "f",
        "script_file": "f/__init__.py",
        "entry_point": "main",
        "trigger_type": "httptrigger",
        "trigger_name": "req",
        "function_directory": str(root / "f"),
        "bindings": [
            {"name": "req", "type": "httpTrigger", "direction": "in", "data_type": "binary"},
            {"name": "$return", "type": "http", "direction": "out", "data_type": ""},
        ],
    }


async def test_an_app_with_packages_of_its_own_never_meets_ours(bench: Bench) -> None:
    """Its zygote comes from the launcher that has loaded nothing."""
    bench.bundle = replace(bench.bundle, own_packages=True)
    await bench.live().zygote()
    assert bench.made[0].preload is False
    assert bench.made[0].bound[0][0]["preloaded"] is False


async def test_an_import_that_hangs_is_given_up(bench: Bench) -> None:
    """The longest time that any function of the bundle is given; the sandbox ends with it."""
    bench.answer = None
    patient = bench.function("g", limits=Limits(start_timeout_s=0.02))
    live = bench.live(bench.function("f", limits=Limits(start_timeout_s=0.01)), patient)
    with pytest.raises(SpawnFailedError, match=r"longer than 0\.02 s .*start_timeout_s"):
        await live.zygote()
    assert bench.made[0].killed
    assert "longer" in live.attempts.refusal, "nobody waits for another attempt"


async def test_what_does_not_load_is_kept_by_name(bench: Bench) -> None:
    """An error of one function is no failure of the bundle; a rebuild after a fix forgets it."""
    bench.answer = Bound({"f": ("SyntaxError: bad", "line 3"), "g": None}, [])
    live = bench.live()
    await live.zygote()
    assert live.errors == {"f": ("SyntaxError: bad", "line 3")}
    bench.answer = Bound({"f": None, "g": None}, [])
    bench.made[0].die()
    await live.zygote()
    assert live.errors == {}


# --- Code that must not be forked (T7)


async def test_workers_import_by_themselves_when_the_import_cannot_be_forked(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread at import: the zygote that holds it goes, a clean one takes its place; told."""
    bench.answer = Bound({"f": ("E", "d"), "g": None}, ["a thread: Thread-1"])
    live = bench.live()
    zygote = await live.zygote()
    first, second = bench.made
    assert zygote is second
    assert (first.killed, second.killed) == (True, False)
    assert [first.bound[0][1], second.bound[0][1]] == [True, False]
    assert live.unforkable == ["a thread: Thread-1"]
    assert live.errors == {"f": ("E", "d")}, "what the import said still holds"
    assert bench.lost == 0, "nobody had it yet"
    assert caplog.messages == ["app: workers import by themselves: a thread: Thread-1"]


async def test_a_rebuild_does_not_try_the_import_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The release is the same, so the answer would be; it is not told twice either."""
    bench.answer = Bound({}, ["a socket"])
    live = bench.live()
    await live.zygote()
    bench.made[-1].die()
    await live.zygote()
    assert [zygote.bound[0][1] for zygote in bench.made] == [True, False, False]
    assert len(caplog.messages) == 1


# --- Failure


async def test_a_bundle_that_cannot_be_built_is_tried_more_and_more_slowly(
    bench: Bench, slept: list[float]
) -> None:
    """Short pauses are waited; during a long one everybody is told at once why."""
    live = bench.live()
    bench.refusals = [SpawnFailedError(str(n)) for n in range(6)]
    for n in range(3):
        with pytest.raises(SpawnFailedError, match=str(n)):
            await live.zygote()
    assert slept == [0.0, 0.05, 0.2]
    for n, pause in enumerate((1.0, 5.0, 15.0), start=3):
        with pytest.raises(SpawnFailedError, match=str(n - 1)):
            await live.zygote()
        assert live.attempts.refusal == str(n - 1)
        bench.time += pause
        assert not live.attempts.refusal
        with pytest.raises(SpawnFailedError, match=str(n)):
            await live.zygote()
    assert slept[3:] == [0.0, 0.0, 0.0]
    bench.time += 15.0
    await live.zygote()
    assert live.attempts.reason == ""
    assert live.attempts.pause == 0


async def test_a_zygote_that_ends_right_after_its_build_is_a_failure_like_one_that_never_came(
    bench: Bench, slept: list[float]
) -> None:
    """A timer set at import: no storm of builds. One that has lived is replaced at once."""
    live = bench.live()
    for _ in range(3):
        await live.zygote()
        bench.made[-1].die()
    assert slept == [0.0, 0.05, 0.2]
    with pytest.raises(SpawnFailedError, match="ended right after"):
        await live.zygote()
    bench.time += 1.0
    await live.zygote()
    bench.time += 60.0
    bench.made[-1].die()
    await live.zygote()
    assert slept[3:] == [0.0, 0.0]


async def test_a_zygote_that_ends_at_import_leaves_nothing(bench: Bench) -> None:
    """`os._exit` in user code: the sandbox is ended, and the bundle is not ready."""
    bench.answer = SpawnFailedError("it ended with exit code 3")
    live = bench.live()
    with pytest.raises(SpawnFailedError, match="exit code 3"):
        await live.zygote()
    assert bench.made[0].killed
    assert live.ready is None


async def test_one_failure_does_not_lock_the_next_out(bench: Bench) -> None:
    """Of several who wait, the next builds after a failure, and the others get that."""
    bench.refusals = [SpawnFailedError("once")]
    live = bench.live()
    got = await asyncio.gather(*(live.zygote() for _ in range(3)), return_exceptions=True)
    assert isinstance(got[0], SpawnFailedError)
    assert got[1] is got[2] is bench.made[0]


# --- Loss


async def test_the_loss_of_the_zygote_is_told_once(bench: Bench) -> None:
    """Pools hear of it at once; who asks next gets a new one."""
    live = bench.live()
    first = await live.zygote()
    bench.made[0].die()
    assert (bench.lost, live.ready) == (1, None)
    second = await live.zygote()
    assert second is not first
    assert live.ready is second
    bench.made[0].on_closed()
    assert bench.lost == 1, "the old one has nothing to tell any more"
    assert live.ready is second


async def test_workers_of_a_lost_zygote_serve_until_they_end(bench: Bench) -> None:
    """It is not killed when another is built, but when the bundle is retired."""
    live = bench.live()
    await live.zygote()
    bench.made[0].die()
    await live.zygote()
    assert not bench.made[0].killed
    live.retire()
    assert [zygote.killed for zygote in bench.made] == [True, True]
    assert live.ready is None


async def test_a_lost_zygote_whose_sandbox_has_ended_is_forgotten(bench: Bench) -> None:
    """Nothing is kept of it, however often zygotes die."""
    live = bench.live()
    for _ in range(3):
        await live.zygote()
        bench.made[-1].die()
        bench.made[-1].ended.set_result(None)
        await asyncio.sleep(0)
    assert live._old == []
    live.retire()
    assert not any(zygote.killed for zygote in bench.made)
