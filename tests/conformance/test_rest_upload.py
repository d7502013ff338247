"""Uploading and deleting jobs."""

from __future__ import annotations

import http.client
import io
import stat
import zipfile
from urllib.parse import urlsplit

import pytest
from real.platform import KEY, Answer

from conformance.client import Jobs
from conformance.conftest import Workshop

pytestmark = [pytest.mark.real, pytest.mark.core]

ECHO = "#!/bin/bash\necho version $1\n"
STAYS = "while :; do sleep 0.2; done\n"


@pytest.fixture(scope="module")
def jobs(workshop: Workshop) -> Jobs:
    """A platform without jobs."""
    return workshop.open()


def zipped(*entries: tuple[str, str], mode: int = 0o644) -> bytes:
    """Return an archive of names and contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries:
            info = zipfile.ZipInfo(name, (2020, 2, 3, 4, 5, 6))
            info.create_system = 3
            info.external_attr = mode << 16
            archive.writestr(info, text)
    return buffer.getvalue()


def put(
    jobs: Jobs,
    path: str,
    body: bytes | str,
    disposition: str = "attachment; filename=run.sh",
    kind: str = "application/octet-stream",
) -> Answer:
    """Upload; a relative path is a triggered job's."""
    whole = path if path.startswith("/") else f"/api/triggeredwebjobs/{path}"
    headers = {"Content-Type": kind}
    if disposition:
        headers["Content-Disposition"] = disposition
    return jobs.platform.manage("PUT", whole, body, headers)


def put_zip(jobs: Jobs, path: str, body: bytes, kind: str = "application/zip") -> Answer:
    """Upload an archive."""
    return put(jobs, path, body, "attachment; filename=job.zip", kind)


def test_a_script_becomes_a_job_at_once(jobs: Jobs) -> None:
    """§6.3: 200 with the job, on creation too; it is in the list, runs, and is replaced."""
    answer = put(jobs, "one", ECHO)
    assert answer.status == 200
    assert (answer.json()["name"], answer.json()["run_command"]) == ("one", "run.sh")
    assert "one" in [job["name"] for job in jobs.kudu("/api/triggeredwebjobs")]
    assert jobs.run("one", "1")[0] == "Success"
    assert put(jobs, "one/", "echo second", "attachment; filename=run.sh").status == 200
    assert "INFO] second" in jobs.run("one")[1]
    assert len(jobs.history("one")) == 2


@pytest.mark.parametrize(
    ("disposition", "command"),
    [
        ("attachement; filename=run.sh", "run.sh"),
        ('inline; filename="go.sh"', "go.sh"),
        (r'attachment; filename="C:\scripts\go.sh"', "go.sh"),
        ("attachment; filename=../up/go.sh", "go.sh"),
        ("attachment; filename*=UTF-8''%C3%BCber.sh", "über.sh"),
        ("attachment;FILENAME=x.py", "x.py"),
    ],
)
def test_names_of_uploads(jobs: Jobs, disposition: str, command: str) -> None:
    """§6.3: any disposition, quotes and directories stripped, letters beyond ASCII."""
    answer = put(jobs, "named", "", disposition)
    assert answer.status == 200, answer.text
    assert answer.json()["run_command"] == command


@pytest.mark.parametrize("disposition", ["", "attachment", "attachment; filename=.."])
def test_a_name_is_needed(jobs: Jobs, disposition: str) -> None:
    """§6.3: 400 with Kudu's words, as plain text."""
    answer = put(jobs, "nameless", ECHO, disposition)
    assert (answer.status, answer.text) == (400, "Missing Content-Disposition header.")
    assert answer.headers["content-type"].startswith("text/plain")
    answer = put(jobs, "nameless", zipped(("run.sh", ECHO)), disposition, "application/zip")
    assert answer.status == 400


def test_clients_stream_with_chunks(jobs: Jobs) -> None:
    """§6.3: chunked, without a length."""
    base = urlsplit(jobs.platform.management_url)
    connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=20)
    headers = {"x-functions-key": KEY, "Content-Disposition": "attachment; filename=run.sh"}
    pieces = (piece.encode() for piece in ("echo ", "in ", "pieces\n"))
    connection.request("PUT", "/api/triggeredwebjobs/chunked", pieces, headers, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert "INFO] in pieces" in jobs.run("chunked")[1]


def test_an_archive_is_the_whole_job(jobs: Jobs) -> None:
    """§6.3: unpacked, whatever was there before is gone, data and times are kept."""
    body = zipped(("run.sh", ECHO), ("lib/old.txt", "old"))
    assert put_zip(jobs, "packed", body, "Application/ZIP").status == 200
    jobs.run("packed")
    body = zipped(("run.sh", "cat lib/new.txt"), ("lib/new.txt", "fresh"), ("settings.job", "{}"))
    assert put_zip(jobs, "packed", body).status == 200
    folder = jobs.folder("triggered", "packed")
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert found == ["lib", "lib/new.txt", "run.sh", "settings.job"]
    assert (folder / "run.sh").stat().st_mtime == 1580702706
    assert "INFO] fresh" in jobs.run("packed")[1]
    assert len(jobs.history("packed")) == 2


def test_settings_made_through_the_api_outlive_an_upload(jobs: Jobs) -> None:
    """§9 [OURS]: files that bring none keep them; files that bring some decide; DELETE forgets."""
    path = "/api/triggeredwebjobs/tuned"
    put(jobs, "tuned", ECHO)
    assert jobs.platform.kudu("PUT", f"{path}/settings", '{"mine": 1}').status == 200
    assert put(jobs, "tuned", ECHO).json()["settings"] == {"mine": 1}
    body = zipped(("inner/run.sh", ECHO))
    assert put_zip(jobs, "tuned", body).json()["settings"] == {"mine": 1}
    body = zipped(("run.sh", ECHO), ("settings.job", '{"mine": 2}'))
    assert put_zip(jobs, "tuned", body).json()["settings"] == {"mine": 2}
    assert put(jobs, "tuned", ECHO).json()["settings"] == {}
    jobs.platform.kudu("PUT", f"{path}/settings", '{"mine": 3}')
    jobs.platform.kudu("DELETE", path)
    assert put(jobs, "tuned", ECHO).json()["settings"] == {}


def test_one_wrapping_folder_is_looked_through(jobs: Jobs) -> None:
    """§1.2, §6.5: the command is the path of the script in the job."""
    answer = put_zip(jobs, "wrapped", zipped(("inner/run.sh", "echo inside")))
    assert answer.json()["run_command"] == "inner/run.sh"
    assert "INFO] inside" in jobs.run("wrapped")[1]


def test_a_bad_upload_leaves_the_old_job(jobs: Jobs) -> None:
    """§6.3 [OURS]: no script, no zip, a way out, two of a name: 400, and the old one runs on."""
    put(jobs, "kept", "echo the old one")
    for body, kind, words in (
        (b"x", "text/plain", "No runnable script file was found."),
        (zipped(("run.sh", "x")), "application/octet-stream", "No runnable script"),
        (zipped(("readme.txt", "x")), "application/zip", "No runnable script"),
        (b"no zip", "application/zip", "zip"),
        (zipped(("run.sh", "x"))[:-40], "application/zip", "zip"),
        (zipped(("run.sh", "x"), ("../evil.sh", "x")), "application/zip", "'../evil.sh'"),
        (zipped(("run.sh", "x"), ("/evil.sh", "x")), "application/zip", "'/evil.sh'"),
        (zipped(("run.sh", "x"), ("..\\evil.sh", "x")), "application/zip", "evil.sh"),
        (zipped(("run.sh", "x"), ("run.sh/y", "x")), "application/zip", "'run.sh'"),
        (zipped(("link", "/etc"), mode=stat.S_IFLNK | 0o777), "application/zip", "'link'"),
    ):
        answer = put(jobs, "kept", body, "attachment; filename=job.zip", kind)
        assert answer.status == 400, words
        assert words in answer.text
        assert "INFO] the old one" in jobs.run("kept")[1]
    assert not list(jobs.platform.site.parent.rglob("evil*"))


def test_a_refused_first_upload_leaves_nothing(jobs: Jobs) -> None:
    """§6.3: without a script there is no job afterwards."""
    assert put(jobs, "nothing", "x", "attachment; filename=a.txt").status == 400
    assert jobs.platform.kudu("GET", "/api/triggeredwebjobs/nothing").status == 404
    assert not jobs.folder("triggered", "nothing").exists()


@pytest.mark.parametrize("name", ["-first", "_first", "a.b", "a%20b", "x" * 200])
def test_new_names_follow_the_rule(jobs: Jobs, name: str) -> None:
    """§1.8 [OURS]: 400 for a name that is none."""
    assert put(jobs, name, ECHO).status == 400


def test_a_continuous_job_starts_and_is_deleted(jobs: Jobs) -> None:
    """§6.2, §4.5 [OURS]: PUT registers at once; DELETE stops first, then files and data go."""
    path = "/api/continuouswebjobs/worker"
    assert put(jobs, path, STAYS).status == 200
    assert jobs.post(f"{path}/start").status == 200
    jobs.reached("worker", "Running")
    answer = jobs.platform.kudu("DELETE", path)
    assert (answer.status, answer.body) == (200, b"")
    assert jobs.platform.kudu("GET", path).status == 404
    assert not jobs.folder("continuous", "worker").exists()
    assert not jobs.data("continuous", "worker").exists()
    assert jobs.platform.kudu("DELETE", path).status == 200


def test_an_upload_that_is_too_large_is_refused_by_its_length(jobs: Jobs) -> None:
    """§6.3 [OURS]: 413 before the body, for a length beyond the limit."""
    base = urlsplit(jobs.platform.management_url)
    connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=20)
    connection.putrequest("PUT", "/api/triggeredwebjobs/large")
    for name, value in (
        ("x-functions-key", KEY),
        ("Content-Disposition", "attachment; filename=run.sh"),
        ("Content-Length", str(2**40)),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_deletion_ends_what_runs_and_what_waits(jobs: Jobs) -> None:
    """§8 [OURS]: runs of a job that is deleted end, also those that run beside it or wait."""
    ours = '{"stopping_wait_time": 1, "taak": {"concurrency": 2, "on_busy": "queue"}}'
    body = zipped(("run.sh", "sleep 60"), ("settings.job", ours))
    assert put_zip(jobs, "many", body).status == 200
    begun = [jobs.post("/api/triggeredwebjobs/many/run").status for _ in range(3)]
    assert begun == [202] * 3

    def running() -> int:
        told = "WebJob: many, Type: triggered"
        found = [each for each in jobs.kudu("/api/processes") if each["description"] == told]
        return sum(each["name"] == "bash" for each in found)

    jobs.platform.wait_until(lambda: running() == 2, what="two runs")
    assert jobs.platform.kudu("DELETE", "/api/triggeredwebjobs/many").status == 200
    assert running() == 0
    assert jobs.platform.kudu("GET", "/api/triggeredwebjobs/many/history").status == 404


def test_a_schedule_that_cannot_be_read_is_told_in_the_job(jobs: Jobs) -> None:
    """§6.5, §2.3: the upload is taken, `error` names the expression, runs by hand work."""
    body = zipped(("run.sh", ECHO), ("settings.job", '{"schedule": "nonsense"}'))
    answer = put_zip(jobs, "odd", body)
    assert answer.status == 200
    assert "nonsense" in answer.json()["error"]
    assert jobs.run("odd", "x")[0] == "Success"
