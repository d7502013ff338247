"""§4: continuous jobs, from their first start to the end of the platform."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess

import pytest
from needs import need
from real import processes
from real.platform import wait_until

from conformance.client import Jobs
from conformance.conftest import Workshop

pytestmark = [pytest.mark.real]

STAYS = "echo up; exec sleep 300"
SAW = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: None)
path = os.environ["WEBJOBS_SHUTDOWN_FILE"]
print("there", os.path.exists(path), flush=True)
while not os.path.exists(path):
    time.sleep(0.02)
print("told at", open(path).read(), flush=True)
"""
LISTENS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit("got SIGTERM"))
print("ready", flush=True)
time.sleep(300)
"""
DEAF = """
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(300)
    os._exit(0)
print("ready", flush=True)
time.sleep(300)
"""


@pytest.fixture(scope="module")
def jobs(workshop: Workshop) -> Jobs:
    """One platform with a continuous job for each rule, all of them running at once."""
    workshop.continuous("short", "run.sh", "echo hello; echo oops >&2")
    workshop.continuous("fails", "run.sh", "exit 7", taak={"restart_backoff": False})
    workshop.continuous("crashes", "run.sh", "exit 8")
    workshop.continuous("stays", "run.sh", STAYS)
    workshop.continuous("other", "run.sh", STAYS)
    workshop.continuous("saw", "run.py", SAW, stopping_wait_time=20)
    workshop.continuous("listens", "run.py", LISTENS, stopping_wait_time=20)
    workshop.continuous("deaf", "run.py", DEAF, stopping_wait_time=1)
    workshop.continuous("single", "run.sh", STAYS, is_singleton=True)
    workshop.continuous("placed", "run.sh", STAYS, is_in_place=True)
    (workshop.continuous("disabled", "run.sh", STAYS) / "disable.job").touch()
    for name in ("ordered", "uploaded", "edited", "deleted"):
        workshop.continuous(name, "run.sh", STAYS)
    off = {"environment": {"WEBJOBS_STOPPED": "True"}}
    workshop.continuous("off", "run.sh", STAYS, taak=off)
    return workshop.open(env={"WEBJOBS_RESTART_TIME": "1"})


def stop(jobs: Jobs, name: str) -> list[str]:
    """Stop a job and return what its log says from then on."""
    before = len(jobs.log(name))
    assert jobs.post(f"/api/continuouswebjobs/{name}/stop").status == 200
    jobs.reached(name, "Stopped")
    return jobs.log(name)[before:]


def test_a_short_job_s_log_to_the_letter(jobs: Jobs) -> None:
    """§4.2: Starting once, then rounds of script line, Running, output, Success, PendingRestart."""
    down = "SYS INFO] Process went down, waiting for 1 seconds"
    log = jobs.says("short", down, times=2)
    both = {"INFO] hello", "ERR ] oops"}
    lines = [line for line in log if line not in both]
    one_round = [
        "SYS INFO] Run script 'run.sh' with script host - 'BashScriptHost'",
        "SYS INFO] Status changed to Running",
        "SYS INFO] Status changed to Success",
        down,
        "SYS INFO] Status changed to PendingRestart",
    ]
    head = ["SYS INFO] Status changed to Starting", "SYS INFO] WebJob singleton setting is False"]
    assert lines[:11] == [*head, *one_round, *one_round[:4]]
    assert both <= set(log)
    assert lines.count(head[0]) == 1


def test_a_failure_is_a_line_and_no_status(jobs: Jobs) -> None:
    """§4.1: Failed is never written; the status goes from Running to PendingRestart."""
    line = "SYS ERR ] Job failed due to exit code 7"
    log = jobs.says("fails", line, times=2)
    at = log.index(line)
    assert log[at - 1] == "SYS INFO] Status changed to Running"
    assert log[at + 2] == "SYS INFO] Status changed to PendingRestart"
    assert not any("Failed" in text for text in log if "Status changed" in text)


def test_a_job_that_keeps_failing_waits_longer(jobs: Jobs) -> None:
    """§4.3 [OURS]: WEBJOBS_RESTART_TIME three times, then double; `restart_backoff` false: no."""

    def waits(name: str) -> list[str]:
        return [line.split()[-2] for line in jobs.log(name) if "went down" in line]

    wait_until(lambda: len(waits("crashes")) >= 4, what="four crashes")
    assert waits("crashes")[:4] == ["1", "1", "1", "2"]
    wait_until(lambda: len(waits("fails")) >= 5, what="five failures")
    assert set(waits("fails")) == {"1"}


def test_a_status_file_is_one_line_and_locked(jobs: Jobs) -> None:
    """§1.6, §4.8: status_INST is held by its platform; the lock tells that it lives."""
    jobs.reached("stays", "Running")
    path = jobs.data("continuous", "stays") / "status_abcdef"
    assert path.read_text() == '{"Status":"Running"}'
    with path.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert jobs.job("stays")["detailed_status"] == "abcdef - Running\r\n"


def test_a_singleton_holds_its_lock(jobs: Jobs) -> None:
    """§4.8, §1.7: the setting and the lock are told; singleton.job.lock is there meanwhile."""
    jobs.reached("single", "Running")
    assert jobs.log("single")[:3] == [
        "SYS INFO] Status changed to Starting",
        "SYS INFO] WebJob singleton setting is True",
        "SYS INFO] WebJob singleton lock is acquired",
    ]
    path = jobs.data("continuous", "single") / "singleton.job.lock"
    assert json.loads(path.read_text())["InstanceId"].startswith("abcdef")
    assert "SYS INFO] WebJob singleton lock is released" in stop(jobs, "single")
    assert not path.exists()


def test_the_shutdown_file_tells_to_stop(jobs: Jobs) -> None:
    """§4.6: it is not there before, holds the time in UTC; a clean end is Success, then Stopped."""
    assert "INFO] there False" in jobs.says("saw", "INFO] there False")
    told = stop(jobs, "saw")
    words = [line for line in told if line.startswith("INFO] told at ")]
    assert re.fullmatch(r"INFO\] told at \d\d/\d\d/\d{4} \d\d:\d\d:\d\d", words[0])
    assert told[0] == "SYS INFO] Status changed to Disabling"
    assert told[1] == "SYS INFO] Status changed to Stopping"
    assert told[-2:] == [
        "SYS INFO] Status changed to Success",
        "SYS INFO] Status changed to Stopped",
    ]


def test_sigterm_tells_to_stop_as_well(jobs: Jobs) -> None:
    """§4.6, §8 [OURS]: a normal signal, so that nobody has to poll a file."""
    jobs.says("listens", "INFO] ready")
    told = stop(jobs, "listens")
    assert "ERR ] got SIGTERM" in told
    assert "SYS INFO] WebJob process was aborted" not in told


def test_who_does_not_listen_is_killed_with_all_it_started(jobs: Jobs) -> None:
    """§4.6, §4.7: after stopping_wait_time; detached grandchildren go too."""
    jobs.says("deaf", "INFO] ready")
    room = processes.room_of(jobs.pid("deaf"))
    all_of_it = [
        pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if in_room(pid, room)
    ]
    assert len(all_of_it) >= 3  # its own, the child, the grandchild that has no parent any more
    told = stop(jobs, "deaf")
    assert told[-3:] == [
        "SYS INFO] WebJob process was aborted",
        "SYS ERR ] Job failed due to exit code 137 (killed by signal 9)",
        "SYS INFO] Status changed to Stopped",
    ]
    assert not any(map(processes.alive, all_of_it))


def in_room(pid: int, room: int) -> bool:
    """Tell whether a process is in this sandbox."""
    try:
        return processes.room_of(pid) == room
    except OSError:
        return False


def test_stop_and_start_are_orders_with_a_file(jobs: Jobs) -> None:
    """§4.5: an empty disable.job, 200 at once; start removes it; an unknown job is a 404."""
    jobs.reached("ordered", "Running")
    marker = jobs.folder("continuous", "ordered") / "disable.job"
    told = stop(jobs, "ordered")
    assert told[0] == "SYS INFO] Status changed to Disabling"
    assert (marker.exists(), marker.stat().st_size) == (True, 0)
    assert jobs.post("/api/continuouswebjobs/ordered/start").status == 200
    jobs.reached("ordered", "Running")
    assert not marker.exists()
    assert jobs.log("ordered").count("SYS INFO] Status changed to Starting") == 2
    for verb in ("start", "stop"):
        assert jobs.post(f"/api/continuouswebjobs/nobody/{verb}").status == 404


def test_disable_job_by_hand_is_an_order_too(jobs: Jobs) -> None:
    """§1.2, §4.5: found at the start, made later, removed: the folder is heeded."""
    jobs.reached("disabled", "Stopped")
    assert "SYS INFO] Status changed to Running" not in jobs.log("disabled")
    marker = jobs.folder("continuous", "disabled") / "disable.job"
    marker.unlink()
    jobs.reached("disabled", "Running")
    marker.touch()
    jobs.reached("disabled", "Stopped")


def test_an_upload_does_not_start_what_was_stopped(jobs: Jobs) -> None:
    """§9, §8 [OURS]: new binaries replace the folder and disable.job with it; stopped stays so."""
    jobs.reached("uploaded", "Running")
    stop(jobs, "uploaded")
    headers = {"Content-Disposition": "attachment; filename=run.sh"}
    path = "/api/continuouswebjobs/uploaded"
    assert jobs.platform.manage("PUT", path, "echo new; sleep 300", headers).status == 200
    assert jobs.job("uploaded")["status"] == "Stopped"
    assert (jobs.folder("continuous", "uploaded") / "disable.job").exists()
    jobs.post(f"{path}/start")
    jobs.says("uploaded", "INFO] new")


def test_only_a_real_change_restarts_and_is_named(jobs: Jobs) -> None:
    """§4.4, §9 [OURS]: a touch does nothing, other jobs go on, the log names the file."""
    before, other = jobs.pid("edited"), jobs.pid("other")
    folder = jobs.folder("continuous", "edited")
    os.utime(folder / "run.sh")
    (folder / "settings.job").write_text('{"mine": 1}')
    wait_until(lambda: jobs.pid("edited") != before, what="the restart")
    log = jobs.says("edited", "SYS INFO] Status changed to Running", times=2)
    assert log.count("SYS INFO] Detected WebJob file/s were updated, refreshing WebJob") == 1
    assert any("Job directory change detected: Job file 'settings.job'" in line for line in log)
    assert jobs.job("edited")["settings"] == {"mine": 1}
    assert jobs.pid("other") == other


def test_a_change_in_place_is_named_too(jobs: Jobs) -> None:
    """§4.4: nothing is copied, yet the log tells which file it was."""
    before = jobs.pid("placed")
    (jobs.folder("continuous", "placed") / "words.txt").write_text("x")
    wait_until(lambda: jobs.pid("placed") != before, what="the restart")
    log = jobs.says("placed", "SYS INFO] Status changed to Running", times=2)
    assert any("change detected: Job file 'words.txt' has been added" in line for line in log)


def test_a_deleted_folder_ends_its_job_and_a_new_one_begins(jobs: Jobs) -> None:
    """§4.4: the process ends, the job is 404; a folder that appears is a job within moments."""
    pid = jobs.pid("deleted")
    shutil.rmtree(jobs.folder("continuous", "deleted"))
    path = "/api/continuouswebjobs/deleted"
    wait_until(lambda: jobs.platform.kudu("GET", path).status == 404, what="404")
    wait_until(lambda: not processes.alive(pid), what="its process ends")
    folder = jobs.folder("continuous", "appeared")
    folder.mkdir()
    (folder / "run.sh").write_text(STAYS)
    wait_until(
        lambda: jobs.platform.kudu("GET", "/api/continuouswebjobs/appeared").status == 200,
        what="the new job",
    )
    jobs.reached("appeared", "Running")


def test_webjobs_stopped_keeps_a_job_from_running(jobs: Jobs) -> None:
    """§3.1, §4.2: Stopped, and never Starting."""
    jobs.reached("off", "Stopped")
    assert jobs.log("off") == ["SYS INFO] Status changed to Stopped"]


def test_deletion_stops_first(jobs: Jobs) -> None:
    """§4.5 [OURS]: on return nothing runs, and no late line makes the data anew."""
    pid = jobs.pid("stays")
    assert jobs.platform.kudu("DELETE", "/api/continuouswebjobs/stays").status == 200
    assert not processes.alive(pid)
    assert not jobs.data("continuous", "stays").exists()


def test_the_end_of_the_platform(bench: Workshop) -> None:
    """§4.6, §5.6: the line, then Stopping; all jobs at the same time; the files are let go."""
    for name in ("one", "two", "three"):
        bench.continuous(name, "run.py", DEAF, stopping_wait_time=2)
    jobs = bench.open()
    for name in ("one", "two", "three"):
        jobs.says(name, "INFO] ready")
    assert jobs.platform.stop() == 0
    told: dict[str, list[str]] = {"Stopping": [], "aborted": []}
    for name in ("one", "two", "three"):
        text = (jobs.data("continuous", name) / "job_log.txt").read_text()
        log = [line.partition(": ")[2] for line in text.splitlines()]
        at = log.index("SYS INFO] WebJob is stopping due to website shutting down")
        assert log[at + 1] == "SYS INFO] Status changed to Stopping"
        assert log[-1] == "SYS INFO] Status changed to Stopped"
        with (jobs.data("continuous", name) / "status_abcdef").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for word, times in told.items():
            times += [line[:20] for line in text.splitlines() if line.endswith(word)]
    # One after another, the third would begin to stop two graces after the first was killed.
    assert max(told["Stopping"]) <= min(told["aborted"])


def test_stopped_stays_stopped_where_nothing_can_be_written(bench: Workshop) -> None:
    """§9, §8 [OURS]: disable.job cannot be made; the order holds, also after a kill."""
    folder = bench.continuous("sealed", "run.sh", STAYS)
    bench.continuous("running", "run.sh", STAYS)
    jobs = bench.open()
    jobs.reached("sealed", "Running")
    # Root may write anywhere, so what stands in the way is a mount of the folder that is read-only.
    seal = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run([need("mount"), *seal[1:]], check=False, capture_output=True).returncode:
        pytest.skip("no right to mount here")
    subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
    try:
        assert jobs.post("/api/continuouswebjobs/sealed/stop").status == 200
        jobs.reached("sealed", "Stopped")
        assert not (folder / "disable.job").exists()
        jobs.platform.restart(kill=True)
        jobs.reached("running", "Running")
        jobs.reached("sealed", "Stopped")
        assert jobs.post("/api/continuouswebjobs/sealed/start").status == 200
        jobs.reached("sealed", "Running")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
