"""Web hooks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from real.platform import Answer, call, wait_until

from conformance.client import Jobs
from conformance.conftest import Workshop

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def jobs(workshop: Workshop) -> Jobs:
    """A platform with a job that succeeds and one that fails."""
    workshop.triggered("good", "run.sh", "echo fine")
    workshop.triggered("bad", "run.sh", "exit 3")
    return workshop.open()


class Receiver:
    """A server that keeps what comes; a path `/STATUS` is answered with that status."""

    def __init__(self) -> None:
        self.came: list[tuple[str, dict[str, str], str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.came.append((self.path, dict(self.headers), body))
                told = self.path.strip("/")
                self.send_response(int(told) if told.isdecimal() else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def bodies(self, path: str) -> list[Any]:
        """Return what came to a path."""
        return [json.loads(body) for where, _, body in self.came if where == path]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver of hooks."""
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def subscribe(jobs: Jobs, event: str, url: str, **more: object) -> Answer:
    """Subscribe to an event."""
    body = json.dumps({"event": event, "url": url, "insecure_ssl": False, **more})
    return jobs.platform.kudu("POST", "/api/hooks", body)


def test_subscriptions_are_kept_once(jobs: Jobs, receiver: Receiver) -> None:
    """§7: 201 with the hook; the same again is the same; another event on the url is 409."""
    url = f"{receiver.url}/once"
    answer = subscribe(jobs, "Once", url)
    hook = answer.json()
    assert answer.status == 201
    assert {"id", "event", "url", "insecure_ssl", "last_status", "last_reason"} <= set(hook)
    again = subscribe(jobs, "Once", url)
    assert (again.status, again.json()["id"]) == (201, hook["id"])
    assert subscribe(jobs, "Other", url).status == 409
    assert subscribe(jobs, "Once", "/relative").status == 400
    assert hook["id"] in [each["id"] for each in jobs.kudu("/api/hooks")]
    assert jobs.kudu(f"/api/hooks/{hook['id']}")["url"] == url
    assert (jobs.platform.home / "site" / "deployments" / "hooks").exists()
    assert jobs.platform.kudu("DELETE", f"/api/hooks/{hook['id']}").status == 200
    assert jobs.platform.kudu("GET", f"/api/hooks/{hook['id']}").status == 404


def test_ended_runs_are_told_of(jobs: Jobs, receiver: Receiver) -> None:
    """§7: TriggeredJobFinished for Success and Failed, with the run object; last_* is noted."""
    hook = subscribe(jobs, "TriggeredJobFinished", f"{receiver.url}/finished").json()
    assert jobs.run("good")[0] == "Success"
    assert jobs.run("bad")[0] == "Failed"
    wait_until(lambda: len(receiver.bodies("/finished")) == 2, what="two events")
    runs = {run["job_name"]: run for run in receiver.bodies("/finished")}
    assert {name: run["status"] for name, run in runs.items()} == {
        "good": "Success",
        "bad": "Failed",
    }
    assert "error_url" not in runs["good"]
    text = next(body for path, _, body in receiver.came if path == "/finished")
    assert text.startswith('{\n  "')
    told = wait_until(lambda: jobs.kudu(f"/api/hooks/{hook['id']}")["last_status"], what="noted")
    assert told == "OK"
    jobs.platform.kudu("DELETE", f"/api/hooks/{hook['id']}")


def test_custom_events_are_sent_with_the_proof_of_the_url(jobs: Jobs, receiver: Receiver) -> None:
    """§7: POST publish/EVENT with any JSON; user:pass@ becomes basic authentication."""
    url = receiver.url.replace("//", "//me:secret@")
    hook = subscribe(jobs, "Mine", f"{url}/mine").json()
    answer = jobs.platform.kudu("POST", "/api/hooks/publish/Mine", '{"x": {"y": null, "z": 1}}')
    assert answer.status == 200
    assert receiver.bodies("/mine") == [{"x": {"z": 1}}]
    (headers,) = [headers for path, headers, _ in receiver.came if path == "/mine"]
    assert headers["Authorization"] == "Basic bWU6c2VjcmV0"
    assert jobs.kudu(f"/api/hooks/{hook['id']}")["last_context"]


def test_gone_unsubscribes(jobs: Jobs, receiver: Receiver) -> None:
    """§7: an answer of 410 ends the subscription, one of 500 is noted and does not."""
    gone = subscribe(jobs, "End", f"{receiver.url}/410").json()
    broken = subscribe(jobs, "End", f"{receiver.url}/500").json()
    jobs.platform.kudu("POST", "/api/hooks/publish/End", "{}")
    assert jobs.platform.kudu("GET", f"/api/hooks/{gone['id']}").status == 404
    assert jobs.kudu(f"/api/hooks/{broken['id']}")["last_status"] == "InternalServerError"


def test_deployments_are_told_of(jobs: Jobs, receiver: Receiver) -> None:
    """§7: PostDeployment when what serves has changed."""
    subscribe(jobs, "PostDeployment", f"{receiver.url}/deployed")
    (jobs.platform.site / "App_Data/jobs/triggered/good/more.txt").write_text("x")
    wait_until(lambda: receiver.bodies("/deployed"), what="the event")
    assert receiver.bodies("/deployed")[0]["status"] == "success"


def test_requests_are_signed_with_a_secret(jobs: Jobs, receiver: Receiver) -> None:
    """§7 [OURS]: HMAC-SHA256 of timestamp and body; the secret is not shown again."""
    answer = subscribe(jobs, "Signed", f"{receiver.url}/signed", secret="s")
    assert "secret" not in answer.json()
    jobs.platform.kudu("POST", "/api/hooks/publish/Signed", "{}")
    (headers,) = [headers for path, headers, _ in receiver.came if path == "/signed"]
    assert headers["x-taak-signature"].startswith("sha256=")
    assert headers["x-taak-timestamp"].isdecimal()


def test_the_run_is_a_web_hook_with_a_key_of_its_own(jobs: Jobs) -> None:
    """§7, §8 [OURS]: a key that runs one job, also in the address, and nothing else."""
    made = jobs.platform.v1("/keys", {"name": "inbound", "scopes": ["job:good:run"]})
    base, code = jobs.platform.management_url, made["key"]
    assert call(base, "POST", f"/api/triggeredwebjobs/good/run?code={code}").status == 202
    assert call(base, "POST", f"/api/triggeredwebjobs/bad/run?code={code}").status == 403
    assert call(base, "GET", f"/api/webjobs?code={code}").status == 401
    headers = {"Authorization": f"Bearer {code}"}
    assert call(base, "GET", "/api/triggeredwebjobs/good/history", headers=headers).status == 200
    assert call(base, "DELETE", "/api/triggeredwebjobs/good", headers=headers).status == 403
