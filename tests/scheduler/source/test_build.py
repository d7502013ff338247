"""Building a tree: what is run, with what, when it is given up, and what is not done twice."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.output import Stream
from sandbox.spec import Exit, Network
from scheduler.source import build, package_index
from scheduler.source.build import Builder, BuildFailedError
from scheduler.source.delivery_log import DeliveryLog
from scheduler.source.kept_results import KEPT_RESULTS, KeptResults


class QuickClock:
    """Time that passes by sleeping."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        return datetime.now(UTC)

    def monotonic(self):
        return self.time

    async def sleep(self, seconds):
        self.time += seconds
        await asyncio.sleep(0)


class FakeProcess:
    pid = 1

    def __init__(self, code):
        self.ended = asyncio.Event()
        self.exit = Exit(code, None)
        if code is not None:
            self.ended.set()

    async def wait(self):
        await self.ended.wait()
        return self.exit

    async def kill(self):
        if not self.ended.is_set():
            self.exit = Exit(None, 9)
        self.ended.set()
        return self.exit


class FakeLauncher:
    """Runs nothing: makes what an installer would, prints, and ends as it is told."""

    def __init__(self):
        self.specs = []
        self.code = 0
        self.prints = b""

    async def run(self, spec, sink):
        self.specs.append(spec)
        if self.prints:
            sink.write(Stream.STDERR, self.prints)
        if "--target" in spec.argv:
            made = Path(spec.cwd) / spec.argv[spec.argv.index("--target") + 1]
            made.mkdir(parents=True)
            (made / "parcel.py").write_text("x = 1")
        sink.close()
        return FakeProcess(self.code)


class Bench:
    def __init__(self, home):
        self.home = home
        self.launcher = FakeLauncher()
        self.settings = {}
        self.environ = {"PATH": os.environ["PATH"]}
        self.builder = Builder(
            self.launcher, home, QuickClock(), settings=self.settings, environ=self.environ,
            cpu_ticks=lambda _: 0,
        )  # fmt: skip
        self.log = DeliveryLog(home / "log", QuickClock())
        self.count = 0

    async def build(self, wanted=True, **files):
        """Build a tree of files given by `tree`; return the folder to be deployed."""
        self.count += 1
        place = self.builder.workplace(str(self.count))
        for path, text in files["tree"].items():
            (place.tree / path).parent.mkdir(parents=True, exist_ok=True)
            (place.tree / path).write_text(text)
        return await self.builder.build(place, self.log, wanted=wanted)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_own_uv", lambda: "/usr/bin/uv")
    monkeypatch.setattr(package_index, "_PIP_FILES", ())
    monkeypatch.setattr(package_index, "_NPM_FILES", ())
    return Bench(tmp_path)


async def test_a_step_is_a_sandbox(bench):
    """Its own folder, bounded, with the network for downloads and an environment from nothing."""
    bench.environ |= {"SECRET": "x", "UV_INDEX_URL": "http://index.example:3141/simple"}
    tree = await bench.build(tree={"hello/function.json": "{}", "hello/requirements.txt": "a"})
    (spec,) = bench.launcher.specs
    assert spec.cwd == str(tree / "hello")
    assert (spec.network, spec.ports) == (Network.OUTBOUND, (53, 80, 443, 3141))
    assert spec.limits.memory_bytes
    assert "SECRET" not in spec.env
    assert spec.env["UV_INDEX_URL"].endswith("/simple")
    writable = [mount.source for mount in spec.mounts if mount.writable]
    assert writable == [str(bench.home / "builds" / "run")]


async def test_the_same_inputs_are_not_built_twice(bench):
    """What was made is linked to; another content, or one that names files, is made anew."""
    files = {"requirements.txt": "parcel==1"}
    first = await bench.build(tree=files)
    second = await bench.build(tree=files)
    assert len(bench.launcher.specs) == 1
    made = ".python_packages/lib/site-packages/parcel.py"
    assert (first / made).stat().st_ino == (second / made).stat().st_ino
    await bench.build(tree={"requirements.txt": "parcel==2"})
    assert len(bench.launcher.specs) == 2
    for number in (3, 4):
        await bench.build(tree={"requirements.txt": "-r more.txt", "more.txt": "x"})
        assert len(bench.launcher.specs) == number


async def test_a_failure_names_the_line(bench):
    """The package that the tool complains of is looked for in the file that asked for it."""
    bench.launcher.code, bench.launcher.prints = 1, b"No solution: nowhere was not found\n"
    with pytest.raises(BuildFailedError) as failed:
        await bench.build(tree={"requirements.txt": "parcel\n\nnowhere==3\n"})
    (problem,) = failed.value.problems
    assert (problem.where, problem.line) == ("requirements.txt", 3)
    assert "`uv pip` failed (exit code 1):\nNo solution" in problem.message


async def test_silence_ends_a_step(bench):
    """After twice the time without output or processor time; the words are Kudu's."""
    bench.settings["SCM_COMMAND_IDLE_TIMEOUT"] = "7"
    bench.launcher.code = None
    with pytest.raises(BuildFailedError, match="SCM_COMMAND_IDLE_TIMEOUT"):
        await bench.build(tree={"requirements.txt": "parcel"})
    assert 14 <= bench.builder._clock.time <= 16


async def test_a_missing_tool(bench):
    """It is said how to get it."""
    bench.environ["PATH"] = "/nowhere"
    with pytest.raises(BuildFailedError, match="apt-get install npm"):
        await bench.build(tree={"package.json": "{}"})


async def test_a_command_of_its_own(bench, monkeypatch):
    """It replaces everything else; what it puts into the target is what is deployed."""
    plain = bench.launcher.run

    async def run(spec, sink):
        if bench.count == 1:
            (Path(spec.env["DEPLOYMENT_TARGET"]) / "made.txt").write_text("x")
        return await plain(spec, sink)

    monkeypatch.setattr(bench.launcher, "run", run)
    files = {".deployment": "[config]\ncommand = make it\n", "requirements.txt": "parcel"}
    made = await bench.build(tree=files)
    assert os.listdir(made) == ["made.txt"]
    (spec,) = bench.launcher.specs
    assert spec.argv[1:] == ("-c", "make it")
    assert spec.env["DEPLOYMENT_SOURCE"] == spec.cwd
    assert (await bench.build(tree=files)).name == "tree"


async def test_a_project_in_a_folder(bench):
    """Only that is deployed, built or not; one that is not there is told."""
    files = {".deployment": "[config]\nproject = src\n", "src/a.txt": "1"}
    assert (await bench.build(wanted=False, tree=files)).name == "src"
    assert bench.launcher.specs == []
    with pytest.raises(BuildFailedError, match="no such folder"):
        await bench.build(tree={".deployment": "[config]\nproject = else\n"})


def test_kept_results_go_no_way_through_links(tmp_path):
    """A tree that brings a link where packages belong gets none."""
    kept = KeptResults(tmp_path / "kept")
    made = tmp_path / "made"
    made.mkdir()
    (made / "a").write_text("1")
    kept.keep("key", made)
    outside = tmp_path / "outside"
    outside.mkdir()
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "packages").symlink_to(outside)
    assert not kept.take("key", tree / "packages" / "lib")
    assert not kept.take("key", tree / "packages")
    assert kept.take("key", tree / "other" / "lib")
    assert not kept.take("none", tree / "more")
    assert list(outside.iterdir()) == []
    for number in range(KEPT_RESULTS + 3):
        kept.keep(f"key{number}", made)
    assert len(os.listdir(tmp_path / "kept")) == KEPT_RESULTS


def test_where_packages_come_from(tmp_path, monkeypatch):
    """Pip's file for uv as well, the environment before it, app settings first of all."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    pip = tmp_path / "pip.conf"
    pip.write_text(
        f"[global]\nindex-url = https://one.example/simple\nfind-links = {wheels}\n"
        "extra-index-url = http://two.example:81/simple\n http://three.example/simple\n"
    )
    npm = tmp_path / "npmrc"
    npm.write_text("registry=https://npm.example:8443/\n//npm.example/:_authToken=secret\n")
    monkeypatch.setattr(package_index, "_PIP_FILES", (str(pip),))
    monkeypatch.setattr(package_index, "_NPM_FILES", (str(npm),))
    environ = {"PIP_INDEX_URL": "https://env.example/simple", "HOME": "/root", "UV_CACHE_DIR": "x"}
    found = package_index.package_index({"npm_config_registry": "https://own.example/"}, environ)
    told = found.environment
    assert told["UV_DEFAULT_INDEX"] == "https://env.example/simple"
    assert told["UV_INDEX"].split() == [
        "http://two.example:81/simple",
        "http://three.example/simple",
    ]
    assert told["npm_config_registry"] == "https://own.example/"
    assert found.folders == (str(wheels),)
    assert found.ports == (53, 80, 81, 443)
    assert "secret" not in str(told)
    assert not {"HOME", "UV_CACHE_DIR"} & told.keys()


@pytest.mark.parametrize("replaced", ["sub", "../target"])
async def test_a_build_cannot_have_something_else_deployed(bench, monkeypatch, tmp_path, replaced):
    """A folder that it has made a link would lead the platform to files that no build may read."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "host.json").write_text("{}")
    run = bench.launcher.run

    async def replacing(spec, sink):
        place = Path(spec.env["DEPLOYMENT_SOURCE"]).parent / replaced
        place.rename(place.with_name("away"))
        place.symlink_to(tmp_path / "secrets")
        return await run(spec, sink)

    monkeypatch.setattr(bench.launcher, "run", replacing)
    settings = "[config]\nproject = sub\ncommand = true\n"
    with pytest.raises(BuildFailedError, match="replaced the folder that is deployed by a link"):
        await bench.build(tree={".deployment": settings, "sub/host.json": "{}"})


def test_what_a_link_on_the_way_leads_to_is_not_kept(tmp_path):
    """Neither copied nor given another owner."""
    kept = KeptResults(tmp_path / "kept")
    (tmp_path / "other" / "made").mkdir(parents=True)
    (tmp_path / "tree").symlink_to(tmp_path / "other")
    kept.keep("key", tmp_path / "tree" / "made")
    assert not (tmp_path / "kept" / "key").exists()


@pytest.mark.parametrize("left", ["file", "link"])
async def test_what_a_build_leaves_in_place_of_a_cache_stops_no_other(bench, tmp_path, left):
    """Caches are all builds' to write to, so any of them may have been replaced."""
    wanted = {"requirements.txt": "parcel"}
    await bench.build(tree=wanted)
    cache = tmp_path / "builds/run/cache/uv"
    cache.rmdir()
    cache.write_text("") if left == "file" else cache.symlink_to("nowhere")
    await bench.build(tree={"requirements.txt": "parcel==2"})
    assert cache.is_dir()
    assert not cache.is_symlink()


def test_app_settings_show_no_folder_of_the_machine(tmp_path, monkeypatch):
    """A key that deploys sets them: it would read whatever a build can be shown."""
    monkeypatch.setattr(package_index, "_PIP_FILES", ())
    monkeypatch.setattr(package_index, "_NPM_FILES", ())
    wanted = {"PIP_FIND_LINKS": str(tmp_path), "UV_INDEX_URL": f"file://{tmp_path}"}
    assert package_index.package_index(wanted, {}).folders == ()
    assert package_index.package_index({}, wanted).folders == (str(tmp_path),)
