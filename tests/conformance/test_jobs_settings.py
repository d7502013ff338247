"""§2 and §3: settings.job, schedules, what the engine reads and what jobs are given."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from real.platform import wait_until

from conformance.client import Jobs
from conformance.conftest import INSTANCE, Workshop

pytestmark = [pytest.mark.real]

ENVIRONMENT = """
import json, os
print(json.dumps(dict(os.environ), sort_keys=True))
"""
#: what is written -> its canonical text
SCHEDULES = {
    "0 */15 * * * *": "0 0,15,30,45 * * * *",
    "*/10 * * * * *": "0,10,20,30,40,50 * * * * *",
    "0 0 22-2 * * *": "0 0 2-22 * * *",
    "0 0 0 1 J *": "0 0 0 1 1 *",
    "0 0 0 * Ju Wednes": "0 0 0 * 6 3",
    "0 0 0 * * mon-fri": "0 0 0 * * 1-5",
    "30/15 0 0 * * 0": "30,45 0 0 * * 0",
    "5/1 0 0 * * *": "5 0 0 * * *",
    "*/0 0 0 * * *": "* 0 0 * * *",
    "0 0 0 1,2,3,7 * *": "0 0 0 1-3,7 * *",
    "0 0 0 31 2 *": "0 0 0 31 2 *",
}
#: what is no schedule -> why
NO_SCHEDULES = {
    "* * * * *": "6 fields",
    "* * * * * * *": "6 fields",
    "@daily": "6 fields",
    "0 0 0 * * 7": "day of week",
    "0 60 0 * * *": "minute",
    "0 0 0 L * *": "day of month",
    "0 0 0 ? * *": "day of month",
    "0 0 0 * * 5#2": "day of week",
    "%MISSING%": "MISSING",
}
LENIENT = """\ufeff// a comment
{
    /* another */
    "schedule": 5, "is_in_place": "true", "stopping_wait_time": 60.0,
    "Is_In_Place": true, "mine": [1, null], "other": {"a": 1},
}
"""


@pytest.fixture(scope="module")
def jobs(workshop: Workshop) -> Jobs:
    """One platform with a job for each schedule, and some that tell their environment."""
    for number, text in enumerate([*SCHEDULES, *NO_SCHEDULES]):
        workshop.triggered(f"cron{number}", "run.sh", "true", schedule=text)
    workshop.triggered("zoned", "run.sh", "true", schedule="0 30 9 * * *")
    own = {"time_zone": "America/New_York"}
    workshop.triggered("own-zone", "run.sh", "true", schedule="0 30 9 * * *", taak=own)
    workshop.triggered("by-setting", "run.sh", "true", schedule="%NIGHTLY%")
    folder = workshop.triggered("lenient", "run.sh", 'echo "$WEBJOBS_PATH"')
    (folder / "settings.job").write_text(LENIENT)
    for name, text in {
        "list": "[1]",
        "broken": "{",
        "huge": '{"stopping_wait_time": 1e400}',
    }.items():
        (workshop.triggered(name, "run.sh", "true") / "settings.job").write_text(text)
    (workshop.triggered("latin", "run.sh", "true") / "settings.job").write_bytes(b'{"a": "\xe9"}')
    workshop.triggered("env", "run.py", ENVIRONMENT, taak={"environment": {"OWN": "mine"}})
    workshop.continuous("env", "run.py", ENVIRONMENT + "import time; time.sleep(300)")
    return workshop.open(
        env={
            "WEBSITE_TIME_ZONE": "W. Europe Standard Time",
            "APPSETTING_NIGHTLY": "0 0 3 * * *",
            "APPSETTING_Greeting": "good day",
            "SQLCONNSTR_Main": "Server=x",
            "WEBSITE_SCM_ALWAYS_ON_ENABLED": "0",
            "WEBJOBS_RESTART_TIME": "no number",
            "SECRET_OF_THE_HOST": "hidden",
        }
    )


def shown(jobs: Jobs, number: int) -> dict[str, Any]:
    """Return the job of a schedule."""
    found: dict[str, Any] = jobs.platform.v1(f"/jobs/triggered/cron{number}")
    return found


def test_schedules_are_read_as_ncrontab_reads_them(jobs: Jobs) -> None:
    """§2.1: steps, swapped ranges, prefixes of names; canonical text is expanded numbers."""
    found = {text: shown(jobs, n)["canonical"] for n, text in enumerate(SCHEDULES)}
    assert found == SCHEDULES


def test_an_impossible_date_never_comes(jobs: Jobs) -> None:
    """§2.1: 31 February is no mistake, and no run."""
    job = shown(jobs, list(SCHEDULES).index("0 0 0 31 2 *"))
    assert (job["error"], job["next"]) == (None, [])


def test_what_is_no_schedule_is_told_and_the_job_stays_runnable(jobs: Jobs) -> None:
    """§2.3: SYS ERR in job_scheduler.log with the expression; the job runs by hand."""
    for number, (text, why) in enumerate(NO_SCHEDULES.items(), len(SCHEDULES)):
        name = f"cron{number}"
        assert why in jobs.triggered(name)["error"], text
        (line,) = [line for line in jobs.schedule_log(name) if line.startswith("SYS ERR ] ")]
        assert text in line
    assert jobs.run(f"cron{len(SCHEDULES)}")[0] == "Success"


def test_a_schedule_may_stand_in_an_app_setting(jobs: Jobs) -> None:
    """§2 [OURS]: %NAME% is expanded, which Kudu was asked for and never did."""
    job = jobs.platform.v1("/jobs/triggered/by-setting")
    assert (job["canonical"], job["error"]) == ("0 0 3 * * *", None)


def test_schedules_live_in_the_site_s_zone(jobs: Jobs) -> None:
    """§2.2: WEBSITE_TIME_ZONE by its Windows name; a job's own zone wins [OURS]."""
    hours = {
        name: datetime.fromisoformat(jobs.platform.v1(f"/jobs/triggered/{name}")["next"][0])
        for name in ("zoned", "own-zone")
    }
    zones = {name: jobs.platform.v1(f"/jobs/triggered/{name}")["time_zone"] for name in hours}
    assert zones == {"zoned": "Europe/Berlin", "own-zone": "America/New_York"}
    assert {name: at.astimezone().utctimetuple().tm_min for name, at in hours.items()} == {
        "zoned": 30, "own-zone": 30
    }  # fmt: skip
    assert 7 <= hours["zoned"].utctimetuple().tm_hour <= 8
    assert 13 <= hours["own-zone"].utctimetuple().tm_hour <= 14


def test_the_scheduler_says_when_it_comes(jobs: Jobs) -> None:
    """§1.7, §2.3: `Scheduling WebJob with CRON next schedule expected in T`, T a TimeSpan."""
    (line, *_) = jobs.schedule_log("cron0")
    head = "SYS INFO] Scheduling WebJob with 0 0,15,30,45 * * * * next schedule expected in "
    assert line.startswith(head)
    hours, minutes, seconds = line.removeprefix(head).split(":")
    assert (hours, int(minutes) < 15, 0 <= float(seconds) < 60) == ("00", True, True)
    assert (
        jobs.platform.kudu("GET", "/vfs/data/jobs/triggered/lenient/job_scheduler.log").status
        == 404
    )


def test_settings_are_read_leniently(jobs: Jobs) -> None:
    """§2: comments and a BOM tolerated, wrong types ignored, unknown keys kept and echoed."""
    assert jobs.triggered("lenient")["settings"] == {
        "schedule": 5, "is_in_place": "true", "stopping_wait_time": 60.0,
        "Is_In_Place": True, "mine": [1, None], "other": {"a": 1},
    }  # fmt: skip
    status, log = jobs.run("lenient")
    assert (status, "/tmp/jobs/triggered/lenient/" in log[3]) == ("Success", True)


def test_settings_that_are_no_object_are_empty(jobs: Jobs) -> None:
    """§2: a list, half an object or another encoding; the job runs with its defaults."""
    for name in ("list", "broken", "latin"):
        assert jobs.triggered(name)["settings"] == {}
        assert jobs.run(name)[0] == "Success"
    assert jobs.run("huge")[0] == "Success"


def test_what_a_triggered_job_is_given(jobs: Jobs) -> None:
    """§3.2: every variable, and nothing of the platform's own environment."""
    run = jobs.ended(jobs.start("env", "one 'two three'"))
    given = json.loads(jobs.lines(run["output_url"])[3].removeprefix("INFO] "))
    home = jobs.platform.home
    assert {name: given.get(name) for name in expected(jobs, "triggered")} == {
        **expected(jobs, "triggered"),
        "WEBJOBS_RUN_ID": run["id"],
        "WEBJOBS_COMMAND_ARGUMENTS": "one 'two three'",
        "WEBSITE_TRIGGERED_JOB_RUNNING_NAME": "true",
    }
    assert given["WEBJOBS_PATH"].startswith(f"{home}/tmp/jobs/triggered/env/")
    for absent in ("WEBJOBS_PORT", "WEBJOBS_SHUTDOWN_FILE", "WEBSITE_ALWAYS_ON_JOB_RUNNING_NAME"):
        assert absent not in given
    assert (given["OWN"], given["APPSETTING_OWN"]) == ("mine", "mine")
    for secret in ("SECRET_OF_THE_HOST", "TAAK_MASTER_KEY"):
        assert secret not in given


def test_what_a_continuous_job_is_given(jobs: Jobs) -> None:
    """§3.2: a free port, a shutdown file that does not exist, empty texts for run and arguments."""
    log = wait_until(lambda: [line for line in jobs.log("env") if line.startswith("INFO] {")])
    given = json.loads(log[0].removeprefix("INFO] "))
    assert {name: given.get(name) for name in expected(jobs, "continuous")} == {
        **expected(jobs, "continuous"),
        "WEBJOBS_RUN_ID": "",
        "WEBJOBS_COMMAND_ARGUMENTS": "",
        "WEBSITE_ALWAYS_ON_JOB_RUNNING_NAME": "true",
    }
    assert 1024 < int(given["WEBJOBS_PORT"]) < 65536
    shutdown = given["WEBJOBS_SHUTDOWN_FILE"]
    assert shutdown.startswith(f"{jobs.platform.home}/tmp/JobsShutdown/continuous/env/")
    assert "WEBSITE_TRIGGERED_JOB_RUNNING_NAME" not in given


def expected(jobs: Jobs, kind: str) -> dict[str, str]:
    """Return what both kinds are given alike; what differs is filled in by the caller."""
    platform = jobs.platform
    tag = "TRIGGERED" if kind == "triggered" else "ALWAYS_ON"
    return {
        "WEBJOBS_NAME": "env",
        "WEBJOBS_TYPE": kind,
        "WEBJOBS_DATA_PATH": f"{platform.home}/data/jobs/{kind}/env",
        "WEBJOBS_RUN_ID": "",
        "WEBJOBS_COMMAND_ARGUMENTS": "",
        f"WEBSITE_{tag}_JOB_RUNNING_NAME": "",
        "WEBROOT_PATH": str(platform.site),
        "HOME": str(platform.home),
        "WEBSITE_INSTANCE_ID": INSTANCE,
        "WEBSITE_TIME_ZONE": "W. Europe Standard Time",
        "APPSETTING_WEBSITE_TIME_ZONE": "W. Europe Standard Time",
        "Greeting": "good day",
        "APPSETTING_Greeting": "good day",
        "SQLCONNSTR_Main": "Server=x",
    }


def test_always_on_is_warned_of_once_in_a_log(jobs: Jobs) -> None:
    """§3.1: exactly `0` gives one SYS WARN per log file, before the loop begins."""
    jobs.reached("env", "Running")
    assert jobs.post("/api/continuouswebjobs/env/stop").status == 200
    jobs.reached("env", "Stopped")
    assert jobs.post("/api/continuouswebjobs/env/start").status == 200
    log = jobs.says("env", "SYS INFO] Status changed to Running", times=2)
    (at,) = [
        n for n, line in enumerate(log) if line.startswith("SYS WARN] ") and "Always On" in line
    ]
    assert log[at - 1] == "SYS INFO] Status changed to Starting"
    assert log[at + 1] == "SYS INFO] WebJob singleton setting is False"
