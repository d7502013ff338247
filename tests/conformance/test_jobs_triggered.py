"""§5: triggered jobs by hand and by schedule, their history, and what ends them early."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from real import processes
from real.platform import wait_until

from conformance.client import Jobs
from conformance.conftest import Workshop

pytestmark = [pytest.mark.real]

GATE = 'while [ ! -e "$WEBJOBS_DATA_PATH/go" ]; do sleep 0.05; done; echo "done"'
ARGUMENTS = """
import os, sys
print(sys.argv[1:])
print(os.environ["WEBJOBS_COMMAND_ARGUMENTS"])
"""
BUSY = "end=$((SECONDS+3)); while [ $SECONDS -lt $end ]; do :; done; echo worked"
CHATTY = "for i in 1 2 3 4 5 6 7 8; do sleep 0.5; echo $i; done"
QUICK = {"environment": {"WEBJOBS_IDLE_TIMEOUT": "1"}}
AT_ONCE = {"environment": {"WEBJOBS_IDLE_TIMEOUT": "0"}}


@pytest.fixture(scope="module")
def jobs(workshop: Workshop) -> Jobs:
    """One platform with a triggered job for each rule."""
    workshop.triggered("good", "run.sh", "echo out; echo err >&2")
    workshop.triggered("bad", "run.sh", "exit 3")
    workshop.triggered("gated", "run.sh", GATE)
    workshop.triggered("arguments", "run.py", ARGUMENTS)
    workshop.triggered("kept", "run.sh", 'mkdir -p "$WEBJOBS_DATA_PATH/20260101000000000"')
    workshop.triggered("silent", "run.sh", "sleep 300", taak=QUICK)
    workshop.triggered("silent-at-once", "run.sh", "sleep 300", taak=AT_ONCE)
    workshop.triggered("busy", "run.sh", BUSY, taak=QUICK)
    workshop.triggered("chatty", "run.sh", CHATTY, taak=QUICK)
    deaf = "trap '' TERM; setsid sleep 300 & echo ready; while :; do sleep 0.1; done"
    workshop.triggered("cancelled", "run.sh", deaf, stopping_wait_time=1)
    polite = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    workshop.triggered("late", "run.sh", polite, taak={"timeout_s": 1})
    workshop.triggered("ticks", "run.sh", "sleep 1.3", schedule="* * * * * *")
    workshop.triggered("unscheduled", "run.sh", "true", schedule="* * * * * *", taak={
        "environment": {"WEBJOBS_DISABLE_SCHEDULE": "1"}
    })  # fmt: skip
    workshop.triggered("stopped", "run.sh", "true", schedule="* * * * * *", taak={
        "environment": {"WEBJOBS_STOPPED": "1"}
    })  # fmt: skip
    workshop.triggered("waits", "run.sh", GATE.replace("/go", "/go$WEBJOBS_RUN_ID"), taak={
        "on_busy": "queue", "queue_depth": 2
    })  # fmt: skip
    workshop.triggered("two", "run.sh", GATE, taak={"concurrency": 2})
    return workshop.open(env={"WEBJOBS_HISTORY_SIZE": "3"})


def open_gate(jobs: Jobs, name: str, run_id: str = "") -> None:
    """Let a gated job go on, or one run of it."""
    (jobs.data("triggered", name) / f"go{run_id}").touch()


def test_a_run_from_its_beginning_to_its_end(jobs: Jobs) -> None:
    """§5.1: Initializing, script line, Running, output, Success; 18 digits of UTC are its id."""
    location = jobs.start("good")
    run = jobs.ended(location)
    log = jobs.lines(run["output_url"])
    assert sorted(log[3:5]) == ["ERR ] err", "INFO] out"]
    assert [*log[:3], *log[5:]] == [
        "SYS INFO] Status changed to Initializing",
        "SYS INFO] Run script 'run.sh' with script host - 'BashScriptHost'",
        "SYS INFO] Status changed to Running",
        "SYS INFO] Status changed to Success",
    ]
    assert re.fullmatch(r"\d{18}", run["id"])
    assert location.endswith(f"/api/triggeredwebjobs/good/history/{run['id']}")
    started = datetime.strptime(run["id"][:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - started).total_seconds()) < 120


def test_a_failure_tells_its_exit_code_after_its_status(jobs: Jobs) -> None:
    """§5.1: Failed, then `Job failed due to exit code N`."""
    status, log = jobs.run("bad")
    assert status == "Failed"
    assert log[-2:] == [
        "SYS INFO] Status changed to Failed", "SYS ERR ] Job failed due to exit code 3"
    ]  # fmt: skip


def test_one_run_at_a_time(jobs: Jobs) -> None:
    """§5.2, §1.5: 409 with Kudu's text; the lock file is held meanwhile and gone afterwards."""
    location = jobs.start("gated")
    second = jobs.post("/api/triggeredwebjobs/GATED/run")
    words = "Cannot start a new run since job is already running."
    assert (second.status, second.text) == (409, words)
    lock = jobs.data("triggered", "gated") / "triggeredJob.lock"
    held = json.loads(lock.read_text())
    assert set(held) == {"OperationName", "AcquiredDateTime", "InstanceId", "StackTrace"}
    with lock.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    status = json.loads((jobs.data("triggered", "gated") / location[-18:] / "status").read_text())
    assert status["Status"] in {"Initializing", "Running"}
    assert "EndTime" not in status
    open_gate(jobs, "gated")
    assert jobs.ended(location)["status"] == "Success"
    wait_until(lambda: not lock.exists(), what="the lock file goes")
    assert jobs.run("gated")[0] == "Success"


def test_arguments_are_one_text_of_the_query(jobs: Jobs) -> None:
    """§5.3: `+` is a space, quotes group, the raw text is passed on, the body is ignored."""
    given = quote('"c d" $HOME')
    path = f"/api/triggeredwebjobs/arguments/run?arguments=a+b+{given}"
    answer = jobs.platform.kudu("POST", path, "ignored=1")
    run = jobs.ended(answer.headers["location"])
    log = jobs.lines(run["output_url"])
    assert log[3:5] == ["INFO] ['a', 'b', 'c d', '$HOME']", 'INFO] a b "c d" $HOME']


def test_the_history_is_kept_short_and_other_folders_are_left_alone(jobs: Jobs) -> None:
    """§5.4, §1.5 [OURS]: HISTORY_SIZE runs; only 18 digits are a run, whatever a job makes."""
    ids = [jobs.ended(jobs.start("kept"))["id"] for _ in range(5)]
    assert [run["id"] for run in jobs.history("kept")] == ids[:1:-1]
    folders = {path.name for path in jobs.data("triggered", "kept").iterdir()}
    assert folders == {*ids[2:], "20260101000000000"}


def test_silence_is_ended_after_twice_the_timeout(jobs: Jobs) -> None:
    """§5.5: one ERR line of the command and both settings, then Failed; T=0 is legal."""
    begun = {name: jobs.start(name) for name in ("silent", "silent-at-once")}
    for name, seconds in (("silent", 2), ("silent-at-once", 1)):
        run = jobs.ended(begun[name])
        assert run["status"] == "Failed"
        log = jobs.lines(run["output_url"])
        (told,) = [line for line in log if line.startswith("ERR ] ")]
        assert told.startswith(
            "ERR ] Command '/bin/bash run.sh' was aborted due to no output nor CPU"
        )
        assert f"for {seconds} seconds" in told
        assert "SCM_COMMAND_IDLE_TIMEOUT" in told
        assert "WEBJOBS_IDLE_TIMEOUT" in told
        assert log.index(told) < log.index("SYS INFO] Status changed to Failed")
        assert log[-1].startswith("SYS ERR ] ")


@pytest.mark.parametrize("name", ["busy", "chatty"])
def test_work_is_not_silence(jobs: Jobs, name: str) -> None:
    """§5.5, §8: processor time or output start the wait anew."""
    assert jobs.run(name)[0] == "Success"


def test_a_run_can_be_cancelled(jobs: Jobs) -> None:
    """§8 [OURS]: SIGTERM, grace, SIGKILL for all of it; Kudu's word is Aborted."""
    location = jobs.start("cancelled")
    run = jobs.platform.v1("/runs?name=cancelled&limit=1")["items"][0]
    output = f"/vfs/data/jobs/triggered/cancelled/{location[-18:]}/output_log.txt"
    wait_until(lambda: "INFO] ready" in jobs.lines(output), what="ready")
    tree = processes.named(jobs.platform.pid, "sleep")
    assert jobs.platform.v1(f"/runs/{run['id']}/cancel", {})["id"] == run["id"]
    ended = jobs.platform.wait_for_run(run["id"])
    assert (ended["state"], ended["reason"]) == ("cancelled", "cancelled by request")
    assert jobs.kudu(location)["status"] == "Aborted"
    log = jobs.lines(output)
    assert "SYS WARN] WebJob process was aborted" in log
    assert log[-1] == "SYS ERR ] WebJob run was cancelled by request"
    assert not [pid for pid in tree if processes.alive(pid) and processes.name(pid) == "sleep"
                and b"300" in _arguments(pid)]  # fmt: skip
    again = jobs.platform.manage("POST", f"/v1/runs/{run['id']}/cancel")
    assert (again.status, "ended" in again.text) == (409, True)


def _arguments(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_a_run_has_a_time_limit_of_its_own(jobs: Jobs) -> None:
    """§8 [OURS]: `timeout_s` ends it in order; Kudu's word is Failed, ours is timed-out."""
    location = jobs.start("late")
    assert jobs.ended(location)["status"] == "Failed"
    run = jobs.platform.v1("/runs?name=late&limit=1")["items"][0]
    assert (run["state"], run["reason"][:8]) == ("timed-out", "timeout:")
    log = jobs.lines(f"/vfs/data/jobs/triggered/late/{location[-18:]}/output_log.txt")
    assert "INFO] bye" in log


def test_a_tick_during_a_run_is_skipped(jobs: Jobs) -> None:
    """§2.3: not queued, no run of it; `Schedule - CRON` is the trigger; the log tells the next."""
    wait_until(lambda: len(_history(jobs, "ticks")) >= 3, what="three runs")
    assert {run["trigger"] for run in _history(jobs, "ticks")} == {"Schedule - * * * * * *"}
    log = jobs.schedule_log("ticks")
    assert "SYS INFO] WebJob invoked" in log
    assert any(line.startswith("SYS INFO] Next schedule expected in 00:00:0") for line in log)
    assert any(line.startswith("SYS WARN] Skipped the schedule at ") for line in log)


def _history(jobs: Jobs, name: str) -> list[dict[str, str]]:
    answer = jobs.platform.kudu("GET", f"/api/triggeredwebjobs/{name}/history")
    return answer.json()["runs"] if answer.status == 200 else []


def test_schedules_can_be_switched_off(jobs: Jobs) -> None:
    """§2.3, §8: WEBJOBS_DISABLE_SCHEDULE leaves runs by hand."""
    wait_until(lambda: len(_history(jobs, "ticks")) >= 2, what="time for ticks")
    assert jobs.triggered("unscheduled")["latest_run"] is None
    assert jobs.run("unscheduled")[0] == "Success"
    assert len(_history(jobs, "unscheduled")) == 1


def test_stopped_jobs_do_not_run(jobs: Jobs) -> None:
    """§3.1, §2.3: 409 with Kudu's text; ticks are refused and swallowed."""
    answer = jobs.post("/api/triggeredwebjobs/stopped/run")
    assert (answer.status, answer.text) == (409, 'WebJobs are currently in "stopped" state.')
    wait_until(lambda: "Skipped" in "".join(jobs.schedule_log("stopped")), what="a tick")
    assert _history(jobs, "stopped") == []


def test_runs_may_wait_for_each_other(jobs: Jobs) -> None:
    """§8 [OURS]: `on_busy: queue`: in their order, seen as queued, 409 when it is full."""
    locations = [jobs.start("waits") for _ in range(3)]

    def states() -> list[str]:
        items = jobs.platform.v1("/runs?name=waits")["items"]
        return [run["state"] for run in reversed(items)]

    wait_until(lambda: states() == ["running", "queued", "queued"], what="one runs, two wait")
    full = jobs.post("/api/triggeredwebjobs/waits/run")
    assert (full.status, "queue_depth" in full.text) == (409, True)
    assert jobs.kudu(locations[2])["status"] == "Initializing"
    last = jobs.platform.v1("/runs?name=waits&limit=1")["items"][0]
    jobs.platform.v1(f"/runs/{last['id']}/cancel", {})
    assert jobs.kudu(locations[2])["status"] == "Aborted"
    for number in range(2):
        wait_until(lambda number=number: states()[number] == "running", what="its turn")
        open_gate(jobs, "waits", locations[number][-18:])
        assert jobs.ended(locations[number])["status"] == "Success"
    assert states() == ["success", "success", "cancelled"]


def test_runs_may_go_on_beside_each_other(jobs: Jobs) -> None:
    """§8 [OURS]: `concurrency: 2`; a third is refused as ever."""
    locations = [jobs.start("two") for _ in range(2)]
    third = jobs.post("/api/triggeredwebjobs/two/run")
    assert (third.status, third.text[:18]) == (409, "Cannot start a new")
    open_gate(jobs, "two")
    assert [jobs.ended(location)["status"] for location in locations] == ["Success"] * 2


def test_what_survives_a_kill_of_the_platform(bench: Workshop) -> None:
    """§5.1, §5.7: what ran is Aborted, what waited begins; data of vanished jobs goes."""
    bench.triggered("under-way", "run.sh", "echo begun; sleep 300")
    bench.triggered("waits", "run.sh", GATE, taak={"on_busy": "queue"})
    for name in ("old", "kept"):
        bench.triggered(name, "run.sh", "true")
    bench.continuous("old", "run.sh", "sleep 300")
    jobs = bench.open()
    for name in ("old", "kept"):
        jobs.run(name)
    under_way = jobs.start("under-way")
    waiting = [jobs.start("waits") for _ in range(2)]
    output = f"/vfs/data/jobs/triggered/under-way/{under_way[-18:]}/output_log.txt"
    wait_until(lambda: "INFO] begun" in jobs.lines(output), what="begun")
    wait_until(lambda: jobs.kudu(waiting[0])["status"] == "Running", what="the first runs")
    jobs.platform.kill()
    for kind in ("triggered", "continuous"):
        shutil.rmtree(jobs.folder(kind, "old"))
    jobs.platform.start()
    assert [jobs.kudu(url)["status"] for url in (under_way, waiting[0])] == ["Aborted"] * 2
    assert jobs.lines(output)[-1].startswith("SYS ERR ] WebJob run was aborted")
    open_gate(jobs, "waits")
    assert jobs.ended(waiting[1])["status"] == "Success"
    left = sorted(path.name for path in jobs.data("triggered", "x").parent.iterdir())
    assert left == ["kept", "under-way", "waits"]
    assert not jobs.data("continuous", "old").exists()
    assert len(jobs.history("kept")) == 1


def test_an_ordered_end_waits_for_runs(bench: Workshop) -> None:
    """§5.6: up to stopping_wait_time; who ends in time is Success, who does not is Aborted."""
    soon = 'echo begun; sleep 1; echo "ended by itself"'
    bench.triggered("soon", "run.sh", soon, stopping_wait_time=20)
    jobs = bench.open()
    location = jobs.start("soon")
    output = f"/vfs/data/jobs/triggered/soon/{location[-18:]}/output_log.txt"
    wait_until(lambda: "INFO] begun" in jobs.lines(output), what="begun")
    jobs.platform.restart()
    assert jobs.kudu(location)["status"] == "Success"
    assert "INFO] ended by itself" in jobs.lines(output)
