"""What happens to one push: git asks before it accepts, the platform builds, checks and deploys.

The answer is the hook's: a push whose build fails, or that would break what works, is refused and
its branch stays where it was, so that pushing again after the repair is all there is to do. While
it is decided every line of the log goes to the pusher.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.git.repository import BRANCHES, NOTHING, Repository
from scheduler.app_settings import lookup
from scheduler.errors import SchedulerError
from scheduler.source.deliveries import Deliveries
from scheduler.source.delivery_log import WARNING, DeliveryLog
from scheduler.source.record import DeliveryStatus, LogLine, SourceKind
from scheduler.source.under_way import Arrival

_log = logging.getLogger("taak.git")

_MAX_REQUEST = 1024 * 1024
_LEVELS = ("", "warning: ", "error: ")
_HEAD = "refs/heads/"
_UNSHOWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Change:
    """What a push does to one ref."""

    old: str
    new: str
    ref: str


Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Pusher:
    """Who pushes: how to speak to them, their name, and when git has ended."""

    say: Say
    name: str
    over: asyncio.Event


class Pushes:
    """Decides about pushes to one repository, one after the other."""

    def __init__(
        self, repository: Repository, deliveries: Deliveries, settings: Mapping[str, str]
    ) -> None:
        self.repository = repository
        self._deliveries = deliveries
        self._settings = settings
        # Held until git has moved the branch: the next push must see where it is then.
        self._turn = asyncio.Lock()

    async def decide(self, channel: socket.socket, deployer: str, over: asyncio.Event) -> None:
        """Answer the hook of one push over its end of the channel; return when the push is `over`.

        If no hook ever asks (a fetch, a push without changes) nothing happens.
        """
        reader, writer = await asyncio.open_unix_connection(sock=channel, limit=_MAX_REQUEST)
        try:
            asked = await reader.readline()
            if not asked:
                return
            if self._turn.locked():
                _say(writer, "Another push is being deployed; waiting for it ...")
            async with self._turn:
                code = await self._verdict(json.loads(asked), partial(_say, writer), deployer, over)
                _send(writer, f"={code}")
                await over.wait()
        except (OSError, ValueError) as error:
            _log.warning("a push ended early: %s", error)
        finally:
            writer.close()

    async def _verdict(
        self,
        asked: Mapping[str, object],
        say: Say,
        deployer: str,
        over: asyncio.Event,
    ) -> int:
        try:
            return await self._judge(asked, say, deployer, over)
        except SchedulerError as error:
            say(f"error: {error}")
            return 1

    async def _judge(
        self, asked: Mapping[str, object], say: Say, deployer: str, over: asyncio.Event
    ) -> int:
        where = asked.get("where")
        places = {str(k): str(v) for k, v in where.items()} if isinstance(where, dict) else {}
        changes = [Change(*line.split(" ", 2)) for line in str(asked["changes"]).splitlines()]
        wanted = await self._deployed_branch(changes)
        change = next((one for one in changes if one.ref == _HEAD + wanted), None)
        for other in changes:
            if other is not change and other.ref.startswith(_HEAD):
                name = other.ref.removeprefix(_HEAD)
                say(f"{name} is kept, but only {wanted} is deployed: git push URL {name}:{wanted}")
        if change is None:
            return 0
        if change.new.strip("0") == "":
            say(f"error: {wanted} is what is deployed and cannot be deleted")
            return 1
        if await self.repository.tip(wanted) != change.old:
            say(f"error: {wanted} was pushed by somebody else meanwhile: git pull, push again")
            return 1
        return await self._deploy(change, places, _Pusher(say, deployer, over), wanted)

    async def _deployed_branch(self, changes: list[Change]) -> str:
        """Return the branch that is deployed: as set, else the first of master and main pushed."""
        chosen = lookup(self._settings, "deployment_branch")
        if chosen:
            return chosen.removeprefix(_HEAD)
        head = await self.repository.head()
        if await self.repository.tip(head) != NOTHING:
            return head
        pushed = {change.ref for change in changes}
        return next((name for name in BRANCHES if _HEAD + name in pushed), head)

    async def _deploy(
        self, change: Change, where: Mapping[str, str], pusher: _Pusher, branch: str
    ) -> int:
        commit = await self.repository.commit(change.new, where)
        subject = commit.message.splitlines()[0] if commit.message else ""
        arrival = Arrival(
            kind=SourceKind.GIT,
            reason=f"git push {commit.id[:10]} {subject}"[:200].rstrip(),
            author=commit.author,
            author_email=commit.email,
            deployer=pusher.name,
            message=commit.message[:2000],
            commit=commit.id,
        )
        loop = asyncio.get_running_loop()

        def tell(line: LogLine) -> None:
            loop.call_soon_threadsafe(_tell, pusher.say, line)

        under_way = await self._deliveries.begin_in_turn(
            arrival,
            tell,
            lambda: pusher.say("Another deployment is under way; waiting for it ..."),
        )

        async def fill(tree: Path, log: DeliveryLog) -> None:
            log.say(f"Deploying {branch} at {commit.id[:10]}: {subject}")
            for path in await self.repository.survey(commit.id, where):
                log.say(f"{path}: a git submodule; its files are not fetched", WARNING)
            await self.repository.check_out(commit.id, tree, where)

        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(_left(pusher.over, under_way.give_up))
            build = self._deliveries.builds(by_default=True)
            record = await self._deliveries.carry_out(under_way, fill, build=build)
            leaving.cancel()
        await asyncio.sleep(0)  # lines that were told from other threads come first
        if record.status is not DeliveryStatus.SUCCESS:
            pusher.say(
                "The push is refused, and the branch is where it was: mend it and push again."
            )
            return 1
        await self.repository.git("symbolic-ref", "HEAD", _HEAD + branch)
        return 0


async def _left(over: asyncio.Event, give_up: Callable[[], None]) -> None:
    """Give the deployment up if git ends before it is decided: the pusher has left."""
    await over.wait()
    give_up()


def _tell(say: Say, line: LogLine) -> None:
    say(_LEVELS[line.level] + line.text)


def _say(writer: asyncio.StreamWriter, text: str) -> None:
    """Send lines for the pusher's terminal, without what would steer it."""
    for line in text.splitlines() or [""]:
        _send(writer, f" {_UNSHOWN.sub('', line)}")


def _send(writer: asyncio.StreamWriter, line: str) -> None:
    """Send a line to the hook, unless that has ended with a pusher who has left."""
    if not writer.is_closing():
        writer.write(f"{line}\n".encode("utf-8", "replace"))
