"""The verdict about a push: what is deployed, what is only kept, and what the pusher reads."""

from __future__ import annotations

import asyncio
import json
import socket
from types import SimpleNamespace

import pytest

from gateway.git.push import Pushes
from gateway.git.repository import NOTHING, Commit, GitFailedError
from scheduler.source.record import DeliveryStatus, LogLine

NEW, OLD = "a" * 40, "b" * 40


class FakeRepository:
    """Branches in a dictionary."""

    def __init__(self):
        self.tips = {}
        self.at = "master"
        self.fails = False
        self.moved = None

    async def tip(self, branch):
        return self.tips.get(branch, NOTHING)

    async def head(self):
        return self.at

    async def commit(self, commit, where):
        if self.fails:
            raise GitFailedError("git log failed: bad object")
        self.where = where
        return Commit(commit, "Ada", "ada@example.org", "subject\n\nbody")

    async def survey(self, _commit, _where):
        return ["lib"]

    async def check_out(self, _commit, _tree, _where):
        pass

    async def git(self, *arguments):
        self.moved = arguments


class FakeDeliveries:
    """Ends as it is told; says one line."""

    def __init__(self):
        self.status = DeliveryStatus.SUCCESS
        self.arrivals = []
        self.line = "built \x1b[31min red\x07"

    def builds(self, *, by_default):
        return by_default

    async def begin_in_turn(self, arrival, listener, _waiting):
        self.arrivals.append(arrival)
        say = lambda text, level=0: listener(LogLine(None, text, level))  # noqa: E731
        return SimpleNamespace(log=SimpleNamespace(say=say), give_up=lambda: None)

    async def carry_out(self, under_way, fill, *, build):
        assert build
        await fill(None, under_way.log)
        under_way.log.say(self.line)
        return SimpleNamespace(status=self.status)


class Bench:
    def __init__(self):
        self.repository = FakeRepository()
        self.deliveries = FakeDeliveries()
        self.settings = {}
        self.pushes = Pushes(self.repository, self.deliveries, self.settings)

    async def push(self, *changes):
        """Ask as the hook does; return the exit code and what it prints."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pushes.decide(ours, "me", over))
            reader, writer = await asyncio.open_unix_connection(sock=theirs)
            lines = "".join(f"{old} {new} {ref}\n" for old, new, ref in changes)
            writer.write(json.dumps({"changes": lines, "where": {"A": "b"}}).encode() + b"\n")
            told = []
            while not (line := (await reader.readline()).decode()).startswith("="):
                told.append(line[1:].rstrip("\n"))
            over.set()
            writer.close()
        return int(line[1:]), told


@pytest.fixture
def bench():
    return Bench()


async def test_the_first_of_master_and_main_is_deployed(bench):
    """Whatever is pushed first; from then on HEAD says it."""
    code, told = await bench.push((NOTHING, NEW, "refs/heads/main"))
    assert code == 0
    assert bench.repository.moved == ("symbolic-ref", "HEAD", "refs/heads/main")
    assert bench.repository.where == {"A": "b"}
    assert bench.deliveries.arrivals[0].commit == NEW
    assert told[0] == "Deploying main at aaaaaaaaaa: subject"
    assert "warning: lib: a git submodule; its files are not fetched" in told


async def test_nothing_steers_the_terminal_of_the_pusher(bench):
    """What a build prints is text there."""
    assert "built in red" in (await bench.push((NOTHING, NEW, "refs/heads/main")))[1]


async def test_a_failure_refuses_the_push(bench):
    """And HEAD stays."""
    bench.deliveries.status = DeliveryStatus.FAILED
    code, told = await bench.push((NOTHING, NEW, "refs/heads/main"))
    assert code == 1
    assert told[-1].startswith("The push is refused")
    assert bench.repository.moved is None


async def test_other_branches_and_tags_are_kept(bench):
    """They are accepted, and it is said that they are not deployed."""
    bench.repository.tips["master"] = OLD
    code, told = await bench.push((NOTHING, NEW, "refs/heads/idea"), (NOTHING, NEW, "refs/tags/v1"))
    assert (code, bench.deliveries.arrivals) == (0, [])
    assert told == ["idea is kept, but only master is deployed: git push URL idea:master"]


async def test_the_setting_names_the_branch(bench):
    """Kudu's name of it."""
    bench.settings["deployment_branch"] = "release"
    assert (await bench.push((NOTHING, NEW, "refs/heads/release")))[0] == 0
    assert len(bench.deliveries.arrivals) == 1


async def test_what_is_deployed_cannot_be_deleted(bench):
    """The branch stays."""
    bench.repository.tips["master"] = OLD
    code, told = await bench.push((OLD, NOTHING, "refs/heads/master"))
    assert code == 1
    assert "cannot be deleted" in told[0]


async def test_a_branch_that_has_moved_meanwhile(bench):
    """Two pushes at once: git would refuse the second after it had been deployed."""
    bench.repository.tips["master"] = NEW
    code, told = await bench.push((OLD, "c" * 40, "refs/heads/master"))
    assert (code, bench.deliveries.arrivals) == (1, [])
    assert "somebody else" in told[0]


async def test_a_failure_of_git_itself_refuses_the_push(bench):
    """With its words."""
    bench.repository.fails = True
    assert await bench.push((NOTHING, NEW, "refs/heads/main")) == (
        1,
        ["error: git log failed: bad object"],
    )


async def test_no_hook_asks(bench):
    """A push without changes ends without a word."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.close()
    await bench.pushes.decide(ours, "me", asyncio.Event())
    assert bench.deliveries.arrivals == []
