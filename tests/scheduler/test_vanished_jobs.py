"""What is kept of jobs is removed at a start when they are gone, and only then."""

from __future__ import annotations

from job_fakes import START, make_job

from scheduler.functions import JobKind
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.run import RunKind, RunState
from scheduler.store.memory import MemoryStore
from scheduler.store.port import NewRun, RunFilter
from scheduler.vanished_jobs import is_the_same_site, remove_vanished


async def test_data_history_and_orders_go_with_a_job(tmp_path):
    """webjobs.md 5.7: both kinds; a job of the other kind with the same name is another job."""
    folders, store = JobFolders(tmp_path), MemoryStore()
    logs = JobLogs(folders, instance="here")
    for kind, name in [("triggered", "old"), ("continuous", "old"), ("triggered", "Kept")]:
        (tmp_path / "data/jobs" / kind / name / "mine").mkdir(parents=True)
    segments = [tmp_path / "logs/jobs/triggered" / name for name in ("old", "Kept")]
    for folder in segments:
        (folder / "202601051000000000").mkdir(parents=True)
    (tmp_path / "data/jobs/triggered/link").symlink_to(tmp_path)
    for name in ("old", "kept"):
        await store.create_run(
            NewRun(
                public_id="202601051000000000",
                kind=RunKind.TRIGGERED,
                name=name,
                trigger="t",
                state=RunState.SUCCESS,
                instance="here",
                created_at=START,
            )
        )
    await store.put_config("job/continuous/old", "{}")
    jobs = [make_job(tmp_path, name="kept")]
    assert await remove_vanished(folders, logs, store, jobs) == ["old", "old"]
    left = sorted(
        path.relative_to(tmp_path / "data/jobs") for path in tmp_path.glob("data/jobs/*/*")
    )
    assert [str(path) for path in left] == ["triggered/Kept", "triggered/link"]
    assert [folder.exists() for folder in segments] == [False, True]
    assert [run.name for run in (await store.query_runs(RunFilter())).items] == ["kept"]
    assert await store.get_config("job/continuous/old") is None
    assert jobs[0].kind is JobKind.TRIGGERED


async def test_a_home_without_jobs_is_left_alone(tmp_path):
    """At the very first start there is nothing to look at."""
    folders = JobFolders(tmp_path)
    logs = JobLogs(folders, instance="here")
    assert await remove_vanished(folders, logs, MemoryStore(), []) == []


async def test_another_site_or_an_empty_one_is_no_reason_to_forget(tmp_path):
    """A start on another folder, and one before the disk is there: nothing goes."""
    store = MemoryStore()
    here, there, unmounted = (tmp_path / name for name in ("here", "there", "unmounted"))
    for site in (here, there):
        site.mkdir()
        (site / "host.json").write_text("{}")
    assert await is_the_same_site(store, "one", here)
    assert not await is_the_same_site(store, "one", unmounted)
    assert await is_the_same_site(store, "one", here)
    assert await is_the_same_site(store, "two", there)
    assert not await is_the_same_site(store, "one", there)
    assert not await is_the_same_site(store, "one", here)
    assert await is_the_same_site(store, "one", here)
