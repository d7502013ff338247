"""Routes, verbs, shapes, tags and envelopes of the job API."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from real.platform import KEY, Answer, call

from conformance.client import Jobs
from conformance.conftest import Workshop

pytestmark = pytest.mark.real

DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z"
SPAN = r"(\d+\.)?\d\d:\d\d:\d\d(\.\d{7})?"
ROOTS = ("/api/{}webjobs", "/api/{}jobs", "/api/jobs/{}", "/jobs/{}")
STAYS = "while :; do sleep 0.2; done"


@pytest.fixture(scope="module")
def jobs(workshop: Workshop) -> Jobs:
    """A platform with one job of each kind, one that is long, and one without a script."""
    workshop.triggered("report", "run.sh", 'echo "$WEBJOBS_COMMAND_ARGUMENTS"; echo "$1|$2"')
    workshop.triggered("long", "run.sh", "sleep 60", stopping_wait_time=1)
    workshop.triggered("never", "run.py", "print('x')", schedule="0 0 0 1 1 *", mine={"a": 1})
    workshop.triggered("empty", "readme.txt", "no script")
    workshop.continuous("mail", "run.sh", STAYS, is_singleton=True)
    opened = workshop.open()
    opened.reached("mail", "Running")
    return opened


@pytest.fixture(scope="module")
def ran(jobs: Jobs) -> dict[str, Any]:
    """A run of `report` that has ended."""
    return jobs.ended(jobs.start("report", "one 'two three'"))


def ask(jobs: Jobs, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
    """Call the management listener; `_` in a header's name stands for `-`."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return jobs.platform.manage(method, path, body, told)


def test_each_kind_of_proof_opens(jobs: Jobs) -> None:
    """§6.1: basic authentication with any user, bearer and the header; 401 without."""
    pair = base64.b64encode(f"$deploy:{KEY}".encode()).decode()
    for header, value in (
        ("Authorization", f"Basic {pair}"),
        ("Authorization", f"Bearer {KEY}"),
        ("x-functions-key", KEY),
    ):
        answer = call(jobs.platform.management_url, "GET", "/api/webjobs", headers={header: value})
        assert answer.status == 200, header
    answer = call(jobs.platform.management_url, "GET", "/api/webjobs")
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_unknown_routes_and_verbs_are_404_that_name_the_path(jobs: Jobs) -> None:
    """§6.1: a JSON string, for a wrong verb as well."""
    for method, path in (
        ("GET", "/api/nothing"),
        ("POST", "/api/triggeredwebjobs"),
        ("DELETE", "/api/triggeredwebjobs/report/history"),
        ("GET", "/api/triggeredwebjobs/report/run"),
        ("PUT", "/api/webjobs"),
        ("POST", "/api/continuouswebjobs/mail/run"),
        ("POST", "/api/triggeredwebjobs/report/start"),
        ("PATCH", "/api/triggeredwebjobs/report"),
    ):
        answer = ask(jobs, method, path)
        assert answer.status == 404, (method, path)
        assert path in answer.json(), (method, path)
        assert isinstance(answer.json(), str)
    assert ask(jobs, "HEAD", "/api/webjobs").status == 404


def test_every_alias_leads_to_the_same(jobs: Jobs, ran: dict[str, Any]) -> None:
    """§6.1: four spellings, in any case, with and without the slash at the end."""
    for kind, name in (("triggered", "report"), ("continuous", "mail")):
        for root in (*ROOTS, *(root.upper() for root in ROOTS)):
            base = root.format(kind.title() if root.isupper() else kind)
            for path in (base, f"{base}/", f"{base}/{name}", f"{base}/{name.upper()}/"):
                assert ask(jobs, "GET", path).status == 200, path
            assert ask(jobs, "GET", f"{base}/{name}/settings").status == 200
            if kind == "triggered":
                found = ask(jobs, "GET", f"{base}/{name}/history/{ran['id']}")
                assert found.json()["id"] == ran["id"]
    for path in ("/api/webjobs", "/api/jobs", "/jobs", "/API/WebJobs/"):
        assert len(ask(jobs, "GET", path).json()) == 4


def test_lists_name_triggered_jobs_first(jobs: Jobs) -> None:
    """§6.2: all lists; a job without a script is in none, and is 404 by itself."""
    assert [job["name"] for job in jobs.kudu("/api/webjobs")] == ["long", "never", "report", "mail"]
    assert [job["type"] for job in jobs.kudu("/api/continuouswebjobs")] == ["continuous"]
    assert {job["type"] for job in jobs.kudu("/api/triggeredwebjobs")} == {"triggered"}
    answer = ask(jobs, "GET", "/api/triggeredwebjobs/empty")
    assert (answer.status, answer.body) == (404, b"")


def test_continuous_job_has_its_shape(jobs: Jobs) -> None:
    """§6.5: names, order, types and absolute addresses of a continuous job."""
    base, job = jobs.platform.management_url, jobs.job("mail")
    assert job == {
        "status": "Running",
        "detailed_status": "abcdef - Running\r\n",
        "log_url": f"{base}/vfs/data/jobs/continuous/mail/job_log.txt",
        "name": "mail",
        "run_command": "run.sh",
        "url": f"{base}/api/continuouswebjobs/mail",
        "extra_info_url": f"{base}/azurejobs/#/jobs/continuous/mail",
        "type": "continuous",
        "error": None,
        "using_sdk": False,
        "settings": {"is_singleton": True},
    }
    assert list(job)[:4] == ["status", "detailed_status", "log_url", "name"]
    assert "Status changed to Running" in "".join(jobs.lines(job["log_url"]))


def test_triggered_job_has_its_shape(jobs: Jobs, ran: dict[str, Any]) -> None:
    """§6.5: a triggered job with its latest run, and one that never ran."""
    base, job = jobs.platform.management_url, jobs.triggered("report")
    assert list(job) == [
        "latest_run", "history_url", "scheduler_logs_url", "name", "run_command", "url",
        "extra_info_url", "type", "error", "using_sdk", "settings",
    ]  # fmt: skip
    assert job["latest_run"]["id"] == ran["id"]
    assert job["history_url"] == f"{base}/api/triggeredwebjobs/report/history"
    assert job["scheduler_logs_url"] is None
    never = jobs.triggered("never")
    assert never["latest_run"] is None
    assert never["settings"] == {"schedule": "0 0 0 1 1 *", "mine": {"a": 1}}
    assert never["scheduler_logs_url"].endswith("/vfs/data/jobs/triggered/never/job_scheduler.log")


def test_run_has_its_shape(jobs: Jobs, ran: dict[str, Any]) -> None:
    """§6.5: id is name; dates, time span, addresses that work, and who triggered it."""
    base = jobs.platform.management_url
    assert list(ran) == [
        "id", "name", "status", "start_time", "end_time", "duration", "output_url", "error_url",
        "url", "job_name", "trigger",
    ]  # fmt: skip
    assert re.fullmatch(r"\d{18}", ran["id"])
    assert (ran["name"], ran["status"], ran["job_name"]) == (ran["id"], "Success", "report")
    assert re.fullmatch(DATE, ran["start_time"])
    assert re.fullmatch(DATE, ran["end_time"])
    assert re.fullmatch(SPAN, ran["duration"])
    assert ran["url"] == f"{base}/api/triggeredwebjobs/report/history/{ran['id']}"
    assert ran["error_url"] is None
    assert ran["trigger"] == "External - "
    output = jobs.lines(ran["output_url"])
    assert {"INFO] one 'two three'", "INFO] one|two three"} <= set(output)


def test_run_in_progress_has_no_end(jobs: Jobs) -> None:
    """§6.5: end_time is .NET's unset date; duration counts; a second run is 409 with its words."""
    location = jobs.start("long")
    jobs.platform.wait_until(lambda: jobs.kudu(location)["status"] == "Running", what="running")
    run = jobs.kudu(location)
    assert run["end_time"] == "0001-01-01T00:00:00"
    assert run["output_url"].endswith("output_log.txt")
    first = ask(jobs, "GET", "/api/triggeredwebjobs").headers["etag"]
    assert ask(jobs, "GET", "/api/triggeredwebjobs", If_None_Match=first).status == 200
    answer = jobs.post("/api/triggeredwebjobs/long/run")
    assert answer.status == 409
    assert answer.text == "Cannot start a new run since job is already running."
    assert answer.headers["content-type"].startswith("text/plain")
    assert ask(jobs, "DELETE", "/api/triggeredwebjobs/long").status == 200


def test_run_answers_with_an_absolute_address(jobs: Jobs) -> None:
    """§6.2: 202, an empty body, Location; the body is ignored, + is a space, the agent is kept."""
    path = "/api/triggeredwebjobs/report/run?arguments=a+b%20c"
    answer = ask(jobs, "POST", path, '{"x": 1}', User_Agent="curl/8.1", Host="scm.example:81")
    assert (answer.status, answer.body) == (202, b"")
    told = answer.headers["location"]
    assert told.startswith("http://scm.example:81/api/triggeredwebjobs/report/history/")
    run = jobs.ended(told)
    assert run["trigger"] == "External - curl/8.1"
    assert "INFO] a b c" in jobs.lines(run["output_url"])
    assert ask(jobs, "POST", "/api/triggeredwebjobs/nobody/run").status == 404


def test_history_is_newest_first(jobs: Jobs, ran: dict[str, Any]) -> None:
    """§6.2: {runs}; unknown runs 404 without a body; 404 for a job without a data directory."""
    newer = jobs.ended(jobs.start("report"))
    ids = [run["id"] for run in jobs.history("report")]
    assert ids.index(newer["id"]) < ids.index(ran["id"])
    assert ids == sorted(ids, reverse=True)
    for path in (
        "/api/triggeredwebjobs/report/history/209901010000000000",
        "/api/triggeredwebjobs/report/history/x",
        "/api/triggeredwebjobs/nobody/history",
        "/api/triggeredwebjobs/empty/history",
    ):
        answer = ask(jobs, "GET", path)
        assert (answer.status, answer.body) == (404, b""), path
    # Scheduled and never run: the scheduler's log has made the directory.
    assert jobs.history("never") == []


def test_tags_are_compared_to_the_letter(jobs: Jobs, ran: dict[str, Any]) -> None:
    """§6.4: 304 with the tag and no body for the first value, quotes included; none on singles."""
    for path in (
        "/api/continuouswebjobs",
        "/api/triggeredwebjobs/report/history",
        "/api/triggeredwebjobs/never/history",
    ):
        tag = ask(jobs, "GET", path).headers["etag"]
        assert re.fullmatch(r'"[0-9a-f]+"', tag)
        same = ask(jobs, "GET", path, If_None_Match=f'{tag}, "other"')
        assert (same.status, same.body, same.headers["etag"]) == (304, b"", tag)
        assert ask(jobs, "GET", path, If_None_Match=tag.strip('"')).status == 200
        assert ask(jobs, "GET", path, If_None_Match=f'"other", {tag}').status == 200
    for path in (
        "/api/triggeredwebjobs/report",
        f"/api/triggeredwebjobs/report/history/{ran['id']}",
    ):
        assert "etag" not in ask(jobs, "GET", path).headers


def test_a_new_run_changes_the_tags(jobs: Jobs) -> None:
    """§6.4: of the list and of the history."""
    paths = ("/api/webjobs", "/api/triggeredwebjobs/report/history")
    before = [ask(jobs, "GET", path).headers["etag"] for path in paths]
    jobs.run("report")
    after = [ask(jobs, "GET", path).headers["etag"] for path in paths]
    assert not set(before) & set(after)


def test_settings_are_the_bare_object(jobs: Jobs) -> None:
    """§6.2, §6.5: PUT replaces the whole file; {} for an unknown job, whose PUT is 404."""
    path = "/api/triggeredwebjobs/report/settings"
    answer = ask(jobs, "PUT", path, '{"schedule": "0 0 0 1 1 *", "mine": [1]}')
    assert (answer.status, answer.body) == (200, b"")
    assert jobs.kudu(path) == {"schedule": "0 0 0 1 1 *", "mine": [1]}
    assert jobs.triggered("report")["settings"]["mine"] == [1]
    assert ask(jobs, "PUT", path, "{}").status == 200
    assert jobs.kudu(path) == {}
    assert jobs.kudu("/api/triggeredwebjobs/nobody/settings") == {}
    assert ask(jobs, "PUT", "/api/triggeredwebjobs/nobody/settings", "{}").status == 404
    for bad in ("", "{", "[]", "1"):
        assert ask(jobs, "PUT", path, bad).status == 400, bad


def test_stop_and_start_answer_at_once(jobs: Jobs) -> None:
    """§6.2, §4.5: 200 with an empty body; the state follows; 404 for what is not there."""
    for verb, status in (("stop", "Stopped"), ("start", "Running")):
        answer = jobs.post(f"/api/continuouswebjobs/mail/{verb}")
        assert (answer.status, answer.body) == (200, b"")
        jobs.reached("mail", status)
        assert jobs.post(f"/api/continuouswebjobs/nobody/{verb}").status == 404


def test_swagger_lists_the_runs(jobs: Jobs) -> None:
    """§6.5: Swagger 2.0, to the letter."""
    told = jobs.kudu("/api/triggeredwebjobsswagger")
    assert (told["swagger"], told["host"], told["schemes"]) == ("2.0", "placeHolder", ["https"])
    post = told["paths"]["/api/triggeredjobs/report/run"]["post"]
    assert post["operationId"] == "report"
    assert post["parameters"][0]["name"] == "arguments"


def test_the_resource_manager_gets_envelopes(jobs: Jobs, ran: dict[str, Any]) -> None:
    """§6.1: id, name, type, location, properties; lists as value; run 200; PUT of settings."""
    site = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/shop"
    arm = {"x_ms_geo_location": "West Europe"}

    def told(path: str) -> Any:
        return ask(jobs, "GET", f"/api{path}", Referer=f"https://arm{site}{path}", **arm).json()

    one = told("/triggeredwebjobs/report")
    assert list(one) == ["id", "name", "type", "location", "properties"]
    assert one["id"] == f"{site}/triggeredwebjobs/report"
    assert one["type"] == "Microsoft.Web/sites/triggeredwebjobs"
    assert (one["name"], one["location"]) == ("shop/report", "West Europe")
    (mail,) = told("/continuouswebjobs")["value"]
    assert mail["id"] == f"{site}/continuouswebjobs/mail"
    assert mail["properties"]["name"] == "mail"
    runs = told("/triggeredwebjobs/report/history")["value"]
    assert ran["id"] in {run["properties"]["id"] for run in runs}
    answer = ask(jobs, "POST", "/api/triggeredwebjobs/report/run", **arm)
    assert answer.status == 200
    jobs.ended(answer.headers["location"])
    body = '{"properties": {"settings": {"mine": 2}}}'
    answer = ask(jobs, "PUT", "/api/triggeredwebjobs/report", body, **arm)
    assert answer.json()["properties"]["settings"] == {"mine": 2}
    assert jobs.triggered("report")["run_command"] == "run.sh"
