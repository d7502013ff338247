"""A tree from outside: checked aside, written into the site, served; or refused without a trace."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from scheduler.deployment import WATCHED, DeploymentState
from scheduler.errors import ConflictError, NotFoundError
from scheduler.functions import Problem
from scheduler.source.build import Builder
from scheduler.source.deliveries import IN_PROGRESS, Deliveries
from scheduler.source.record import DeliveryStatus, SourceKind
from scheduler.source.under_way import Arrival
from tests.scheduler.test_deployments import Site

FUNCTION = {
    "hello/__init__.py": "def main(req): ...",
    "hello/function.json": json.dumps(
        {"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req"}]}
    ),
}


class NoCheck:
    """Finds in scripts what a test has said."""

    def __init__(self):
        self.found = ()

    async def problems(self, _tree, _site):
        return self.found


class Bench:
    """A site and its deliveries."""

    def __init__(self, root):
        self.site = Site(root)
        self.check = NoCheck()
        self.begin()

    def begin(self):
        """Begin a life of the platform."""
        builder = Builder(None, self.site.home, self.site.clock, settings={}, environ={})
        self.deliveries = Deliveries(
            self.site.deployments, builder, self.check, self.site.home, self.site.root,
            self.site.clock,
        )  # fmt: skip

    async def deliver(self, kind=SourceKind.GIT, during=lambda: None, **files):
        """Deliver a tree; a keyword `tree` has paths with slashes."""

        async def fill(tree, _log):
            for path, text in files.get("tree", {}).items():
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                (tree / path).write_text(text)
            during()

        under_way = self.deliveries.begin(Arrival(kind=kind, reason="a push"))
        record = await self.deliveries.carry_out(under_way, fill, build=False)
        self.lines = [line.text for line in self.deliveries.records.log(record.id)]
        return record

    @property
    def files(self):
        root = self.site.root
        return {
            path.relative_to(root).as_posix(): path.read_text()
            for path in root.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_a_tree_serves_and_lies_in_the_site(bench):
    """One attempt, one record of it; the watch finds nothing new afterwards."""
    bench.site.file("mine.txt", "foreign")
    record = await bench.deliver(tree=FUNCTION)
    assert record.status is DeliveryStatus.SUCCESS
    assert bench.site.names == ["hello"]
    assert bench.files == {**FUNCTION, "mine.txt": "foreign"}
    live = bench.site.deployments.current
    assert (live.id, live.reason, live.added) == (record.id, "a push", ("hello",))
    assert await bench.site.deploy(f"{WATCHED}rescan") is live
    assert bench.lines[-1] == "Deployment successful."
    assert not list((bench.site.home / "builds" / "run").iterdir())


async def test_what_comes_is_new_and_what_stays_keeps_its_time(bench):
    """Archives give all files one time, by which a job's private copy would look unchanged."""
    file = "hello/__init__.py"

    def age():
        for path in (bench.site.home / "builds" / "run").rglob("*.py"):
            os.utime(path, (1, 1))

    await bench.deliver(during=age, tree=FUNCTION)
    first = (bench.site.root / file).stat().st_mtime
    assert first > 1
    await bench.deliver(during=age, tree={**FUNCTION, "new.py": "x = 1"})
    assert (bench.site.root / file).stat().st_mtime == first
    assert (bench.site.root / "new.py").stat().st_mtime >= first


async def test_the_next_tree_takes_away_what_the_one_before_brought(bench):
    """Foreign files stay, and so does what an operator has put beside a job."""
    await bench.deliver(tree={**FUNCTION, "jobs/continuous/mail/run.sh": "x", "old.txt": "1"})
    bench.site.file("jobs/continuous/mail/disable.job")
    record = await bench.deliver(tree={"jobs/continuous/mail/run.sh": "x"})
    assert record.status is DeliveryStatus.SUCCESS
    expected = {"jobs/continuous/mail/run.sh": "x", "jobs/continuous/mail/disable.job": ""}
    assert bench.files == expected
    assert bench.site.names == []


async def test_what_would_break_what_works_is_refused(bench):
    """The site is as it was, the release goes on, and the reason has file and line."""
    await bench.deliver(tree=FUNCTION)
    before = bench.site.deployments.current
    broken = {**FUNCTION, "hello/function.json": '{\n"bindings": [}', "new.txt": "1"}
    record = await bench.deliver(tree=broken)
    assert record.status is DeliveryStatus.FAILED
    assert not record.build_failed
    assert record.told[0].startswith("hello/function.json:2: ")
    assert bench.files == FUNCTION
    assert bench.site.deployments.current is before
    assert not (bench.site.root / ".taak").exists()
    assert await bench.site.deploy(f"{WATCHED}rescan") is before


async def test_a_broken_script_of_a_job_that_works_is_refused(bench):
    """One of a new job is told, and the rest goes live."""
    tree = {"jobs/triggered/report/run.py": "print(1)"}
    await bench.deliver(tree=tree)
    path = "jobs/triggered/report/run.py"
    bench.check.found = (Problem(path, "cannot run: bad", line=3, owner="triggered/report"),)
    record = await bench.deliver(tree={path: "print("})
    assert record.told == (f"{path}:3: cannot run: bad",)
    assert bench.files == tree
    bench.check.found = (Problem("jobs/triggered/b/run.py", "cannot run", owner="triggered/b"),)
    record = await bench.deliver(tree={**tree, "jobs/triggered/b/run.py": "print("})
    assert record.status is DeliveryStatus.SUCCESS
    assert "jobs/triggered/b/run.py: cannot run" in bench.lines


async def test_a_failure_is_in_the_list_of_deployments(bench):
    """As refused, under the id that its log has."""
    record = await bench.deliver(tree={})
    listed = (await bench.site.deployments.history())[0]
    assert (listed.id, listed.state) == (record.id, DeploymentState.REFUSED)
    assert record.build_failed
    assert "no file" in record.told[0]


async def test_files_that_cannot_be_written_refuse_it(bench, monkeypatch):
    """All of them stay as they were, and what serves does, too."""
    await bench.deliver(tree=FUNCTION)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.deliveries._swap, "prepare", full)
    record = await bench.deliver(tree={**FUNCTION, "hello/__init__.py": "x = 1"})
    assert record.status is DeliveryStatus.FAILED
    assert "free some space" in record.told[0]
    assert bench.files == FUNCTION


async def test_an_edit_meanwhile_is_deployed_on_top(bench):
    """What somebody saves while a tree is written is not lost, nor taken for what was checked."""
    await bench.deliver(tree=FUNCTION)
    write = bench.deliveries._swap.carry_out

    def and_edit(after):
        write(after)
        bench.site.file("hello/__init__.py", "edited = 1")

    bench.deliveries._swap.carry_out = and_edit
    await bench.deliver(tree={**FUNCTION, "hello/__init__.py": "pushed = 1"})
    deployment = await bench.site.deploy()
    assert deployment.changed == ("hello",)
    assert bench.files["hello/__init__.py"] == "edited = 1"


async def test_one_at_a_time(bench):
    """A second one is told so in Kudu's words."""
    refused = []

    def another():
        with pytest.raises(ConflictError) as error:
            bench.deliveries.begin(Arrival(kind=SourceKind.ZIP, reason="zip"))
        refused.append(str(error.value))

    assert (await bench.deliver(during=another, tree=FUNCTION)).status is DeliveryStatus.SUCCESS
    assert refused == [IN_PROGRESS]


async def test_given_up(bench):
    """Who leaves before the files are written leaves everything as it was."""

    def leave():
        bench.deliveries.current.give_up()

    record = await bench.deliver(during=leave, tree=FUNCTION)
    assert record.status is DeliveryStatus.FAILED
    assert "given up" in record.told[0]
    assert bench.files == {}


async def test_rollback_is_exact(bench):
    """Site and what serves are what they were, also what was saved by hand."""
    await bench.deliver(tree=FUNCTION)
    bench.site.file("hand.txt", "1")
    wanted = await bench.site.deploy()
    await bench.deliver(tree={**FUNCTION, "hello/__init__.py": "y = 2"})
    shutil.rmtree(bench.site.root / "hello")
    await bench.site.deploy()
    assert bench.site.names == []
    record = await bench.deliveries.roll_back(wanted, "somebody")
    assert record.status is DeliveryStatus.SUCCESS
    assert bench.files == {**FUNCTION, "hand.txt": "1"}
    assert bench.site.names == ["hello"]
    assert bench.site.deployments.current.digest == wanted.digest
    assert await bench.site.deploy(f"{WATCHED}rescan") is bench.site.deployments.current


async def test_rollback_knows_whose_the_files_are(bench):
    """The next push removes what the push that was gone back to had brought."""
    await bench.deliver(tree={**FUNCTION, "old.txt": "1"})
    first = bench.site.deployments.current
    await bench.deliver(tree=FUNCTION)
    await bench.deliveries.roll_back(first, "somebody")
    assert "old.txt" in bench.files
    await bench.deliver(tree=FUNCTION)
    assert bench.files == FUNCTION


async def test_rollback_to_what_is_gone(bench):
    """It says that the release is not kept, and nothing changes."""
    await bench.deliver(tree=FUNCTION)
    first = bench.site.deployments.current
    await bench.deliver(tree={**FUNCTION, "new.txt": "1"})
    shutil.rmtree(bench.site.home / "releases" / first.digest)
    with pytest.raises(NotFoundError, match="not kept"):
        await bench.deliveries.roll_back(first, "somebody")
    assert "new.txt" in bench.files
    assert bench.deliveries.current is None


async def test_what_was_cut_off_is_closed(bench):
    """A record that a killed platform left open ends as failed, with the reason."""
    under_way = bench.deliveries.begin(Arrival(kind=SourceKind.ZIP, reason="zip"))
    (bench.site.home / "builds" / "run" / "left" / "tree").mkdir(parents=True)
    bench.begin()
    await bench.deliveries.open()
    record = bench.deliveries.records.read(under_way.record.id)
    assert record.status is DeliveryStatus.FAILED
    assert "stopped in the middle" in record.told[0]
    assert not (bench.site.home / "builds" / "run" / "left").exists()


async def test_source_control_owns_what_it_brought(bench):
    """A folder that was pushed is not changed by hand; others are, and all are after a zip."""
    await bench.deliver(tree={"jobs/triggered/report/run.sh": "x"})
    with pytest.raises(ConflictError, match="source control"):
        bench.deliveries.refuse_by_hand(bench.site.root / "jobs/triggered/report")
    bench.deliveries.refuse_by_hand(bench.site.root / "jobs/triggered/repo")
    await bench.deliver(SourceKind.ZIP, tree={"jobs/triggered/report/run.sh": "x"})
    bench.deliveries.refuse_by_hand(bench.site.root / "jobs/triggered/report")
