"""The neighbours of the job API that tools rely on: files, zips, settings, processes, the log."""

from __future__ import annotations

import http.client
import io
import json
import zipfile
from typing import Any
from urllib.parse import urlsplit

import pytest
from real.platform import KEY, Answer

from conformance.client import Jobs
from conformance.conftest import Workshop

pytestmark = pytest.mark.real

SPEAKS = """
n=0
while :; do n=$((n+1)); echo "round $n of $WORD"; sleep 0.2; done
"""
SITE = "/api/vfs/site/wwwroot"


@pytest.fixture(scope="module")
def jobs(workshop: Workshop) -> Jobs:
    """A platform with a job that speaks and one that shows its settings."""
    workshop.continuous("speaker", "run.sh", SPEAKS)
    workshop.triggered("shows", "run.sh", 'echo "K=$K/$APPSETTING_K"')
    opened = workshop.open(env={"WEBJOBS_RESTART_TIME": "1"})
    opened.reached("speaker", "Running")
    return opened


def ask(
    jobs: Jobs, method: str, path: str, body: bytes | str | None = None, **headers: str
) -> Answer:
    """Call the management listener; `_` in a header's name stands for `-`."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return jobs.platform.manage(method, path, body, told)


def test_files_are_made_read_and_replaced(jobs: Jobs) -> None:
    """§6.7: 201, then 412 without the tag, 204 with it or *; ETag, ranges, 304, 416."""
    path = f"{SITE}/deep/er/file.txt"
    answer = ask(jobs, "PUT", path, "0123456789")
    assert answer.status == 201
    tag = answer.headers["etag"]
    assert ask(jobs, "PUT", path, "x").status == 412
    assert ask(jobs, "PUT", path, "x", If_Match='"old"').status == 412
    found = ask(jobs, "GET", path)
    assert (found.text, found.headers["etag"]) == ("0123456789", tag)
    assert ask(jobs, "GET", path, If_None_Match=tag).status == 304
    for wanted, text in (("2-4", "234"), ("8-", "89"), ("-3", "789"), ("8-99", "89")):
        part = ask(jobs, "GET", path, Range=f"bytes={wanted}")
        assert (part.status, part.text) == (206, text)
    assert ask(jobs, "GET", path, Range="bytes=2-4").headers["content-range"] == "bytes 2-4/10"
    several = ask(jobs, "GET", path, Range="bytes=0-0,-1")
    assert several.status == 206
    assert several.headers["content-type"].startswith("multipart/byteranges")
    beyond = ask(jobs, "GET", path, Range="bytes=10-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */10")
    assert ask(jobs, "GET", path, Range="bytes=0-0", If_Range=tag).status == 206
    assert ask(jobs, "GET", path, Range="bytes=0-0", If_Range='"old"').status == 200
    head = ask(jobs, "HEAD", path)
    assert (head.status, head.headers["content-length"], head.body) == (200, "10", b"")
    assert ask(jobs, "PUT", path, "y", If_Match=tag).status == 204
    assert ask(jobs, "PUT", path, "z", If_Match="*").status == 204
    assert ask(jobs, "GET", path.replace("/api", "")).text == "z"


def test_folders_are_listed(jobs: Jobs) -> None:
    """§6.7: name, size, mtime, crtime, mime, href, path; 307 where the slash is missing."""
    ask(jobs, "PUT", f"{SITE}/listed/a.json", "{}")
    ask(jobs, "PUT", f"{SITE}/listed/inner/")
    file, folder = ask(jobs, "GET", f"{SITE}/listed/").json()
    assert list(file) == ["name", "size", "mtime", "crtime", "mime", "href", "path"]
    assert (file["name"], file["size"], file["mime"]) == ("a.json", 2, "application/json")
    assert file["href"] == f"{jobs.platform.management_url}{SITE}/listed/a.json"
    assert (folder["name"], folder["mime"]) == ("inner", "inode/directory")
    assert folder["href"].endswith("/listed/inner/")
    answer = ask(jobs, "GET", f"{SITE}/listed")
    assert (answer.status, answer.headers["location"]) == (307, f"{SITE}/listed/")


def test_files_and_folders_are_deleted(jobs: Jobs) -> None:
    """§6.7: a file needs If-Match, a folder that is not empty recursive=true; missing is 404."""
    path = f"{SITE}/doomed/file"
    tag = ask(jobs, "PUT", path, "x").headers["etag"]
    assert ask(jobs, "DELETE", path).status == 412
    assert ask(jobs, "DELETE", f"{SITE}/doomed/").status == 409
    assert ask(jobs, "DELETE", path, If_Match=tag).status == 200
    assert ask(jobs, "DELETE", path, If_Match="*").status == 404
    assert ask(jobs, "DELETE", f"{SITE}/doomed/").status == 200
    ask(jobs, "PUT", path, "x")
    assert ask(jobs, "DELETE", f"{SITE}/doomed?recursive=true").status == 200
    assert ask(jobs, "GET", f"{SITE}/doomed/").status == 404


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "data/..%2f..%2fx", "data/secrets/host.json",
     "taak.db", "data/settings/settings.json"],
)  # fmt: skip
def test_nothing_leads_out_or_to_the_keys(jobs: Jobs, path: str) -> None:
    """§6.7 [OURS]: what is outside of the home, or the platform's own, is not served."""
    for method in ("GET", "PUT", "DELETE"):
        assert ask(jobs, method, f"/api/vfs/{path}", "x", If_Match="*").status in {400, 404}


def test_an_edit_of_a_jobs_file_restarts_it(jobs: Jobs) -> None:
    """§6.7, §4.4: what is put through VFS is noticed."""
    before = jobs.pid("speaker")
    path = f"{SITE}/App_Data/jobs/continuous/speaker/more.txt"
    assert ask(jobs, "PUT", path, "x").status == 201
    jobs.platform.wait_until(lambda: jobs.pid("speaker") not in {0, before}, what="restart")


def test_a_zip_is_merged_and_given_back(jobs: Jobs) -> None:
    """§6.7: PUT unpacks over what is there, GET packs the folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("run.sh", "echo from a zip")
        archive.writestr("data/x.txt", "x")
    path = "/api/zip/site/wwwroot/App_Data/jobs/triggered/zipped/"
    assert ask(jobs, "PUT", path, buffer.getvalue()).status == 200
    assert "INFO] from a zip" in jobs.run("zipped")[1]
    answer = ask(jobs, "GET", path)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert sorted(archive.namelist()) == ["data/", "data/x.txt", "run.sh"]
    assert ask(jobs, "PUT", path, b"no zip").status == 400


def test_settings_reach_jobs_at_their_next_use(jobs: Jobs) -> None:
    """§3.1, §3.2: POST 204; jobs get them with and without APPSETTING_; nothing restarts."""
    before = jobs.pid("speaker")
    assert ask(jobs, "POST", "/api/settings", '{"K": "v1"}').status == 204
    assert jobs.kudu("/api/settings")["K"] == "v1"
    assert jobs.kudu("/api/settings/K") == "v1"
    assert "INFO] K=v1/v1" in jobs.run("shows")[1]
    assert jobs.pid("speaker") == before
    assert ask(jobs, "DELETE", "/api/settings/K").status == 204
    assert ask(jobs, "GET", "/api/settings/K").status == 404
    assert "INFO] K=/" in jobs.run("shows")[1]
    for bad in ("", "[]", '{"a=b": "x"}', '{"a": null}'):
        assert ask(jobs, "POST", "/api/settings", bad).status == 400


def test_settings_of_the_engine_apply_at_the_next_use(jobs: Jobs) -> None:
    """§3.1, §6.2: HISTORY_SIZE at the next run; STOPPED refuses runs with its words."""
    for _ in range(3):
        jobs.run("shows")
    ask(jobs, "POST", "/api/settings", '{"WEBJOBS_HISTORY_SIZE": "2"}')
    jobs.run("shows")
    assert len(jobs.history("shows")) == 2
    ask(jobs, "POST", "/api/settings", '{"WEBJOBS_STOPPED": "1"}')
    answer = jobs.post("/api/triggeredwebjobs/shows/run")
    assert (answer.status, answer.text) == (409, 'WebJobs are currently in "stopped" state.')
    for name in ("WEBJOBS_STOPPED", "WEBJOBS_HISTORY_SIZE"):
        assert ask(jobs, "DELETE", f"/api/settings/{name}").status == 204
    assert jobs.run("shows")[0] == "Success"


def job_process(jobs: Jobs) -> dict[str, Any] | None:
    """Return the process of the job that speaks."""
    found = jobs.kudu("/api/processes")
    told = "WebJob: speaker, Type: continuous"
    mine = [each for each in found if each["description"] == told and each["name"] == "bash"]
    return mine[0] if mine else None


def test_processes_say_whose_they_are(jobs: Jobs) -> None:
    """§6.7: is_webjob and description; 0 is the platform; only a job's can be ended."""
    process = jobs.platform.wait_until(lambda: job_process(jobs), what="the job's process")
    assert process["is_webjob"] is True
    one = jobs.kudu(process["href"])
    assert (one["id"], one["description"]) == (process["id"], "WebJob: speaker, Type: continuous")
    assert "run.sh" in one["command_line"]
    own = jobs.kudu("/api/processes/0")
    assert (own["id"], own["is_webjob"]) == (jobs.platform.pid, False)
    assert ask(jobs, "GET", "/api/processes/999999999").status == 404
    for other in ("0", "1", str(jobs.platform.pid), "-5", "x"):
        assert ask(jobs, "DELETE", f"/api/processes/{other}").status in {403, 404}
    assert ask(jobs, "DELETE", f"/api/processes/{process['id']}").status == 204
    jobs.says("speaker", "SYS ERR ] Job failed due to exit code 137 (killed by signal 9)")
    jobs.reached("speaker", "Running")


def test_the_log_is_streamed_as_it_is_written(jobs: Jobs) -> None:
    """§3.1, §6.7: continuous output always; triggered output when the setting says so."""
    base = urlsplit(jobs.platform.management_url)
    connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=20)
    ask(jobs, "POST", "/api/settings", '{"WEBJOBS_LOG_TRIGGERED_JOBS_TO_APP_LOGS": "1"}')
    connection.request("GET", "/api/logstream", headers={"x-functions-key": KEY})
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = iter(lambda: answer.readline().decode(), "")
    assert "Welcome" in next(lines)
    jobs.start("shows")
    wanted = {"of ", "K=/"}
    for line in lines:
        wanted -= {word for word in wanted if word in line}
        if not wanted:
            break
    connection.close()
    ask(jobs, "DELETE", "/api/settings/WEBJOBS_LOG_TRIGGERED_JOBS_TO_APP_LOGS")
    assert not wanted
    assert ask(jobs, "GET", "/api/logstream/jobs/continuous/nobody").status == 404


def test_what_is_not_served_says_why(jobs: Jobs) -> None:
    """§6.7 [OURS]: commands are refused in words; the version is told."""
    answer = ask(jobs, "POST", "/api/command", json.dumps({"command": "ls"}))
    assert answer.status == 501
    assert "job" in answer.json()["Message"]
    assert jobs.kudu("/api/environment")["version"]
