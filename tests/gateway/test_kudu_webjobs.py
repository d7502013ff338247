from __future__ import annotations

import json

import pytest
from management_fakes import FakePlatform, a_run, management
from yarl import URL

from scheduler.errors import ConflictError, UnavailableError
from scheduler.functions import JobKind
from scheduler.run import RunState
from scheduler.triggered import ALREADY_RUNNING, STOPPED

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    return platform


async def get(platform, path, **headers):
    """Return status and body of a GET."""
    async with management(platform) as client:
        answer = await client.get(path, headers=headers)
        return answer.status, await answer.text()


async def test_lists(platform):
    """All: triggered first; jobs without a script are left out; each kind has its own list."""
    for path, names in (
        ("/api/webjobs", ["report", "mail"]),
        ("/api/triggeredwebjobs", ["report"]),
        ("/api/continuouswebjobs/", ["mail"]),
    ):
        status, text = await get(platform, path)
        assert status == 200
        assert [job["name"] for job in json.loads(text)] == names


@pytest.mark.parametrize(
    "path",
    [
        "/api/triggeredwebjobs/report",
        "/api/triggeredjobs/report",
        "/api/jobs/triggered/report",
        "/jobs/triggered/report",
        "/API/TriggeredWebJobs/REPORT/",
    ],
)
async def test_aliases(platform, path):
    """Every old spelling works, without case and with a slash at the end."""
    status, text = await get(platform, path)
    assert status == 200
    assert json.loads(text)["name"] == "report"


@pytest.mark.parametrize("path", ["/api/webjobs", "/api/jobs", "/jobs", "/JOBS/"])
async def test_aliases_of_the_list(platform, path):
    """The list of all jobs has three addresses."""
    status, text = await get(platform, path)
    assert (status, len(json.loads(text))) == (200, 2)


@pytest.mark.parametrize(
    "path",
    [
        "/api/triggeredwebjobs/nobody",
        "/api/triggeredwebjobs/empty",
        "/api/continuouswebjobs/report",
        "/api/triggeredwebjobs/report/history/202601051000001234",
        "/api/triggeredwebjobs/nobody/history",
    ],
)
async def test_not_found_is_empty(platform, path):
    """404 without a body: unknown, of the other kind, or without a script."""
    assert await get(platform, path) == (404, "")


async def test_unknown_route_or_verb_names_the_path(platform):
    """404 with a JSON string, for a wrong verb too."""
    async with management(platform) as client:
        for verb, path in (("GET", "/api/nothing"), ("POST", "/api/triggeredwebjobs")):
            answer = await client.request(verb, path)
            assert answer.status == 404
            assert path in (await answer.json())


async def test_run_answers_202_with_an_absolute_address(platform):
    """Location is absolute and polls; the caller's agent is in the trigger; + is a space."""
    async with management(platform) as client:
        answer = await client.post(
            "/api/triggeredwebjobs/report/run?arguments=a+b%20c",
            headers={"User-Agent": "curl/8.1"},
            data=b"{}",
        )
        assert (answer.status, await answer.read()) == (202, b"")
        run_id = platform.triggered.runs["report"][0].public_id
        location = answer.headers["Location"]
        assert location == str(client.make_url(f"/api/triggeredwebjobs/report/history/{run_id}"))
        run = await (await client.get(URL(location).path)).json()
        assert run["status"] == "Initializing"
    assert platform.triggered.started == [("report", "External - curl/8.1", "a b c")]


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (
            ConflictError(ALREADY_RUNNING),
            409,
            "Cannot start a new run since job is already running.",
        ),
        (ConflictError(STOPPED), 409, 'WebJobs are currently in "stopped" state.'),
        (UnavailableError("read-only disk"), 503, "read-only disk"),
    ],
)
async def test_refused_runs_have_kudus_words(platform, error, status, text):
    """The refusals are plain text, to the letter."""
    platform.triggered.error = error
    async with management(platform) as client:
        answer = await client.post("/api/triggeredwebjobs/report/run")
        assert (answer.status, await answer.text()) == (status, text)
        assert answer.content_type == "text/plain"


async def test_run_of_an_unknown_job(platform):
    """404 without a body."""
    async with management(platform) as client:
        assert (await client.post("/api/triggeredwebjobs/nobody/run")).status == 404


async def test_history(platform):
    """Newest first; a job that never ran has none: 404."""
    assert (await get(platform, "/api/triggeredwebjobs/report/history"))[0] == 404
    job = platform.catalog.job(JobKind.TRIGGERED, "report")
    platform.folders.data(job).mkdir(parents=True)
    platform.triggered.runs["report"] = [a_run(2, state=RunState.FAILED), a_run(1)]
    status, text = await get(platform, "/api/triggeredwebjobs/report/history", Host="h")
    assert status == 200
    runs = json.loads(text)["runs"]
    assert [run["status"] for run in runs] == ["Failed", "Success"]
    one = await get(platform, f"/api/triggeredwebjobs/report/history/{runs[1]['id']}", Host="h")
    assert json.loads(one[1]) == runs[1]


async def test_unchanged_answers_are_304(platform):
    """A list and a history with the tag that the client has are 304 without a body."""
    job = platform.catalog.job(JobKind.TRIGGERED, "report")
    platform.folders.data(job).mkdir(parents=True)
    async with management(platform) as client:
        for path in ("/api/webjobs", "/api/triggeredwebjobs/report/history"):
            tag = (await client.get(path)).headers["ETag"]
            again = await client.get(path, headers={"If-None-Match": f"{tag}, W/x"})
            assert (again.status, await again.read()) == (304, b"")
            assert again.headers["ETag"] == tag
            other = await client.get(path, headers={"If-None-Match": tag.strip('"')})
            assert other.status == 200
        single = await client.get("/api/triggeredwebjobs/report")
        assert "ETag" not in single.headers


async def test_start_and_stop(platform):
    """200 with an empty body; unknown jobs 404; a disk that refuses 409."""
    async with management(platform) as client:
        answer = await client.post("/api/continuouswebjobs/mail/stop")
        assert (answer.status, await answer.read()) == (200, b"")
        job = await (await client.get("/api/continuouswebjobs/mail")).json()
        assert (job["status"], job["detailed_status"]) == ("Stopped", "here - Stopped\r\n")
        assert (await client.post("/api/continuouswebjobs/mail/start")).status == 200
        assert (await client.post("/api/continuouswebjobs/nobody/stop")).status == 404
        assert (await client.post("/api/triggeredwebjobs/report/stop")).status == 404
        platform.continuous.error = OSError(30, "Read-only file system")
        answer = await client.post("/api/continuouswebjobs/mail/stop")
        assert (answer.status, "Read-only" in await answer.text()) == (409, True)


async def test_settings_are_replaced_whole(platform):
    """PUT writes settings.job beside the script and deploys; GET shows the file as it is."""
    schedule = '{"schedule": "0 */15 * * * *"} // as an editor left it'
    platform.write_job("report", run_sh="true", settings_job=schedule)
    async with management(platform) as client:
        path = "/api/triggeredwebjobs/report/settings"
        assert await (await client.get(path)).json() == {"schedule": "0 */15 * * * *"}
        answer = await client.put(path, json={"schedule": "0 0 9 * * *", "mine": 1})
        assert (answer.status, await answer.read()) == (200, b"")
    written = platform.site / "App_Data/jobs/triggered/report/settings.job"
    assert json.loads(written.read_text()) == {"schedule": "0 0 9 * * *", "mine": 1}
    assert platform.deployments.reasons == ["settings of triggered job report"]


async def test_settings_of_unknown_jobs(platform):
    """GET is {} as in Kudu, PUT is 404; what is no JSON object is 400 and changes nothing."""
    platform.write_job("report", run_sh="true")
    async with management(platform) as client:
        assert await (await client.get("/api/triggeredwebjobs/nobody/settings")).json() == {}
        assert (await client.put("/api/triggeredwebjobs/nobody/settings", json={})).status == 404
        for bad in (b"{", b"[]", b"7"):
            answer = await client.put("/api/triggeredwebjobs/report/settings", data=bad)
            assert answer.status == 400, bad
    assert platform.deployments.reasons == []


async def test_swagger_page(platform):
    """The Swagger document lists the triggered jobs."""
    _, text = await get(platform, "/api/triggeredwebjobsswagger")
    assert list(json.loads(text)["paths"]) == ["/api/triggeredjobs/report/run"]


async def test_addresses_use_the_hosts_name_of_the_request(platform):
    """URLs in answers begin with the scheme and authority that the client used."""
    _, text = await get(platform, "/api/triggeredwebjobs/report", Host="scm.example:8443")
    assert json.loads(text)["url"] == "http://scm.example:8443/api/triggeredwebjobs/report"
