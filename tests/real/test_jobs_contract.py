"""WebJobs as their clients see them: real scripts, a real platform, Kudu's API and files."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from real import apps, processes
from real.platform import KEY, Platform, call, wait_until

pytestmark = [pytest.mark.real]

ARGUMENTS = """
import os, sys
print(sys.argv[1:])
print(os.environ["WEBJOBS_COMMAND_ARGUMENTS"])
"""
CLOSES_ITS_OUTPUT = """
import os, time
os.close(1)
os.close(2)
time.sleep(0.2)
raise SystemExit(4)
"""
LEAVES_A_DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(300)
    os._exit(0)
os.wait()
print("left one")
"""
STUBBORN = """
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, lambda *_: print("got SIGTERM", flush=True))
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
print("ready", flush=True)
while not os.path.exists(os.environ["WEBJOBS_SHUTDOWN_FILE"]):
    time.sleep(0.02)
print("saw the file", flush=True)
time.sleep(300)
"""
STAYS = "echo up $$; exec sleep 300"
KINDS = ("triggered", "continuous")


@dataclass
class Jobs:
    """A platform, spoken to as a client of Kudu."""

    platform: Platform

    def kudu(self, path: str) -> Any:
        """GET of a JSON answer; an address that the platform has given will do."""
        answer = self.platform.kudu("GET", urlsplit(path).path)
        assert answer.status == 200, (path, answer.status, answer.text)
        return answer.json()

    def lines(self, url: str) -> list[str]:
        """Return a log without its time stamps."""
        text = self.platform.kudu("GET", urlsplit(url).path).text
        return [line.partition(": ")[2] for line in text.splitlines()]

    def start(self, name: str, arguments: str = "") -> str:
        """Start a run and return its address."""
        path = f"/api/triggeredwebjobs/{name}/run?arguments={quote(arguments)}"
        answer = self.platform.kudu("POST", path)
        assert answer.status == 202, (name, answer.status, answer.text)
        return answer.headers["location"]

    def ended(self, location: str) -> dict[str, Any]:
        """Wait as Kudu's clients do: until the status is an end."""

        def look() -> dict[str, Any] | None:
            run: dict[str, Any] = self.kudu(location)
            return run if run["status"] not in {"Initializing", "Running"} else None

        found: dict[str, Any] = self.platform.wait_until(look, what=location)
        return found

    def run(self, name: str, arguments: str = "") -> tuple[str, list[str]]:
        """Run a job to its end; its status and its log."""
        run = self.ended(self.start(name, arguments))
        return run["status"], self.lines(run["output_url"])

    def job(self, name: str) -> dict[str, Any]:
        """Return a continuous job."""
        found: dict[str, Any] = self.kudu(f"/api/continuouswebjobs/{name}")
        return found

    def log(self, name: str) -> list[str]:
        """Return a continuous job's log."""
        return self.lines(f"/vfs/data/jobs/continuous/{name}/job_log.txt")

    def reached(self, name: str, status: str) -> None:
        """Wait until a continuous job is so."""
        self.platform.wait_until(
            lambda: self.job(name)["status"] == status, what=f"{name} {status}"
        )

    def pid(self, name: str) -> int:
        """Wait for a continuous job's process."""
        found: int = self.platform.wait_until(
            lambda: self.platform.v1(f"/jobs/continuous/{name}")["pid"], what=f"{name} runs"
        )
        return found


def programs(platform: Platform) -> list[int]:
    """Return the processes of jobs, by the names of what they run; a launcher is none of them."""
    names = ("bash", "sleep", "python")
    below = set(processes.tree(platform.pid)) - set(processes.children(platform.pid))
    return [pid for pid in below if processes.name(pid).startswith(names)]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """One platform with a triggered job for every case."""
    base = tmp_path_factory.mktemp("jobs")
    site = base / "site"

    def job(name: str, script: str, code: str, **settings: object) -> Path:
        return apps.job(site, "triggered", name, script, code, **settings)

    job("arguments", "run.py", ARGUMENTS)
    job("exit3", "run.sh", "echo out; echo err >&2; exit 3")
    job("killed", "run.sh", "kill -9 $$")
    job("slow", "run.sh", "sleep 1")
    job(
        "flood",
        "run.sh",
        "head -c 200000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo END >&2",
    )
    job("binary", "run.sh", "head -c 300000 /dev/urandom; printf '\\0\\377\\n'; echo text")
    job("closes", "run.py", CLOSES_ITS_OUTPUT)
    job("forks", "run.sh", "sleep 300 & echo left one")
    job("daemon", "run.py", LEAVES_A_DAEMON)
    job("reads", "run.sh", "cat; read x; echo end of input")
    job("script", "run.ps1", "echo hello")
    job("copy", "run.sh", "echo dirty > dirty; ls; pwd")
    job("place", "run.sh", "pwd", is_in_place=True)
    lenient = job("lenient", "run.sh", "echo ok")
    settings = (
        '// a comment\n{"schedule": 5, "is_in_place": "yes", "stopping_wait_time": "9", "x": [1]}'
    )
    (lenient / "settings.job").write_text(settings)
    (job("broken", "run.sh", "echo ok") / "settings.job").write_text("{ no JSON")
    job("five", "run.sh", "echo ok", schedule="* * * * *")
    job("kept", "run.sh", "mkdir -p $WEBJOBS_DATA_PATH/mine; touch $WEBJOBS_DATA_PATH/mine/file")
    platform = Platform(site, base / "home", env={"WEBJOBS_HISTORY_SIZE": "3"}).start()
    try:
        yield Jobs(platform)
    finally:
        platform.stop()


@pytest.mark.core
def test_a_run_by_hand_as_curl_does_it(jobs: Jobs) -> None:
    """webjobs.md 6.2, 5.3: basic auth, 202 and Location, quotes group, the text is passed on."""
    given = """one "two three" 'it''s' "" a\\ b $HOME *.sh größe"""
    credentials = base64.b64encode(f"$deploy:{KEY}".encode()).decode()
    sent = {
        "Authorization": f"Basic {credentials}",
        "User-Agent": "curl/8.5.0",
        "Accept": "*/*",
        "Content-Length": "0",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    path = f"/api/triggeredwebjobs/ARGUMENTS/run?arguments={quote(given)}"
    answer = call(jobs.platform.management_url, "POST", path, headers=sent)
    assert (answer.status, answer.body) == (202, b"")
    run = jobs.ended(answer.headers["location"])
    assert run["status"] == "Success"
    assert run["trigger"] == "External - curl/8.5.0"
    assert jobs.lines(run["output_url"])[3:5] == [
        "INFO] ['one', 'two three', 'its', '', 'a b', '$HOME', '*.sh', 'größe']",
        f"INFO] {given}",
    ]


def test_arguments_that_no_shell_would_take_are_refused(jobs: Jobs) -> None:
    """webjobs.md 1.3: split with quotes; an open one is told, and no run is made."""
    given = quote('an open "quote')
    path = f"/api/triggeredwebjobs/arguments/run?arguments={given}"
    answer = jobs.platform.kudu("POST", path)
    assert (answer.status, "closing quotation" in answer.text) == (400, True)


@pytest.mark.parametrize(("name", "line"), [("exit3", "3"), ("killed", "137 (killed by signal 9)")])
def test_a_run_fails_with_its_exit_code(jobs: Jobs, name: str, line: str) -> None:
    """webjobs.md 5.1: Failed, then the line that tools look for; stderr is marked."""
    status, log = jobs.run(name)
    assert (status, log[-2:]) == (
        "Failed",
        ["SYS INFO] Status changed to Failed", f"SYS ERR ] Job failed due to exit code {line}"],
    )  # fmt: skip
    assert name != "exit3" or {"INFO] out", "ERR ] err"} <= set(log)


def test_one_run_at_a_time_and_no_run_of_what_is_not_there(jobs: Jobs) -> None:
    """webjobs.md 5.2 and 6.2: 409 with Kudu's text, 404, and afterwards it can run again."""
    location = jobs.start("slow")
    second = jobs.platform.kudu("POST", "/api/triggeredwebjobs/Slow/run")
    words = "Cannot start a new run since job is already running."
    assert (second.status, second.text) == (409, words)
    assert jobs.platform.kudu("POST", "/api/triggeredwebjobs/nobody/run").status == 404
    assert jobs.kudu(location)["status"] in {"Initializing", "Running"}
    assert jobs.ended(location)["status"] == "Success"
    assert jobs.run("slow")[0] == "Success"


def test_a_flood_keeps_its_beginning_and_its_end(jobs: Jobs) -> None:
    """webjobs.md 4.9: 200 MB neither block nor fill, and the last words stay readable."""
    status, log = jobs.run("flood")
    assert status == "Success"
    assert sum(map(len, log)) < 13_000_000
    assert any("Output was truncated: " in line for line in log)
    assert log[-2:] == ["ERR ] END", "SYS INFO] Status changed to Success"]


def test_output_that_is_no_text_does_no_harm(jobs: Jobs) -> None:
    """webjobs.md 1.3: read as UTF-8, whatever it is."""
    status, log = jobs.run("binary")
    assert (status, log[-2]) == ("Success", "INFO] text")


def test_a_job_that_closes_its_output_runs_on(jobs: Jobs) -> None:
    """webjobs.md 1.3: the life of a run is that of its process, not of its pipes."""
    status, log = jobs.run("closes")
    assert (status, log[-1]) == ("Failed", "SYS ERR ] Job failed due to exit code 4")


@pytest.mark.parametrize("name", ["forks", "daemon"])
def test_what_a_run_leaves_behind_ends_with_it(jobs: Jobs, name: str) -> None:
    """webjobs.md 1.3 and 4.7: children that hold the output open do not hold the run."""
    begun = time.monotonic()
    status, log = jobs.run(name)
    assert (status, time.monotonic() - begun < 10) == ("Success", True)
    assert "INFO] left one" in log
    jobs.platform.wait_until(lambda: not programs(jobs.platform), what=f"nothing of {name} is left")


def test_a_job_that_reads_its_input_finds_none(jobs: Jobs) -> None:
    """webjobs.md 1.3: /dev/null, not a pipe that hangs."""
    assert "INFO] end of input" in jobs.run("reads")[1]


@pytest.mark.skipif(shutil.which("pwsh") is not None, reason="PowerShell is installed here")
def test_a_missing_interpreter_is_told_in_the_log(jobs: Jobs) -> None:
    """webjobs.md 1.3: Failed, with what is missing and how to get it."""
    status, log = jobs.run("script")
    assert (status, log[-1].startswith("SYS ERR ]")) == ("Failed", True)
    assert "pwsh" in log[-1]


def test_a_job_works_in_a_private_copy_unless_told_otherwise(jobs: Jobs) -> None:
    """webjobs.md 1.4: what it does to its own files stays out of the app."""
    for _ in range(2):
        _, log = jobs.run("copy")
        assert {"INFO] dirty", "INFO] run.sh"} <= set(log)
    live = jobs.platform.site / "App_Data/jobs/triggered"
    assert [path.name for path in (live / "copy").iterdir()] == ["run.sh"]
    assert not any(f"INFO] {live}" in line for line in log)
    assert f"INFO] {live / 'place'}" in jobs.run("place")[1]


def test_settings_of_the_wrong_type_are_ignored_and_echoed(jobs: Jobs) -> None:
    """webjobs.md 2: the job runs with defaults; a bad schedule is an error that it shows."""
    shown = jobs.kudu("/api/triggeredwebjobs/lenient")
    assert shown["settings"] == {
        "schedule": 5, "is_in_place": "yes", "stopping_wait_time": "9", "x": [1]
    }  # fmt: skip
    assert [shown["error"], jobs.kudu("/api/triggeredwebjobs/broken")["settings"]] == [None, {}]
    assert [jobs.run(name)[0] for name in ("lenient", "broken", "five")] == ["Success"] * 3
    assert "6 fields are needed" in jobs.kudu("/api/triggeredwebjobs/five")["error"]


def test_old_runs_go_and_the_jobs_own_files_stay(jobs: Jobs) -> None:
    """webjobs.md 5.4 and 1.5: WEBJOBS_HISTORY_SIZE runs, only 18-digit folders are runs."""
    made = [jobs.start("kept")]
    for _ in range(4):
        jobs.ended(made[-1])
        made.append(jobs.start("kept"))
    jobs.ended(made[-1])
    ids = [location.rpartition("/")[2] for location in made]
    history = jobs.kudu("/api/triggeredwebjobs/kept/history")["runs"]
    assert [run["id"] for run in history] == ids[:1:-1]
    folder = jobs.platform.home / "data/jobs/triggered/kept"
    assert sorted(path.name for path in folder.iterdir()) == [*ids[2:], "mine"]
    status = json.loads((folder / ids[-1] / "status").read_text())
    assert status["Status"] == "Success"
    assert jobs.platform.kudu("GET", urlsplit(made[0]).path).status == 404


def test_a_tick_during_a_run_is_skipped_and_recorded(site: Path, start_platform: Any) -> None:
    """webjobs.md 2.3, sandbox.md D4: not queued, no run of it, but known."""
    apps.job(site, "triggered", "tick", "run.sh", "sleep 1.5", schedule="* * * * * *")
    jobs = Jobs(platform := start_platform())
    log = "/vfs/data/jobs/triggered/tick/job_scheduler.log"

    def seen() -> bool:
        runs = jobs.kudu("/api/triggeredwebjobs/tick")["latest_run"] and jobs.kudu(
            "/api/triggeredwebjobs/tick/history"
        )
        return bool(runs) and len(runs["runs"]) >= 2

    platform.wait_until(seen, what="two runs")
    runs = jobs.kudu("/api/triggeredwebjobs/tick/history")["runs"]
    assert {run["trigger"] for run in runs} == {"Schedule - * * * * * *"}
    lines = jobs.lines(log)
    assert lines[0].startswith(
        "SYS INFO] Scheduling WebJob with * * * * * * next schedule expected"
    )
    assert "SYS INFO] WebJob invoked" in lines
    assert any(line.startswith("SYS WARN] Skipped the schedule at") for line in lines)
    platform.stop()
    with closing(sqlite3.connect(platform.home / "taak.db")) as db:
        rows = db.execute("SELECT outcome, run_id IS NULL FROM ticks").fetchall()
    assert set(rows) >= {("fired", 0), ("skipped", 1)}
    assert ("fired", 1) not in rows


def test_a_script_that_goes_away_is_told(site: Path, start_platform: Any) -> None:
    """design.md 7, webjobs.md 5.1: the last good release runs on; in place there is none to run."""
    place = apps.job(site, "triggered", "place", "run.sh", "echo ok", is_in_place=True)
    copied = apps.job(site, "triggered", "copied", "run.sh", "echo ok")
    jobs = Jobs(platform := start_platform())
    (copied / "run.sh").rename(copied / "readme.txt")
    (place / "run.sh").rename(place / "readme.txt")

    def refused() -> bool:
        return bool(platform.v1("/deployments")["items"][0]["state"] == "refused")

    platform.wait_until(refused, what="a refused deployment")
    problems = platform.v1("/deployments")["items"][0]["problems"]
    assert "no runnable script" in problems[0]["message"]
    assert jobs.run("copied")[0] == "Success"
    status, log = jobs.run("place")
    assert (status, "run.sh" in log[-1]) == ("Failed", True)
    (place / "readme.txt").rename(place / "run.sh")
    assert jobs.run("place")[0] == "Success"


# --- Continuous jobs


@pytest.mark.core
def test_an_end_is_seen_at_once_and_followed_by_a_start(site: Path, start_platform: Any) -> None:
    """webjobs.md 4.2, 4.3: WEBJOBS_RESTART_TIME after an exit and after kill -9 alike."""
    apps.job(site, "continuous", "stays", "run.sh", STAYS)
    apps.job(site, "continuous", "ends", "run.sh", "echo round; exit 0")
    jobs = Jobs(platform := start_platform(env={"WEBJOBS_RESTART_TIME": "1"}))
    first = jobs.pid("stays")
    jobs.reached("stays", "Running")
    os.kill(first, signal.SIGKILL)
    killed = time.monotonic()
    platform.wait_until(lambda: jobs.job("stays")["status"] == "PendingRestart", what="noticed")
    assert time.monotonic() - killed < 0.7
    jobs.reached("stays", "Running")
    assert 0.9 < time.monotonic() - killed < 4
    assert jobs.pid("stays") != first
    assert jobs.job("stays")["detailed_status"].endswith(" - Running\r\n")
    log = jobs.log("stays")
    died = log.index("SYS ERR ] Job failed due to exit code 137 (killed by signal 9)")
    assert log[died + 1 : died + 4] == [
        "SYS INFO] Process went down, waiting for 1 seconds",
        "SYS INFO] Status changed to PendingRestart",
        "SYS INFO] Run script 'run.sh' with script host - 'BashScriptHost'",
    ]
    platform.wait_until(lambda: jobs.log("ends").count("INFO] round") >= 3, what="three rounds")
    assert "SYS INFO] Status changed to Success" in jobs.log("ends")


def test_a_job_that_keeps_crashing_waits_longer(site: Path, start_platform: Any) -> None:
    """sandbox.md D6: the restart time at first, then more of it; PendingRestart is shown."""
    apps.job(site, "continuous", "crash", "run.sh", "exit 7", is_singleton=True)
    jobs = Jobs(platform := start_platform(env={"WEBJOBS_RESTART_TIME": "1"}))

    def waits() -> list[str]:
        return [line.split()[-2] for line in jobs.log("crash") if "went down" in line]

    platform.wait_until(lambda: len(waits()) >= 4, what="four crashes")
    assert waits()[:4] == ["1", "1", "1", "2"]
    assert jobs.job("crash")["status"] == "PendingRestart"
    lines = jobs.log("crash")
    assert lines[:3] == [
        "SYS INFO] Status changed to Starting",
        "SYS INFO] WebJob singleton setting is True",
        "SYS INFO] WebJob singleton lock is acquired",
    ]


@pytest.mark.core
def test_stop_ends_the_tree_and_outlives_the_platform(site: Path, start_platform: Any) -> None:
    """webjobs.md 4.5, 4.6, sandbox.md D6: file, SIGTERM, bounded wait, kill; stopped is stopped."""
    folder = apps.job(site, "continuous", "stubborn", "run.py", STUBBORN, stopping_wait_time=1)
    jobs = Jobs(platform := start_platform())
    platform.wait_until(lambda: "INFO] ready" in jobs.log("stubborn"), what="ready")
    tree = programs(platform)
    assert len(tree) == 2
    asked = time.monotonic()
    assert platform.kudu("POST", "/api/continuouswebjobs/stubborn/stop").status == 200
    assert time.monotonic() - asked < 0.9
    jobs.reached("stubborn", "Stopped")
    assert 0.9 < time.monotonic() - asked < 4
    assert not any(map(processes.alive, tree))
    assert (folder / "disable.job").exists()
    log = jobs.log("stubborn")
    after = log[log.index("SYS INFO] Status changed to Disabling") :]
    assert sorted(after[1:4]) == [
        "INFO] got SIGTERM", "INFO] saw the file", "SYS INFO] Status changed to Stopping"
    ]  # fmt: skip
    assert [after[4], after[-1]] == [
        "SYS INFO] WebJob process was aborted", "SYS INFO] Status changed to Stopped"
    ]  # fmt: skip
    platform.restart(kill=True)
    jobs.reached("stubborn", "Stopped")
    assert platform.kudu("POST", "/api/continuouswebjobs/stubborn/start").status == 200
    jobs.reached("stubborn", "Running")
    assert not (folder / "disable.job").exists()
    platform.restart(kill=True)
    jobs.reached("stubborn", "Running")


@pytest.mark.core
def test_a_changed_file_restarts_its_job_only_and_is_named(site: Path, start_platform: Any) -> None:
    """webjobs.md 4.4, 9: the log says which file; a touch does nothing; deletion stops the job."""
    folder = apps.job(site, "continuous", "changed", "run.sh", STAYS)
    other = apps.job(site, "continuous", "other", "run.sh", STAYS)
    jobs = Jobs(platform := start_platform())
    before, others = jobs.pid("changed"), jobs.pid("other")
    os.utime(folder / "run.sh")
    (folder / "words.txt").write_text("new")
    platform.wait_until(lambda: jobs.pid("changed") != before, what="the restart")
    log = jobs.log("changed")
    assert log.count("SYS INFO] Detected WebJob file/s were updated, refreshing WebJob") == 1
    assert any("Job file 'words.txt' exists in source directory" in line for line in log)
    before = jobs.pid("changed")
    (folder / "words.txt").unlink()
    platform.wait_until(lambda: jobs.pid("changed") != before, what="the second restart")
    assert any("Job file 'words.txt' has been deleted" in line for line in jobs.log("changed"))
    assert jobs.pid("other") == others
    shutil.rmtree(other)
    wait_until(lambda: not processes.alive(others), what="the deleted job's process ends")
    path = "/api/continuouswebjobs/other"
    platform.wait_until(lambda: platform.kudu("GET", path).status == 404, what="404")
    assert jobs.job("changed")["status"] == "Running"


def test_delete_ends_what_runs_and_forgets_it(site: Path, start_platform: Any) -> None:
    """webjobs.md 4.5, 6.3: stop first, then delete; a new job of the name is another job."""
    deaf = "trap '' TERM; while :; do sleep 0.2; done"
    apps.job(site, "triggered", "run", "run.sh", deaf, stopping_wait_time=1)
    apps.job(site, "continuous", "run", "run.sh", deaf, stopping_wait_time=1)
    jobs = Jobs(platform := start_platform())
    jobs.start("run")
    paths = [f"/api/{kind}webjobs/run" for kind in KINDS]
    jobs.reached("run", "Running")
    platform.wait_until(lambda: len(processes.named(platform.pid, "bash")) == 2, what="both run")
    left = programs(platform)
    for path in paths:
        assert platform.kudu("DELETE", path).status == 200
        assert platform.kudu("GET", path).status == 404
    assert not any(map(processes.alive, left))
    assert not any((platform.home / "data/jobs" / kind / "run").exists() for kind in KINDS)
    apps.job(site, "triggered", "run", "run.sh", "echo new")
    apps.job(site, "continuous", "run", "run.sh", STAYS)
    for path in paths:
        platform.wait_until(lambda path=path: platform.kudu("GET", path).status == 200, what=path)
    jobs.reached("run", "Running")
    assert jobs.run("run")[0] == "Success"
    assert len(jobs.kudu(f"{paths[0]}/history")["runs"]) == 1
