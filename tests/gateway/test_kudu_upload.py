from __future__ import annotations

import asyncio
import io
import zipfile
from dataclasses import replace

import pytest
from management_fakes import MASTER, FakePlatform, a_run, management

from gateway.kudu.body import MAX_UPLOAD_BYTES
from scheduler.functions import HostSettings, JobKind, Problem
from scheduler.run import RunState

pytestmark = pytest.mark.real

ZIP = {"Content-Type": "application/zip", "Content-Disposition": "attachement; filename=job.zip"}


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    return FakePlatform(tmp_path)


def packed(**files: str) -> bytes:
    """Return a zip: `__` in a name is a slash, `_` a dot."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), text)
    return buffer.getvalue()


def named(name):
    """Return the header that names an upload."""
    return {"Content-Disposition": f"attachment; filename={name}"}


def leftovers(platform):
    """Return what an upload has left behind."""
    return [path.name for path in (platform.home / "tmp").glob("*")]


async def test_script_is_uploaded_under_its_name(platform):
    """The body is stored under the name of Content-Disposition; the answer is the job."""
    async with management(platform) as client:
        answer = await client.put(
            "/api/triggeredwebjobs/fresh/", data=b"echo hi\n", headers=named('"a\\b/run.sh"')
        )
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["run_command"] == "run.sh"
        assert (await client.get("/api/triggeredwebjobs/fresh")).status == 200
    assert (platform.site / "App_Data/jobs/triggered/fresh/run.sh").read_text() == "echo hi\n"
    assert leftovers(platform) == []


async def test_zip_replaces_the_whole_job(platform):
    """A zip is unpacked; files of the old job are gone, its data is not touched."""
    folder = platform.write_job("mail", JobKind.CONTINUOUS, run_sh="old", settings_job="{}")
    platform.take_jobs_from_site()
    job = platform.catalog.job(JobKind.CONTINUOUS, "mail")
    platform.folders.data(job).mkdir(parents=True)
    async with management(platform) as client:
        answer = await client.put(
            "/api/continuouswebjobs/mail", data=packed(run_py="new", lib__a_txt="x"), headers=ZIP
        )
        assert answer.status == 200, await answer.text()
    assert sorted(path.name for path in folder.iterdir()) == ["lib", "run.py"]
    assert platform.folders.data(job).exists()
    assert leftovers(platform) == []


@pytest.mark.parametrize(
    ("data", "headers", "text"),
    [
        (b"x", {}, "Missing Content-Disposition header."),
        (b"x", {"Content-Disposition": "attachment"}, "Missing Content-Disposition header."),
        (b"x", named("readme.txt"), "No runnable script file was found."),
        (packed(run_sh="x"), named("job.zip"), "No runnable script file was found."),
        (packed(readme_txt="x"), ZIP, "No runnable script file was found."),
        (b"no zip", ZIP, "no zip archive"),
        (packed(run_sh="x")[:-30], ZIP, "no zip archive"),
    ],
)
async def test_bad_upload_leaves_the_old_job(platform, data, headers, text):
    """400 says what is wrong; the old files stay and nothing is deployed."""
    folder = platform.write_job("mail", run_sh="old")
    platform.take_jobs_from_site()
    async with management(platform) as client:
        answer = await client.put("/api/triggeredwebjobs/mail", data=data, headers=headers)
        assert answer.status == 400
        assert text in await answer.text()
    assert [path.name for path in folder.iterdir()] == ["run.sh"]
    assert platform.deployments.reasons == []
    assert leftovers(platform) == []


@pytest.mark.parametrize("entry", ["../evil.sh", "a/../../evil.sh", "/evil.sh", "..\\evil.sh"])
async def test_archive_cannot_leave_the_job(platform, entry):
    """An entry that leads out is refused with 400, whatever else is in the archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("run.sh", "x")
        archive.writestr(entry, "x")
    async with management(platform) as client:
        answer = await client.put("/api/triggeredwebjobs/mail", data=buffer.getvalue(), headers=ZIP)
        assert answer.status == 400
        assert "leads out" in await answer.text()
    assert not list(platform.home.parent.rglob("evil*"))


@pytest.mark.parametrize("name", ["-x", "a.b", "a%20b", "x" * 200])
async def test_new_names_are_checked(platform, name):
    """A new job's name follows the portal's rule."""
    async with management(platform) as client:
        answer = await client.put(
            f"/api/triggeredwebjobs/{name}", data=b"x", headers=named("run.sh")
        )
        assert (answer.status, "no job name" in await answer.text()) == (400, True)


async def test_refused_deployment_is_told(platform):
    """When the app's deployment is refused, 409 says by what, and the old files are back."""
    folder = platform.write_job("mail", run_sh="old")
    platform.take_jobs_from_site()
    platform.deployments.refusal = Problem("host.json", "not valid JSON", 3)
    async with management(platform) as client:
        answer = await client.put(
            "/api/triggeredwebjobs/mail", data=b"new", headers=named("run.sh")
        )
        assert answer.status == 409
        assert "host.json:3: not valid JSON" in await answer.text()
        answer = await client.put("/api/triggeredwebjobs/new", data=b"x", headers=named("run.sh"))
        assert answer.status == 409
    assert [path.read_text() for path in folder.iterdir()] == ["old"]
    assert not (folder.parent / "new").exists()
    assert leftovers(platform) == []


async def test_wrapping_folder_counts_as_the_job(platform):
    """A zip with one wrapping folder works, as in Kudu."""
    async with management(platform) as client:
        answer = await client.put(
            "/api/triggeredwebjobs/wrapped", data=packed(inner__run_sh="x"), headers=ZIP
        )
        # The fake deployment looks at the outer folder only; accepted is what counts here.
        assert "No runnable script" not in await answer.text()
    assert (platform.site / "App_Data/jobs/triggered/wrapped/inner/run.sh").exists()


async def test_delete_stops_first_and_takes_the_data_along(platform):
    """DELETE stops the job, removes files and data, and is 200 also when there is nothing."""
    folder = platform.write_job("mail", JobKind.CONTINUOUS, run_sh="x")
    platform.take_jobs_from_site()
    data = platform.folders.data(platform.catalog.job(JobKind.CONTINUOUS, "mail"))
    data.mkdir(parents=True)
    async with management(platform) as client:
        answer = await client.delete("/api/continuouswebjobs/mail")
        assert (answer.status, await answer.read()) == (200, b"")
        assert platform.continuous.orders == [
            (verb, "mail") for verb in ("stop", "ended", "forget")
        ]
        assert not folder.exists()
        assert not data.exists()
        assert (await client.get("/api/continuouswebjobs/mail")).status == 404
        assert (await client.delete("/api/continuouswebjobs/mail")).status == 200
    assert leftovers(platform) == []


async def test_delete_of_a_running_triggered_job_cancels_the_run(platform):
    """A process must not see its files vanish."""
    platform.write_job("report", run_sh="x")
    platform.take_jobs_from_site()
    run = a_run(1, state=RunState.RUNNING, ended_at=None)
    platform.triggered.runs["report"] = [run]
    async with management(platform) as client:
        assert (await client.delete("/api/triggeredwebjobs/report")).status == 200
    assert platform.triggered.cancelled == [run.public_id]


async def test_upload_that_is_too_large_is_refused_before_it_is_sent(platform):
    """A length beyond the limit is 413 at once, without a byte of the body."""
    async with management(platform) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
        head = (
            "PUT /api/triggeredwebjobs/big HTTP/1.1\r\nHost: h\r\n"
            f"x-functions-key: {MASTER}\r\nContent-Disposition: attachment; filename=run.sh\r\n"
            f"Content-Length: {MAX_UPLOAD_BYTES + 1}\r\n\r\n"
        )
        writer.write(head.encode())
        assert b" 413 " in await reader.readline()
        writer.close()
    assert leftovers(platform) == []


async def test_deletion_takes_hidden_jobs_of_the_name_along(platform):
    """A job of the second root that the first one's hid does not come to light."""
    platform.write_job("mail", run_sh="x")
    hidden = platform.home / "site" / "jobs" / "triggered" / "Mail"
    hidden.mkdir(parents=True)
    (hidden / "run.sh").write_text("x")
    platform.take_jobs_from_site()
    async with management(platform) as client:
        assert (await client.delete("/api/triggeredwebjobs/mail")).status == 200
    assert not hidden.exists()


async def test_new_jobs_of_a_packaged_site_go_to_the_second_root(platform):
    """Under run-from-package the site is somebody else's: HOME/site/jobs takes the upload."""
    host = HostSettings(settings={"WEBSITE_RUN_FROM_PACKAGE": "1"})
    platform.catalog.swap(replace(platform.catalog.definition, host=host))
    async with management(platform) as client:
        await client.put("/api/triggeredwebjobs/new", data=b"x", headers=named("run.sh"))
    assert (platform.home / "site/jobs/triggered/new/run.sh").exists()
