from __future__ import annotations

import asyncio

import pytest
from management_fakes import START, FakePlatform, a_job, a_run, management

from scheduler.continuous_state import ContinuousState
from scheduler.errors import ConflictError
from scheduler.functions import JobKind, Problem
from scheduler.run import RunState

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    return platform


async def get(platform, path):
    """Return status and body of a GET."""
    async with management(platform) as client:
        answer = await client.get(path)
        return answer.status, await answer.json(content_type=None)


async def test_list_has_every_job_also_the_broken_one(platform):
    """Both kinds are listed; a job without a script is an error to see, not a gap."""
    _, body = await get(platform, "/v1/jobs")
    assert [(item["kind"], item["name"], item["state"]) for item in body["items"]] == [
        ("continuous", "mail", "Running"),
        ("triggered", "empty", "error"),
        ("triggered", "report", "idle"),
    ]


async def test_triggered_job(platform):
    """Schedule, next instants and the latest run are told."""
    platform.triggered.runs["report"] = [a_run(2), a_run(1)]
    status, shape = await get(platform, "/v1/jobs/triggered/Report")
    assert status == 200
    assert shape["schedule"] == "0 */15 * * * *"
    assert len(shape["next"]) == 5
    assert shape["latest_run"]["id"] == 2
    assert shape["latest_run"]["created_at"] == "2026-01-05T12:00:00Z"
    assert shape["pid"] is None


async def test_running_triggered_job_has_its_runs_state(platform):
    """While a run is active the job's state is the run's."""
    platform.triggered.runs["report"] = [a_run(3, state=RunState.RUNNING, ended_at=None)]
    _, shape = await get(platform, "/v1/jobs/triggered/report")
    assert shape["state"] == "running"


async def test_continuous_job(platform):
    """Process, restarts and since when are told."""
    _, shape = await get(platform, "/v1/jobs/continuous/mail")
    assert (shape["pid"], shape["restarts"], shape["state"]) == (4711, 2, "Running")
    assert shape["since"] == "2026-01-05T10:00:00Z"
    assert shape["settings"] == {"is_singleton": True}


async def test_job_that_its_owner_does_not_know_yet(platform):
    """Between the swap and the start of a job its state is Initializing, and lists work."""
    platform.deploy(a_job(platform.site, "coming", JobKind.CONTINUOUS))
    _, body = await get(platform, "/v1/jobs")
    assert body["items"][0]["state"] == "Initializing"


async def test_problems_are_the_jobs_own(platform):
    """A warning about settings.job stands at the job that it hurts."""
    problem = Problem("x/settings.job", "ignored", 2, warning=True, owner="triggered/report")
    platform.deploy(
        a_job(platform.site, "report"), a_job(platform.site, "other"), problems=(problem,)
    )
    _, shape = await get(platform, "/v1/jobs/triggered/report")
    assert [each["message"] for each in shape["problems"]] == ["ignored"]
    _, shape = await get(platform, "/v1/jobs/triggered/other")
    assert shape["problems"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/jobs/triggered/nobody", 404),
        ("/v1/jobs/continuous/report", 404),
        ("/v1/jobs/x/y", 400),
    ],
)
async def test_unknown_jobs(platform, path, status):
    """A wrong name is 404, a wrong kind 400 with the kinds that exist."""
    found, problem = await get(platform, path)
    assert found == status
    assert status == 404 or "triggered, continuous" in problem["detail"]


async def test_run_is_accepted_with_its_address(platform):
    """202, the run, and where to look for it; the caller's name is in the trigger."""
    async with management(platform) as client:
        answer = await client.post(
            "/v1/jobs/triggered/report/run",
            json={"arguments": "a 'b c'"},
            headers={"User-Agent": "taak-cli"},
        )
        run = await answer.json()
    assert (answer.status, answer.headers["Location"]) == (202, f"/v1/runs/{run['id']}")
    assert run["state"] == "initializing"
    assert platform.triggered.started == [("report", "External - taak-cli", "a 'b c'")]


async def test_second_run_is_a_conflict(platform):
    """What the scheduler refuses is told in its words."""
    platform.triggered.error = ConflictError("already running")
    async with management(platform) as client:
        answer = await client.post("/v1/jobs/triggered/report/run")
        assert answer.status == 409
        assert (await answer.json(content_type=None))["detail"] == "already running"


async def test_continuous_job_is_switched(platform):
    """start, stop and restart answer with the job as it is then."""
    async with management(platform) as client:
        stopped = await (await client.post("/v1/jobs/continuous/mail/stop")).json()
        assert (stopped["state"], stopped["pid"]) == ("Stopped", None)
        started = await (await client.post("/v1/jobs/continuous/mail/start")).json()
        assert started["state"] == "Running"
        await client.post("/v1/jobs/continuous/mail/restart")
        assert (await client.post("/v1/jobs/continuous/nobody/start")).status == 404
        assert (await client.post("/v1/jobs/continuous/mail/explode")).status == 404
    assert platform.continuous.orders == [("stop", "mail"), ("start", "mail"), ("restart", "mail")]


async def test_start_answers_when_the_job_is_seen_to_start(platform):
    """A start that takes effect in the background is waited for; others' changes are not it."""
    job = platform.catalog.job(JobKind.CONTINUOUS, "mail")
    other = a_job(platform.site, "other", JobKind.CONTINUOUS)
    platform.continuous.states["mail"] = ContinuousState.STOPPED

    async def start_later(name):
        loop = asyncio.get_running_loop()
        loop.call_soon(tell, other, ContinuousState.RUNNING)
        loop.call_soon(tell, job, ContinuousState.STARTING)

    def tell(which, state):
        platform.continuous.states[which.name] = state
        for callback in list(platform.continuous.on_status):
            callback(which, platform.continuous.status(which.name))

    platform.continuous.start = start_later
    async with management(platform) as client:
        shape = await (await client.post("/v1/jobs/continuous/mail/start")).json()
    assert shape["state"] == "Starting"
    assert platform.continuous.on_status == []


async def test_start_that_shows_nothing_is_answered_all_the_same(platform, monkeypatch):
    """The wait is bounded: the answer then tells the state as it is."""
    monkeypatch.setattr("gateway.job_facts.START_SHOWS_S", 0.01)
    platform.continuous.states["mail"] = ContinuousState.STOPPED

    async def do_nothing(name):
        pass

    platform.continuous.start = do_nothing
    async with management(platform) as client:
        shape = await (await client.post("/v1/jobs/continuous/mail/start")).json()
    assert shape["state"] == "Stopped"
    assert platform.continuous.on_status == []


async def test_log_of_a_continuous_job(platform):
    """The tail of job_log.txt as text; a log that is not there is empty."""
    async with management(platform) as client:
        assert await (await client.get("/v1/jobs/continuous/mail/logs")).text() == ""
        log = platform.folders.job_log(platform.catalog.job(JobKind.CONTINUOUS, "mail"))
        log.parent.mkdir(parents=True)
        log.write_bytes(b"one\r\ntwo\r\nthree\r\n")
        answer = await client.get("/v1/jobs/continuous/mail/logs?tail=2")
        assert answer.content_type == "text/plain"
        assert await answer.read() == b"two\r\nthree\r\n"


async def test_log_of_a_triggered_job_is_its_latest_runs(platform):
    """A triggered job's log is that of its latest run, or the scheduler's before the first."""
    job = platform.catalog.job(JobKind.TRIGGERED, "report")
    platform.folders.data(job).mkdir(parents=True)
    platform.folders.scheduler_log(job).write_text("next schedule\n")
    async with management(platform) as client:
        assert (
            await (await client.get("/v1/jobs/triggered/report/logs")).text() == "next schedule\n"
        )
        run = a_run(1)
        platform.triggered.runs["report"] = [run]
        platform.folders.run_folder(job, run.public_id).mkdir()
        platform.folders.output_log(job, run.public_id).write_text("output\n")
        assert await (await client.get("/v1/jobs/triggered/report/logs")).text() == "output\n"


async def test_deployments(platform):
    """History by pages, one by id, and reconcile on request."""
    from scheduler.deployment import Deployment, DeploymentState

    platform.store.recorded = [
        Deployment(
            id=f"d{number}",
            state=DeploymentState.LIVE,
            reason="files changed",
            started_at=START,
            added=("hello",),
        )
        for number in range(3)
    ]
    async with management(platform) as client:
        page = await (await client.get("/v1/deployments?limit=2")).json()
        assert [item["id"] for item in page["items"]] == ["d2", "d1"]
        rest = await (await client.get(f"/v1/deployments?cursor={page['cursor']}")).json()
        assert ([item["id"] for item in rest["items"]], rest["cursor"]) == (["d0"], None)
        one = await (await client.get("/v1/deployments/d1")).json()
        assert (one["state"], one["added"]) == ("live", ["hello"])
        missing = await client.get("/v1/deployments/d9")
        assert missing.status == 404
        assert "GET /v1/deployments" in (await missing.json())["hint"]
        done = await (await client.post("/v1/deployments:reconcile")).json()
        assert (done["reason"], platform.deployments.reasons) == ("requested", ["requested"])
