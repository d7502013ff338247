"""The watch over real inotify: saves, crowds of files, lost queues, roots that go and come."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil

import pytest

from gateway import kernel_watch
from gateway.folder_watch import FolderWatch
from scheduler.deployment import WATCHED

pytestmark = pytest.mark.real

LONG = 3600.0  # a rescan that never comes: what arrives came from an event


class Watched:
    """A watch at work, and what it told."""

    def __init__(self):
        self.told = asyncio.Queue()

    async def next(self):
        """Return the next reason."""
        async with asyncio.timeout(10):
            return await self.told.get()

    async def quiet(self):
        """Return whether nothing is told for a while: longer than settling takes."""
        try:
            async with asyncio.timeout(0.3):
                return await self.told.get()
        except TimeoutError:
            return ""

    async def tell(self, reason):
        """Take what the watch says."""
        self.told.put_nowait(reason)


@contextlib.asynccontextmanager
async def watching(site, roots=(), *, rescan_s=LONG, settle_s=0.05, **more):
    """Run a watch; it has told that it began."""
    watched = Watched()
    watch = FolderWatch(site, list(roots), watched.tell, settle_s, rescan_s, **more)
    task = asyncio.get_running_loop().create_task(watch.run())
    try:
        assert await watched.next() == f"{WATCHED}the watch began"
        yield watched
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_saved_file_is_told_once(tmp_path):
    """Six events of one write are one reason that names the file."""
    async with watching(tmp_path) as watched:
        (tmp_path / "a.py").write_text("x = 1")
        reason = await watched.next()
        assert reason.startswith(WATCHED)
        assert reason.endswith("a.py")
        assert await watched.quiet() == ""


async def test_an_editors_save_by_rename_is_told(tmp_path):
    """Written beside and renamed over: the swap file wakes nobody, the rename does."""
    (tmp_path / "a.py").write_text("old")
    async with watching(tmp_path) as watched:
        (tmp_path / ".a.py.swp").write_text("swap")
        (tmp_path / "4913").write_text("")
        (tmp_path / "4913").unlink()
        assert await watched.quiet() == ""
        (tmp_path / "a.py~").write_text("new")
        os.replace(tmp_path / "a.py~", tmp_path / "a.py")
        assert "a.py" in await watched.next()


async def test_reading_and_caches_wake_nobody(tmp_path):
    """Imports open files and write byte code; a repository writes its own."""
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / ".git").mkdir()
    async with watching(tmp_path) as watched:
        (tmp_path / "a.py").read_text()
        (tmp_path / "__pycache__").mkdir()
        (tmp_path / "__pycache__/a.pyc").write_text("")
        (tmp_path / ".git/HEAD").write_text("")
        assert await watched.quiet() == ""


async def test_half_written_file_is_told_when_its_writer_closes_it(tmp_path):
    """Each write moves the end of the quiet time; the last one counts."""
    async with watching(tmp_path, settle_s=0.15) as watched:
        (tmp_path / "new").mkdir()
        with (tmp_path / "new/a.py").open("w") as file:
            for _ in range(5):
                file.write("x = 1\n")
                file.flush()
                await asyncio.sleep(0.02)
        await watched.next()
        assert len((tmp_path / "new/a.py").read_text()) == 30


async def test_500_files_are_one_reason(tmp_path):
    """A copied tree with new folders is told as a whole, and wakes the loop once or twice."""
    async with watching(tmp_path, settle_s=0.2) as watched:
        wakes = 0
        loop = asyncio.get_running_loop()
        call = loop.call_soon_threadsafe

        def counted(*args, **kwargs):
            nonlocal wakes
            wakes += "Event.set" in repr(args[0])
            return call(*args, **kwargs)

        loop.call_soon_threadsafe = counted

        def copy():
            for number in range(500):
                folder = tmp_path / f"f{number % 50}/sub"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{number}.py").write_text("x = 1")

        await asyncio.to_thread(copy)
        reason = await watched.next()
        assert " changes, first " in reason
        assert await watched.quiet() == ""
        assert wakes < 20
        (tmp_path / "f7/sub/later.py").write_text("")
        assert "later.py" in await watched.next()


async def test_the_beginning_of_the_watch_is_no_change(tmp_path):
    """A file saved just then is told by its name alone, however many events its writing made."""
    told = asyncio.Queue()
    watch = FolderWatch(tmp_path, [], told.put, settle_s=0.1, rescan_s=60)
    made = watch._renewed

    def renewed(*args):
        kernel = made(*args)
        (tmp_path / "a.py").write_text("x = 1")
        return kernel

    watch._renewed = renewed
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.run())
        async with asyncio.timeout(10):
            reason = await told.get()
        running.cancel()
    assert reason == f"{WATCHED}a.py"


async def test_queue_overflow_is_a_reason(tmp_path):
    """The kernel lost events: watchdog only logs it, and that is heard."""
    async with watching(tmp_path) as watched:
        logging.getLogger("watchdog.observers.inotify_c").warning(
            "Inotify queue overflowed; filesystem events were lost"
        )
        assert await watched.next() == f"{WATCHED}the kernel's queue overflowed"


async def test_rescan_comes_without_events(tmp_path):
    """The safety net."""
    async with watching(tmp_path, rescan_s=0.05) as watched:
        assert await watched.next() == f"{WATCHED}rescan"
        assert await watched.next() == f"{WATCHED}rescan"


async def test_root_that_is_deleted_and_made_again(tmp_path):
    """Both are told, and the new folder is watched."""
    site = tmp_path / "deep/site"
    site.mkdir(parents=True)
    async with watching(site) as watched:
        shutil.rmtree(tmp_path / "deep")
        await watched.next()
        assert await watched.next() == f"{WATCHED}the watch began"
        site.mkdir(parents=True)
        (site / "a.py").write_text("")
        while not (await watched.next()).endswith("the watch began"):
            pass
        (site / "b.py").write_text("")
        assert "b.py" in await watched.next()


async def test_root_that_is_swapped_by_rename(tmp_path):
    """A deployment that moves a whole folder into place is seen, and watched from then on."""
    (tmp_path / "site").mkdir()
    (tmp_path / "next").mkdir()
    async with watching(tmp_path / "site") as watched:
        (tmp_path / "site").rename(tmp_path / "before")
        (tmp_path / "next").rename(tmp_path / "site")
        while not (await watched.next()).endswith("the watch began"):
            pass
        (tmp_path / "before/a.py").write_text("")
        assert await watched.quiet() == ""
        (tmp_path / "site/a.py").write_text("")
        assert "a.py" in await watched.next()


async def test_root_behind_a_link_that_is_turned(tmp_path):
    """`current -> release-2` is a new root."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "current").symlink_to("one")
    async with watching(tmp_path / "current") as watched:
        (tmp_path / "one/a.py").write_text("")
        assert "a.py" in await watched.next()
        (tmp_path / "new").symlink_to("two")
        os.replace(tmp_path / "new", tmp_path / "current")
        while not (await watched.next()).endswith("the watch began"):
            pass
        (tmp_path / "two/b.py").write_text("")
        assert "b.py" in await watched.next()


async def test_further_roots_and_job_marks(tmp_path):
    """A job root that does not exist yet is watched from its creation; disable.job is told."""
    site, jobs = tmp_path / "site", tmp_path / "home/site/jobs"
    site.mkdir()
    async with watching(site, [jobs]) as watched:
        (jobs / "continuous/mail").mkdir(parents=True)
        while not (await watched.next()).endswith("the watch began"):
            pass
        (jobs / "continuous/mail/disable.job").write_text("")
        assert "disable.job" in await watched.next()
        (site / "settings.job").write_text("{}")
        assert "settings.job" in await watched.next()


async def test_ignored_folder_inside_the_site(tmp_path):
    """The platform's own writes below its home do not wake it."""
    (tmp_path / "home").mkdir()
    async with watching(tmp_path, ignored=[tmp_path / "home"]) as watched:
        (tmp_path / "home/taak.db").write_text("")
        assert await watched.quiet() == ""


async def test_without_inotify_the_folder_is_polled(tmp_path, monkeypatch, caplog):
    """At the kernel's limit a warning has the remedy, and rescans come by the second."""

    class Full:
        def __init__(self):
            raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(kernel_watch, "_Observer", Full)
    monkeypatch.setattr(kernel_watch, "POLL_S", 0.02)
    async with watching(tmp_path) as watched:
        assert await watched.next() == f"{WATCHED}rescan"
    assert "fs.inotify.max_user_watches" in caplog.text


async def test_watch_whose_thread_died_is_made_anew(tmp_path, monkeypatch):
    """At the next rescan at the latest, events come again."""
    monkeypatch.setattr(kernel_watch._Observer, "hears", lambda _: next(alive, True))
    alive = iter([True, False])
    async with watching(tmp_path) as watched:
        (tmp_path / "a.py").write_text("")
        assert "a.py" in await watched.next()
        assert await watched.next() == f"{WATCHED}the watch began"
        (tmp_path / "c.py").write_text("")
        assert "c.py" in await watched.next()


async def test_watch_limit_in_a_sub_folder_is_noticed(tmp_path, monkeypatch, caplog):
    """Watchdog passes over a folder that the kernel refuses; the folders above fail then too."""
    from watchdog.observers import inotify_c

    (tmp_path / "site/a/b").mkdir(parents=True)
    add, left = inotify_c.inotify_add_watch, [2]

    def limited(descriptor, path, mask):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return add(descriptor, path, mask)

    monkeypatch.setattr(inotify_c, "inotify_add_watch", limited)
    monkeypatch.setattr(kernel_watch, "POLL_S", 0.02)
    async with watching(tmp_path / "site") as watched:
        assert await watched.next() == f"{WATCHED}rescan"
    assert "the kernel cannot watch the folders" in caplog.text


async def test_failure_of_a_deployment_does_not_end_the_watch(tmp_path, caplog):
    """The next change tries again."""
    seen = asyncio.Queue()

    async def fail(reason):
        seen.put_nowait(reason)
        raise ValueError("boom")

    watch = FolderWatch(tmp_path, [], fail, 0.02, LONG)
    task = asyncio.get_running_loop().create_task(watch.run())
    async with asyncio.timeout(10):
        await seen.get()
        (tmp_path / "a.py").write_text("")
        assert "a.py" in await seen.get()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert "boom" in caplog.text
