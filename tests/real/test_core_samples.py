"""The sample app on a real platform: the five-minute tour, walked by a test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from real.platform import KEY, ROOT, Platform

pytestmark = [pytest.mark.real, pytest.mark.core]


@pytest.fixture
def tour(samples: Path, start_platform) -> Platform:
    """A platform that serves the samples."""
    assert samples.is_dir()
    # A job that dies young waits a minute by default; the tests have no minute to spare.
    return start_platform(env={"WEBJOBS_RESTART_TIME": "1"})


def taak(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, on this platform."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT,
        env={**os.environ, "TAAK_HOME": str(platform.home), "TAAK_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_http_functions(tour: Platform):
    """GET and POST of hello; a bad body is a 400 of the function's own."""
    assert tour.get("/api/hello?name=Ada").text == "Hello, Ada!\n"
    assert tour.post("/api/hello", '{"name": "Bob"}').text == "Hello, Bob!\n"
    assert tour.post("/api/hello", "nonsense").status == 400


def test_a_function_key_and_a_route_parameter(tour: Platform):
    """The function status wants a key, answers a dict as JSON, and a pair as body and status."""
    assert tour.get("/api/status").status == 401
    facts = tour.get("/api/status", x_functions_key=KEY)
    assert json.loads(facts.text).keys() == {"pid", "uptime_s", "load"}
    assert tour.get("/api/status/pid", x_functions_key=KEY).json().keys() == {"pid"}
    assert tour.get("/api/status/nope", x_functions_key=KEY).status == 404


def test_the_timer_fired_by_hand(tour: Platform, tmp_path: Path):
    """`taak trigger cleanup` fires it once, and its log says what it did."""
    done = taak(tour, "trigger", "cleanup")
    assert done.returncode == 0, done.stderr + tour.told()
    tour.wait_until(lambda: "cleanup removed" in taak(tour, "logs", "cleanup").stdout)
    assert tmp_path.is_dir()


def test_a_triggered_job_with_arguments(tour: Platform):
    """The job gets its arguments, its output is the run's log, its exit code the run's end."""
    done = taak(tour, "trigger", "report", "--wait", "--json", "--", "/")
    assert done.returncode == 0, done.stderr + tour.told()
    run = json.loads(done.stdout)
    assert run["state"] == "success"
    assert "MiB free" in taak(tour, "runs", "log", str(run["id"])).stdout

    failing = taak(tour, "trigger", "report", "--wait", "--", "--min-free-percent", "100.1")
    assert failing.returncode == 8
    assert "failed" in failing.stderr


def test_a_continuous_job(tour: Platform):
    """It runs, is started again after a kill, stops in order, and starts again."""
    job = tour.wait_until(lambda: _running(tour), what="heartbeat did not run")
    os.kill(job["pid"], signal.SIGKILL)
    again = tour.wait_until(
        lambda: (found := _running(tour)) and found["pid"] != job["pid"] and found,
        timeout_s=20,
        what="heartbeat did not come back",
    )
    assert again
    assert taak(tour, "stop", "heartbeat").returncode == 0
    tour.wait_until(lambda: tour.job("heartbeat")["state"] == "Stopped", what="still running")
    assert "heartbeat stops after" in taak(tour, "logs", "heartbeat").stdout
    assert taak(tour, "start", "heartbeat").returncode == 0
    tour.wait_until(lambda: _running(tour), what="heartbeat did not start again")


def _running(platform: Platform) -> dict | None:
    job = platform.job("heartbeat")
    return job if job and job["state"] == "Running" and job["pid"] else None


def test_the_command_line_finds_its_way(tour: Platform):
    """list, status, schedule, runs, deployments, doctor: each answers, by people's and --json."""
    assert "heartbeat" in taak(tour, "list").stdout
    assert len(json.loads(taak(tour, "list", "--json").stdout)["functions"]) == 3
    assert tour.data_url in taak(tour, "status").stdout
    assert taak(tour, "schedule", "next", "report", "-n", "3", "-q").stdout.count("T06:00") == 3
    assert taak(tour, "deployments", "--json").returncode == 0
    assert taak(tour, "runs", "--json").returncode == 0
    assert taak(tour, "openapi").returncode == 0
    assert taak(tour, "keys", "--json").returncode == 0
    # The home is locked; the verbs still find the platform that runs in it.
    second = taak(tour, "run", str(tour.site), "--port", "0", "--management-port", "0")
    assert second.returncode != 0
    assert str(tour.pid) in second.stderr + second.stdout


def test_an_ordered_stop(tour: Platform):
    """SIGTERM: exit code 0, and afterwards the verbs say that nobody is there."""
    assert tour.stop() == 0, tour.told()
    assert taak(tour, "list").returncode == 7
