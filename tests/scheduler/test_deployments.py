"""From changed files to what serves: what is refused, what is listed, what is no deployment."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from scheduler import file_index, release_copy, retention
from scheduler.catalog import Catalog
from scheduler.deployment import TRANSITIONS, WATCHED, DeploymentState
from scheduler.deployments import Deployments
from scheduler.errors import UnavailableError
from scheduler.functions import JobKind, Problem
from scheduler.isolation import Level
from scheduler.releases import Releases
from scheduler.store.port_app import ConfigValue, DeploymentPage

LIVE, REFUSED = DeploymentState.LIVE, DeploymentState.REFUSED
SAVED = f"{WATCHED}saved"


class LaterClock:
    """A clock an hour ahead of the files, so that they are quiet; sleeping takes no time."""

    def __init__(self):
        self.ahead = timedelta(hours=1)
        self.slept = []
        self.on_sleep = lambda: None

    def now(self):
        return datetime.now(UTC) + self.ahead

    def monotonic(self):
        return sum(self.slept)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.on_sleep()
        await asyncio.sleep(0)


class Store:
    """Remembers every record."""

    def __init__(self):
        self.records = []
        self.config = {}
        self.down = False

    async def record_deployment(self, deployment):
        self._answer()
        self.records.append(deployment)
        return deployment

    async def deployments(self, _limit=50, cursor=None):
        """Return one record a page, so that every reader has to turn pages."""
        self._answer()
        rows = sorted({r.id: r for r in self.records}.values(), key=lambda r: r.id, reverse=True)
        at = int(cursor or 0)
        return DeploymentPage(rows[at : at + 1], str(at + 1) if at + 1 < len(rows) else None)

    async def get_config(self, key):
        self._answer()
        return self.config.get(key)

    async def put_config(self, key, value, _expected_rev=None):
        self._answer()
        self.config[key] = ConfigValue(value, 1)
        return 1

    def _answer(self):
        if self.down:
            raise UnavailableError("disk full")


class Site:
    """A site, its deployments, and fakes around them."""

    def __init__(self, root):
        self.root = root / "wwwroot"
        self.root.mkdir()
        self.home = root / "home"
        self.store = Store()
        self.clock = LaterClock()
        self.settings = {}
        self.prepared = []
        self.failing = {}
        self.least = None
        self._begin(self.root)

    def _begin(self, root):
        self.catalog = Catalog()
        self.releases = Releases(self.home, precompile=lambda _: None)
        self.deployments = Deployments(
            root,
            self.home,
            self.catalog,
            self.releases,
            self.store,
            prepare=self._prepare,
            settings=self.settings,
            least=self.least,
            clock=self.clock,
        )

    async def restart(self, root=None):
        """Begin a new life of the platform; return what it serves before it looks at the site."""
        self._begin(root or self.root)
        await self.deployments.open()
        self.decided = await self.deployments.resume()
        return self.deployments.current

    async def _prepare(self, current, coming, doubtful=None):
        """Fail as the import of a worker does, for each changed function that is to fail."""
        digests = {f.name: f.bundle.digest for f in current.functions}
        changed = [f for f in coming.functions if digests.get(f.name) != f.bundle.digest]
        self.prepared.append([f.name for f in changed])
        self.doubtful = doubtful
        return [
            Problem(f.script_file, self.failing[f.name], field="import")
            for f in changed
            if f.name in self.failing
        ]

    def function(self, name, code="def main(req): ...", manifest=None, **more):
        """Write a function."""
        binding = {"type": "httpTrigger", "direction": "in", "name": "req"}
        self.file(f"{name}/__init__.py", code)
        self.file(f"{name}/function.json", manifest or json.dumps({"bindings": [binding], **more}))

    def file(self, path, text=""):
        """Write a file."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    async def deploy(self, reason=SAVED):
        """Reconcile."""
        return await self.deployments.reconcile(reason)

    @property
    def names(self):
        """Return what serves."""
        return [f.name for f in self.catalog.functions()]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return an empty site, of which five releases are kept."""
    monkeypatch.setattr(retention, "KEPT_RELEASES", 5)
    return Site(tmp_path)


def test_every_state_has_an_entry_and_ends_have_none():
    """The table is total; live and refused are final."""
    assert set(TRANSITIONS) == set(DeploymentState)
    assert [state for state in TRANSITIONS if not TRANSITIONS[state]] == [LIVE, REFUSED]


async def test_first_deployment(site):
    """What is there serves, from a release and not from the site; the record says all."""
    site.function("hello")
    site.file("App_Data/jobs/triggered/report/run.sh")
    deployment = await site.deploy()
    assert deployment.state is LIVE
    assert deployment.added == ("hello", "triggered/report")
    assert deployment.generation == 1
    assert deployment.problems == ()
    assert deployment.ended_at >= deployment.started_at
    function = site.catalog.function("hello")
    assert function.bundle.root == site.home / "releases" / deployment.digest
    job = site.catalog.job(JobKind.TRIGGERED, "report")
    assert job.live_folder == site.root / "App_Data/jobs/triggered/report"
    assert job.folder == function.bundle.root / "App_Data/jobs/triggered/report"
    assert site.prepared == [["hello"]]
    assert site.deployments.current == deployment
    assert await site.deployments.history(1) == [deployment]
    assert [record.state.value for record in site.store.records] == ["built", "live"]
    assert {record.id for record in site.store.records} == {deployment.id}


async def test_empty_site_deploys(site):
    """Nothing is a state that can serve."""
    assert (await site.deploy()).state is LIVE
    assert site.catalog.generation == 1


async def test_no_change_is_no_deployment(site):
    """Neither a rescan, nor a request, nor a touch makes a record."""
    site.function("hello")
    first = await site.deploy()
    assert await site.deploy(f"{WATCHED}rescan") is first
    assert await site.deploy("requested") is first
    os.utime(site.root / "hello/__init__.py", (1, 1))
    assert await site.deploy() is first
    site.file("hello/.__init__.py.swp", "editing")
    assert await site.deploy() is first
    assert len(site.store.records) == 2
    assert site.catalog.generation == 1


async def test_edit_changes_one_function(site):
    """Only its workers are made anew; the other keeps its bundle."""
    site.function("one")
    site.function("two")
    await site.deploy()
    kept = site.catalog.function("two").bundle
    site.function("one", "def main(req): return 'new'")
    deployment = await site.deploy()
    assert deployment.changed == ("one",)
    assert site.prepared == [["one", "two"], ["one"]]
    assert site.catalog.function("two").bundle is kept
    assert int(deployment.id) > int((await site.deployments.history())[1].id)


async def test_changed_settings_are_a_deployment(site):
    """The same files under other settings are another app."""
    site.function("hello")
    await site.deploy()
    site.settings["A"] = "1"
    assert (await site.deploy(f"{WATCHED}rescan")).changed == ("hello",)
    assert site.catalog.function("hello").environment == {"A": "1"}


async def test_removed_function(site):
    """A folder that is gone is a function that is gone."""
    site.function("hello")
    await site.deploy()
    (site.root / "hello/function.json").unlink()
    assert (await site.deploy()).removed == ("hello",)
    assert site.names == []


async def test_broken_manifest_of_a_served_function_refuses(site):
    """Its last good version goes on, with everything else as it was."""
    site.function("hello")
    site.function("other")
    live = await site.deploy()
    serving = site.catalog.definition
    site.function("hello", manifest="{")
    site.function("other", "changed = True")
    refused = await site.deploy()
    assert refused.state is REFUSED
    assert [problem.owner for problem in refused.problems] == ["hello"]
    assert site.catalog.definition is serving
    assert site.deployments.current == live
    assert site.prepared == [["hello", "other"]]
    assert site.store.records[-1] == refused


async def test_mending_after_a_refusal(site):
    """The next good state serves; going back to the old one is a deployment as well."""
    site.function("hello")
    await site.deploy()
    site.function("hello", manifest="{")
    await site.deploy()
    site.function("hello")
    assert (await site.deploy()).state is LIVE


async def test_new_broken_function_does_not_stop_the_others(site):
    """It is listed in error, the edit beside it serves."""
    site.function("hello")
    await site.deploy()
    site.function("hello", "x = 1")
    site.function("broken", manifest="{}")
    deployment = await site.deploy()
    assert deployment.state is LIVE
    assert deployment.changed == ("hello",)
    assert site.names == ["hello"]
    assert [p.owner for p in site.catalog.definition.problems] == ["broken"]
    site.function("hello", "x = 2")
    assert (await site.deploy()).state is LIVE


async def test_first_deployment_serves_what_works(site):
    """With nothing to lose, nothing is refused."""
    site.function("good")
    site.function("bad", manifest="{")
    site.file("jobs/continuous/empty/readme.md")
    deployment = await site.deploy()
    assert deployment.state is LIVE
    assert site.names == ["good"]
    assert {p.owner for p in deployment.problems} == {"bad", "continuous/empty"}
    assert site.catalog.job(JobKind.CONTINUOUS, "empty").error


async def test_broken_host_json(site):
    """At first there are no functions; later it refuses."""
    site.function("hello")
    site.file("host.json", "{}")
    assert (await site.deploy()).state is LIVE
    assert site.names == []
    site.file("host.json", '{"version": "2.0"}')
    await site.deploy()
    assert site.names == ["hello"]
    site.file("host.json", "{")
    assert (await site.deploy()).state is REFUSED
    assert site.names == ["hello"]


async def test_old_error_of_the_app_does_not_hold_up_the_jobs(site):
    """An error that was there before takes nothing away now."""
    site.file("function_app.py")
    site.file("jobs/triggered/j/run.sh", "1")
    await site.deploy()
    site.file("jobs/triggered/j/run.sh", "2")
    assert (await site.deploy()).changed == ("triggered/j",)


async def test_job_that_loses_its_script_refuses(site):
    """A half-done change of a job keeps the good one."""
    site.file("jobs/continuous/mail/run.sh")
    await site.deploy()
    (site.root / "jobs/continuous/mail/run.sh").rename(site.root / "jobs/continuous/mail/x.txt")
    refused = await site.deploy()
    assert refused.state is REFUSED
    assert refused.problems[0].owner == "continuous/mail"
    assert site.catalog.job(JobKind.CONTINUOUS, "mail").script == "run.sh"


async def test_disable_mark_changes_the_job(site):
    """disable.job is a change of the definition, not of the bundle."""
    site.file("jobs/continuous/mail/run.sh")
    await site.deploy()
    bundle = site.catalog.job(JobKind.CONTINUOUS, "mail").bundle
    site.file("jobs/continuous/mail/disable.job")
    assert (await site.deploy()).changed == ("continuous/mail",)
    assert site.catalog.job(JobKind.CONTINUOUS, "mail").disabled
    assert site.catalog.job(JobKind.CONTINUOUS, "mail").bundle is bundle


async def test_import_failure_of_a_served_function_refuses(site):
    """The first worker could not load it: the old code goes on."""
    site.function("hello")
    await site.deploy()
    site.failing["hello"] = "ImportError: no module named 'x'"
    site.function("hello", "import x")
    refused = await site.deploy()
    assert refused.state is REFUSED
    assert refused.problems[-1].owner == "hello"
    assert "ImportError" in refused.problems[-1].message
    assert site.catalog.generation == 1


async def test_import_failure_of_a_new_function_is_listed(site):
    """It is served, each call tells the error, and it stays in error until it is mended."""
    site.function("hello")
    await site.deploy()
    site.failing["new"] = "ImportError: no module named 'x'"
    site.function("new", "import x")
    assert (await site.deploy()).state is LIVE
    assert site.names == ["hello", "new"]
    site.function("hello", "x = 1")
    deployment = await site.deploy()
    assert [p.owner for p in deployment.problems] == ["new"]
    site.function("new", "import y")
    assert (await site.deploy()).state is LIVE
    site.failing.clear()
    site.function("new", "import z")
    assert (await site.deploy()).problems == ()
    site.failing["new"] = "ImportError"
    site.function("new", "import x")
    assert (await site.deploy()).state is REFUSED


async def test_refused_is_told_once(site):
    """Rescans and editors' files do not repeat it; a request tries once more."""
    site.function("hello")
    await site.deploy()
    site.failing["hello"] = "no memory"
    site.function("hello", "x = 1")
    refused = await site.deploy()
    assert await site.deploy(f"{WATCHED}rescan") is refused
    assert site.prepared == [["hello"], ["hello"], []]  # tried once, and then let go
    again = await site.deploy("requested")
    assert again.state is REFUSED
    assert again.id != refused.id
    site.failing.clear()
    assert (await site.deploy("requested")).state is LIVE


async def test_missing_site_is_no_empty_app(site):
    """A folder that is being moved away and back does not take the functions with it."""
    site.function("hello")
    await site.deploy()
    site.root.rename(site.root.parent / "moved")
    refused = await site.deploy()
    assert refused.state is REFUSED
    assert "is missing; put it back" in refused.problems[0].message
    assert await site.deploy(f"{WATCHED}rescan") is refused
    assert site.names == ["hello"]
    (site.root.parent / "moved").rename(site.root)
    assert (await site.deploy(f"{WATCHED}rescan")).state is LIVE


async def test_full_disk_is_refused_and_tried_again(site, monkeypatch):
    """The reason is told, and the next rescan after space was made deploys."""
    site.function("hello")
    await site.deploy()
    site.function("hello", "x = 1")
    build = site.releases.build

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(site.releases, "build", full)
    refused = await site.deploy()
    assert refused.state is REFUSED
    assert "free some space" in refused.problems[0].message
    assert await site.deploy(f"{WATCHED}rescan") is refused
    monkeypatch.setattr(site.releases, "build", build)
    assert (await site.deploy(f"{WATCHED}rescan")).changed == ("hello",)


async def test_store_that_is_down_does_not_stop_a_deployment(site):
    """The files serve without it; the history of the process has the record."""
    site.store.down = True
    site.function("hello")
    deployment = await site.deploy()
    assert deployment.state is LIVE
    assert await site.deployments.history() == [deployment]


async def test_waits_until_the_newest_change_is_old_enough(site):
    """A file that was just written is looked at again; quiet files are not waited for."""
    site.function("hello")
    site.clock.ahead = timedelta(0)
    await site.deploy()
    assert len(site.clock.slept) == 1
    assert 0 < site.clock.slept[0] <= 0.2
    site.clock.ahead = timedelta(hours=1)
    site.function("hello", "x = 1")
    await site.deploy()
    assert len(site.clock.slept) == 1


async def test_half_written_file_is_never_deployed(site):
    """As long as two looks differ, nothing is copied."""
    site.clock.ahead = timedelta(0)
    parts = iter(["def main(req):\n", "    return (", "'whole')\n"])

    def write_on():
        if (part := next(parts, None)) is not None:
            with (site.root / "hello/__init__.py").open("a") as file:
                file.write(part)

    site.function("hello", "")
    site.clock.on_sleep = write_on
    deployment = await site.deploy()
    code = site.home / "releases" / deployment.digest / "hello/__init__.py"
    assert code.read_text() == "def main(req):\n    return ('whole')\n"
    assert len(site.store.records) == 2


async def test_file_that_is_never_quiet_does_not_stop_deployments(site):
    """After a while it is left as it was deployed last, with a warning."""
    site.function("hello")
    site.file("hello/trace.log", "start")
    await site.deploy()
    site.clock.ahead = timedelta(0)

    def trace():
        with (site.root / "hello/trace.log").open("a") as file:
            file.write("more\n")

    site.clock.on_sleep = trace
    site.function("hello", "x = 1")
    deployment = await site.deploy()
    assert deployment.state is LIVE
    assert sum(site.clock.slept) >= 10
    (problem,) = deployment.problems
    assert problem.warning
    assert problem.where == "hello/trace.log"
    assert "deployed as it was before" in problem.message
    root = site.home / "releases" / deployment.digest
    assert (root / "hello/trace.log").read_text() == "start"
    assert (root / "hello/__init__.py").read_text() == "x = 1"


async def test_calls_during_a_run_share_the_next(site):
    """Serial, and what was seen during a run is looked at after it."""
    site.function("hello")
    gate, entered = asyncio.Event(), asyncio.Event()
    prepare = site.deployments._prepare

    async def slow(current, coming, **_):
        entered.set()
        await gate.wait()
        return await prepare(current, coming)

    site.deployments._prepare = slow
    async with asyncio.TaskGroup() as group:
        first = group.create_task(site.deploy("first"))
        await entered.wait()
        site.function("late")
        others = [group.create_task(site.deploy(f"other {n}")) for n in range(5)]
        await asyncio.sleep(0)
        gate.set()
    assert first.result().added == ("hello",)
    assert {task.result().id for task in others} == {others[0].result().id}
    assert others[0].result().added == ("late",)
    assert len(site.prepared) == 2


async def test_cancelled_run_does_not_answer_the_next(site):
    """Who waited behind a cancelled run gets a run of their own."""
    site.function("hello")
    entered = asyncio.Event()
    prepare = site.deployments._prepare

    async def stuck(_current, _coming, **_):
        entered.set()
        await asyncio.Event().wait()

    site.deployments._prepare = stuck
    async with asyncio.TaskGroup() as group:
        first = group.create_task(site.deploy("requested"))
        await entered.wait()
        second = group.create_task(site.deploy("requested"))
        await asyncio.sleep(0)
        site.deployments._prepare = prepare
        first.cancel()
    assert second.result().state is LIVE
    assert site.names == ["hello"]


async def test_jobs_outside_of_the_site(site):
    """They are copied into the release, and edited where they live."""
    folder = site.home / "site/jobs/continuous/mail"
    folder.mkdir(parents=True)
    (folder / "run.sh").write_text("echo")
    await site.deploy()
    job = site.catalog.job(JobKind.CONTINUOUS, "mail")
    assert (job.folder / "run.sh").read_text() == "echo"
    assert job.live_folder == folder
    assert site.deployments.watched_roots() == [site.home / "site/jobs"]
    (folder / "run.sh").write_text("echo more")
    assert (await site.deploy()).changed == ("continuous/mail",)


async def test_old_releases_go_after_a_while(site):
    """The newest few stay, and those whose bundles still serve."""
    site.function("hello")
    site.function("constant")
    first = await site.deploy()
    digests = []
    for number in range(8):
        site.function("hello", f"x = {number}")
        digests.append((await site.deploy()).digest)
    assert set(site.releases.names()) == {first.digest, *digests}
    site.clock.slept.append(2 * 3600)
    site.function("hello", "x = 99")
    last = await site.deploy()
    assert set(site.releases.names()) == {first.digest, *digests[-3:], last.digest}


async def test_fewer_releases_stay_on_a_full_disk(site, monkeypatch):
    """Then room counts more than the way back."""
    monkeypatch.setattr(retention, "ROOM_BYTES", 1 << 80)
    monkeypatch.setattr(retention, "KEPT_WHEN_FULL", 2)
    for number in range(4):
        site.function("hello", f"x = {number}")
        await site.deploy()
        site.clock.slept.append(2 * 3600)
    assert len(site.releases.names()) == 2


async def test_open_takes_over_earlier_releases(site, tmp_path):
    """After a restart the same files are the same release, and the newest are kept."""
    site.function("hello")
    for number in range(7):
        site.function("hello", f"x = {number}")
        await site.deploy()
    again = Deployments(
        site.root, site.home, Catalog(), Releases(site.home), site.store,
        prepare=site._prepare, settings={}, clock=site.clock,
    )  # fmt: skip
    await again.open()
    live = await again.reconcile("start")
    assert live.digest == (await site.deployments.history(1))[0].digest
    assert len(site.releases.names()) == 5


@pytest.fixture
def reads(monkeypatch):
    """Return the paths of the files whose content is read."""
    read = []
    plain = file_index.content_digest

    def counted(entry, copy_to=None):
        read.append(entry.source)
        return plain(entry, copy_to)

    monkeypatch.setattr(file_index, "content_digest", counted)
    monkeypatch.setattr(release_copy, "content_digest", counted)
    return read


async def test_restart_on_an_unchanged_site(site, reads):
    """It serves from the same release; nothing is recorded, and every file is read once."""
    site.function("hello")
    site.file("jobs/triggered/report/run.sh")
    site.file("shared/a.txt", "a")
    (site.root / "link.txt").symlink_to("shared/a.txt")
    (site.root / "away").symlink_to("/etc/hostname")
    outer = site.home / "site/jobs/continuous/mail"
    outer.mkdir(parents=True)
    (outer / "run.sh").write_text("echo")
    first = await site.deploy()
    records = list(site.store.records)
    reads.clear()
    resumed = await site.restart()
    assert resumed == first
    assert site.decided
    assert site.names == ["hello"]
    assert site.catalog.function("hello").bundle.root == site.home / "releases" / first.digest
    assert await site.deployments.reconcile("start") is resumed
    assert await site.deploy(f"{WATCHED}rescan") is resumed
    assert site.deployments.current is resumed
    assert site.store.records == records
    assert site.catalog.generation == 1
    assert len(reads) == len(set(reads)) == 5
    assert not any("releases" in path for path in reads)
    assert [p.where for p in site.catalog.definition.problems] == ["away"]


@pytest.mark.parametrize("manifest", ["{", None])
async def test_restart_on_a_broken_site(site, manifest):
    """The last good one serves, the refusal is recorded once, and mending deploys."""
    site.function("hello", "x = 1")
    first = await site.deploy()
    site.function("hello", "import x", manifest)
    assert await site.restart() == first
    site.failing["hello"] = "ImportError: x"
    refused = await site.deployments.reconcile("start")
    assert refused.state is REFUSED
    assert [p.owner for p in refused.problems] == ["hello"]
    assert site.deployments.current == first
    root = site.catalog.function("hello").bundle.root
    assert (root / "hello/__init__.py").read_text() == "x = 1"
    assert await site.deploy(f"{WATCHED}rescan") is refused
    site.failing = {}
    site.function("hello", "x = 2")
    assert (await site.deploy()).changed == ("hello",)


async def test_second_restart_goes_back_behind_the_refusal(site):
    """What is looked for is what served, however many attempts were refused since."""
    site.function("hello", "x = 1")
    first = await site.deploy()
    for number in range(7):
        site.function("hello", manifest="{" * (number + 1))
        await site.deploy()
    assert await site.restart() == first
    assert (await site.deployments.reconcile("start")).state is REFUSED
    assert await site.restart() == first


async def test_restart_on_a_missing_site(site):
    """The folder is not mounted yet: what served goes on."""
    site.function("hello")
    first = await site.deploy()
    site.root.rename(site.root.parent / "moved")
    assert await site.restart() == first
    assert (await site.deployments.reconcile("start")).state is REFUSED
    assert site.names == ["hello"]


async def test_restart_on_a_changed_site(site, reads):
    """The new one goes live after the old one; only what changed is new, and is read again."""
    site.function("hello")
    site.function("other")
    first = await site.deploy()
    site.function("hello", "x = 2")
    site.prepared.clear()
    reads.clear()
    assert await site.restart() == first
    assert not site.decided
    assert len([path for path in reads if "releases" in path]) == 2  # the other is not read
    live = await site.deployments.reconcile("start")
    assert (live.state, live.reason, live.changed) == (LIVE, "start", ("hello",))
    assert site.prepared == [["hello", "other"], ["hello"]]
    assert await site.deployments.history() == [live, first]


async def test_an_edit_that_looks_the_same_is_found_at_a_restart(site):
    """Size and time were kept: the release is whole, and the site is not what served."""
    site.function("hello", "x = 1")
    first = await site.deploy()
    file = site.root / "hello/__init__.py"
    before = file.stat()
    file.write_text("x = 2")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await site.restart() == first
    assert (await site.deployments.reconcile("start")).changed == ("hello",)


@pytest.mark.parametrize("harm", ["changed", "gone", "cut", "more"])
async def test_damaged_release_is_skipped(site, harm, caplog):
    """It is told and made anew from the site; nothing of it serves."""
    site.function("hello", "x = 1")
    first = await site.deploy()
    root = site.home / "releases" / first.digest
    file = root / "hello/__init__.py"
    if harm == "gone":
        shutil.rmtree(root)
    elif harm == "more":
        (root / "hello/more.py").write_text("x")
    else:
        file.write_text("" if harm == "cut" else "x = 3")
    assert await site.restart() is None
    assert "gone or damaged" in caplog.text
    assert site.names == []
    live = await site.deployments.reconcile("start")
    assert (live.state, live.digest) == (LIVE, first.digest)
    assert file.read_text() == "x = 1"
    assert sorted(os.listdir(root / "hello")) == ["__init__.py", "function.json"]


async def test_another_site_in_the_same_home_is_not_resumed(site, tmp_path):
    """Its functions are no part of this app."""
    site.function("hello")
    await site.deploy()
    (tmp_path / "other").mkdir()
    assert await site.restart(tmp_path / "other") is None
    live = await site.deployments.reconcile("start")
    assert (live.state, site.names) == (LIVE, [])
    assert await site.restart() is None


async def test_store_that_is_down_does_not_stop_a_start(site, caplog):
    """What served last is not known then; the site is."""
    site.function("hello")
    await site.deploy()
    site.store.down = True
    assert await site.restart() is None
    assert "not known" in caplog.text
    assert (await site.deployments.reconcile("start")).state is LIVE


async def test_release_that_cannot_be_prepared_is_skipped(site, caplog):
    """No worker is to be had for it: the site is tried as at a first start."""
    site.function("hello")
    await site.deploy()
    prepare = site._prepare

    async def fail(_current, _coming, **_):
        raise UnavailableError("no memory")

    site._prepare = fail
    assert await site.restart() is None
    assert "cannot serve: .: no memory" in caplog.text
    site.deployments._prepare = prepare
    assert (await site.deployments.reconcile("start")).state is LIVE


async def test_changed_settings_are_seen_at_a_restart(site):
    """The same files under other settings serve with these at once."""
    site.function("hello")
    first = await site.deploy()
    site.settings["A"] = "1"
    assert await site.restart() == first
    assert site.catalog.function("hello").environment == {"A": "1"}
    assert (await site.deployments.reconcile("start")).id == first.id


async def test_an_import_error_stands_at_its_line(site):
    """The guest names the app's file; the problem is there, and its text does not repeat it."""
    site.function("hello")
    site.file("shared/util.py")
    site.failing["hello"] = "KeyError: 'x' (shared/util.py, line 3)\nTraceback"
    problem = (await site.deploy()).problems[0]
    assert (problem.where, problem.line, problem.owner) == ("shared/util.py", 3, "hello")
    assert str(problem) == "shared/util.py:3: import: KeyError: 'x'\nTraceback"


async def test_a_restart_need_not_import_everything_again(site):
    """What served loads; only what did not is named as doubtful. New files are all tried."""
    site.function("hello")
    site.function("bad")
    site.failing["bad"] = "ImportError: x"
    await site.deploy()
    assert site.doubtful is None
    await site.restart()
    assert site.doubtful == {"bad"}
    assert [p.owner for p in site.catalog.definition.problems] == ["bad"]
    site.function("hello", "x = 2")
    await site.deploy()
    assert site.doubtful is None


OURS = (".taak", "__pycache__")


def root_of(site, name):
    """Return the root of a function's bundle, and the names directly in it."""
    root = site.catalog.function(name).bundle.root
    return root, sorted(path.name for path in root.iterdir() if path.name not in OURS)


async def test_a_release_holds_what_is_new(site):
    """Functions that did not change stay where they are, also in the next life."""
    for name in ("a", "b", "c"):
        site.function(name)
    site.file("shared.py", "x = 1")
    first = await site.deploy()
    site.function("b", "x = 2")
    second = await site.deploy()
    site.function("c", "x = 3")
    third = await site.deploy()
    assert third.changed == ("c",)
    expected = {
        "a": (site.home / "releases" / first.digest, ["a", "b", "c", "shared.py"]),
        "b": (site.home / "releases" / second.digest, ["b", "shared.py"]),
        "c": (site.home / "releases" / third.digest, ["c", "shared.py"]),
    }
    assert {name: root_of(site, name) for name in site.names} == expected
    assert (await site.restart()) == third
    assert site.decided
    assert {name: root_of(site, name) for name in site.names} == expected
    site.function("a", "x = 4")
    assert (await site.deploy()).changed == ("a",)
    assert root_of(site, "b") == expected["b"]


async def test_shared_code_changes_every_root(site):
    """No function sees its own folder of one release beside the shared files of another."""
    for name in ("a", "b"):
        site.function(name)
    site.file("shared.py", "x = 1")
    site.file("jobs/triggered/j/run.sh", "true")
    first = await site.deploy()
    site.file("shared.py", "x = 2")
    second = await site.deploy()
    assert second.changed == ("a", "b")
    for name in ("a", "b"):
        root, _ = root_of(site, name)
        assert root.name == second.digest
        assert (root / "shared.py").read_text() == "x = 2"
        assert (root / name / "__init__.py").exists()
    assert site.catalog.job(JobKind.TRIGGERED, "j").bundle.root.name == first.digest


async def test_one_sandbox_for_all_has_one_root(site):
    """Functions that come together after they stood apart are brought into one release."""
    for name in ("a", "b"):
        site.function(name)
    await site.deploy()
    site.function("b", "x = 2")
    await site.deploy()
    site.file("host.json", json.dumps({"version": "2.0", "taak": {"isolation": "app"}}))
    together = await site.deploy()
    assert root_of(site, "a") == root_of(site, "b")
    assert root_of(site, "a") == (
        site.home / "releases" / together.digest,
        ["a", "b", "host.json"],
    )
    site.function("b", "x = 3")
    again = await site.deploy()
    assert await site.restart() == again
    root, names = root_of(site, "a")
    assert names == ["a", "b", "host.json"]
    assert (root / "b/__init__.py").read_text() == "x = 3"


async def test_a_level_below_the_platforms_is_told_at_its_setting(site):
    """Where the level stands and with the option; it is no fault of the code."""
    site.least = Level.STANDARD
    site._begin(site.root)
    site.function("f", taak={"sandbox": "trusted"})
    site.function("g")
    site.failing = {"f": "cannot be built"}
    site.file("jobs/triggered/j/run.sh")
    site.file("jobs/triggered/j/settings.job", '{"taak": {"sandbox": "trusted"}}')
    for _ in range(2):  # also when nothing about it has changed
        site.file("g/more.py", str(_))
        done = await site.deploy()
        assert done.state is LIVE
        function, job = done.problems
        assert str(function).startswith(
            "f/function.json: taak.sandbox: the bundle 'f' has the level"
        )
        assert "--require-sandbox standard" in function.message
        assert (function.owner, job.owner) == ("f", "triggered/j")
        assert job.where == "jobs/triggered/j/settings.job"


async def test_a_level_of_the_whole_app_is_told_in_host_json(site):
    """Each function is named, for each may set its own."""
    site.least = Level.STRICT
    site._begin(site.root)
    site.function("f")
    done = await site.deploy()
    [problem] = done.problems
    assert (problem.where, problem.owner) == ("host.json", "f")
