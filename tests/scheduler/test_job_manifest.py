"""A job folder -> Job: Kudu's rules for scripts and settings.job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scheduler.functions import JobKind
from scheduler.job_interpreter import start_command
from scheduler.job_manifest import JobRoot, choose_script, job_roots, outer_job_roots
from scheduler.log_limits import LogLimits
from scheduler.manifest import read_app
from scheduler.restart_delay import RestartDelay


@pytest.fixture
def job(tmp_path):
    """Return how to read the app's only job from files in its folder and app settings."""

    def read(files, kind="triggered", name="report", **settings):
        folder = tmp_path / "App_Data/jobs" / kind / name
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text if isinstance(text, str) else json.dumps(text))
        definition = read_app(tmp_path, tmp_path, settings=settings)
        (found,) = definition.jobs
        return found, [str(problem) for problem in definition.problems]

    return read


@pytest.mark.parametrize(
    ("files", "script"),
    [
        (["run.js", "go.cmd"], "run.js"),
        (["run.js", "run.sh", "run.py"], "run.sh"),
        (["RUN.Py", "a.sh"], "RUN.Py"),
        (["b.py", "a.py", "a.js"], "a.py"),
        (["B.sh", "a.sh"], "a.sh"),
        (["z.cmd", "a.sh"], "z.cmd"),
        (["app.jar", "app.js"], "app.js"),
        (["readme.md", "run", "run.txt"], ""),
        (["run.sh.bak", "x.php"], "x.php"),
        ([], ""),
    ],
)
def test_choice_of_the_script(files, script):
    """run.* beats all, then the order of interpreters, then the alphabet without case."""
    assert choose_script(files) == script


def test_triggered_job(job):
    """A job's folder, script, schedule and defaults."""
    found, problems = job({"run.sh": "", "settings.job": {"schedule": "0 */15 * * * *"}})
    assert problems == []
    assert (found.name, found.kind, found.script) == ("report", JobKind.TRIGGERED, "run.sh")
    assert found.directory == "App_Data/jobs/triggered/report"
    assert found.folder == found.live_folder
    assert found.schedule is not None
    assert found.schedule.canonical == "0 0,15,30,45 * * * *"
    assert found.settings == {"schedule": "0 */15 * * * *"}
    assert not found.is_singleton
    assert not found.is_in_place
    assert found.stopping_wait_s == 30
    assert found.error == ""


def test_continuous_job(job):
    """Its own default wait; a schedule has no meaning for it."""
    settings = {"is_singleton": True, "schedule": "0 * * * * *", "custom": [1]}
    found, _ = job({"run.py": "", "settings.job": settings}, kind="continuous")
    assert found.kind is JobKind.CONTINUOUS
    assert found.is_singleton
    assert found.schedule is None
    assert found.stopping_wait_s == 5
    assert found.settings["custom"] == [1]


def test_wrapping_folder_is_looked_through(job):
    """A zip with one folder in it works; script, settings and marks are looked up inside."""
    found, _ = job(
        {"a/b/run.sh": "", "a/b/settings.job": {"stopping_wait_time": 7}, "a/b/disable.job": ""},
        kind="continuous",
    )
    assert found.script == "a/b/run.sh"
    assert found.stopping_wait_s == 7
    assert found.disabled


def test_second_entry_stops_the_descent(job):
    """A settings.job outside of the wrapping folder hides the script, as in Kudu."""
    found, problems = job({"inner/run.sh": "", "settings.job": {}})
    assert found.script == ""
    assert "no runnable script: put run.sh or run.py into App_Data/jobs/triggered/report" in (
        found.error
    )
    assert problems == [f"App_Data/jobs/triggered/report: {found.error}"]


def test_disable_job_and_in_place(job):
    """disable.job is seen; .js runs in place unless told otherwise."""
    found, _ = job({"app.js": "", "disable.job": ""}, kind="continuous")
    assert found.disabled
    assert found.is_in_place
    found, _ = job({"settings.job": {"is_in_place": False}}, kind="continuous")
    assert not found.is_in_place


def test_wrong_types_are_ignored(job):
    """Kudu ignores them in silence; here a warning says so, and nothing fails."""
    settings = {"is_singleton": "true", "stopping_wait_time": 60.0, "schedule": 5, "Schedule": "x"}
    found, problems = job({"run.sh": "", "settings.job": settings})
    assert not found.is_singleton
    assert found.stopping_wait_s == 30
    assert found.schedule is None
    assert found.schedule_error == ""
    assert len(problems) == 3
    assert 'is_singleton: must be true or false, not "true"; it is ignored' in problems[1]
    assert "stopping_wait_time: must be a whole number, not 60.0" in problems[2]


@pytest.mark.parametrize("text", ["{", "[1]", "", "{,}", "null"])
def test_unreadable_settings_are_empty(job, text):
    """Whatever settings.job holds, the job is there; a warning has the reason."""
    found, problems = job({"run.sh": "", "settings.job": text})
    assert found.settings == {}
    assert len(problems) == 1
    assert problems[0].startswith("App_Data/jobs/triggered/report/settings.job")


def test_settings_with_comments(job):
    """Json.NET tolerates comments, so do we."""
    found, problems = job({"run.sh": "", "settings.job": '{ /* x */ "stopping_wait_time": 1, }'})
    assert found.stopping_wait_s == 1
    assert problems == []


def test_schedule_may_be_an_app_setting(job):
    """%NAME% is expanded, which Kudu's users ask for."""
    found, _ = job({"run.sh": "", "settings.job": {"schedule": "%S%"}}, S="0 0 3 * * *")
    assert found.schedule is not None
    assert found.schedule.canonical == "0 0 3 * * *"


@pytest.mark.parametrize("schedule", ["0 0 * * *", "%GONE%", "every day"])
def test_bad_schedule_leaves_the_job_runnable_by_hand(job, schedule):
    """The error is kept with the job; it is a warning of the deployment."""
    found, problems = job({"run.sh": "", "settings.job": {"schedule": schedule}})
    assert found.schedule is None
    assert found.schedule_error
    assert found.error == ""
    assert "only when it is started by hand" in problems[0]


def test_zone_and_environment_of_a_job(job):
    """The key "taak" in settings.job sets them over the app's."""
    taak = {"time_zone": "Europe/Amsterdam", "environment": {"A": "job"}, "zone": 1}
    settings = {"schedule": "0 0 3 * * *", "taak": taak}
    found, problems = job({"run.sh": "", "settings.job": settings}, A="app", B="app")
    assert found.schedule is not None
    assert found.schedule.zone == "Europe/Amsterdam"
    assert found.environment == {"A": "job", "B": "app"}
    assert "unknown key, ignored; did you mean 'time_zone'?" in problems[0]


def test_logs_of_the_app_and_of_a_job(job, tmp_path):
    """The key "logs" in settings.job wins over that in host.json; total_mib is the app's."""
    host = {"version": "2.0", "taak": {"logs": {"run_mib": 5, "total_mib": 7}}}
    (tmp_path / "host.json").write_text(json.dumps(host))
    own = {"taak": {"logs": {"days": 2, "total_mib": 1, "job_mib": "9"}}}
    found, problems = job({"run.sh": "", "settings.job": own})
    assert found.logs == LogLimits(run_mib=5, total_mib=7, days=2, job_mib=9)
    (problem,) = problems
    assert "taak.logs.total_mib: unknown key" in problem


@pytest.mark.parametrize(
    ("logs", "told"),
    [
        ({"run_mib": 0}, "taak.logs.run_mib: must be a number of at least 1, not 0"),
        ({"days": 1e9}, "taak.logs.days: must be at most 100000, not 1000000000"),
        ([], "taak.logs: must be an object"),
    ],
)
def test_limits_of_logs_that_are_none(job, logs, told):
    """A wrong limit is told, and the usual one holds."""
    found, problems = job({"run.sh": "", "settings.job": {"taak": {"logs": logs}}})
    assert found.logs == LogLimits()
    assert told in problems[0]


def test_any_name_of_a_folder_is_a_job(job):
    """Kudu validates nothing when it reads."""
    found, _ = job({"run.sh": ""}, name="EXT(My Job)")
    assert found.name == "EXT(My Job)"


def test_same_name_in_two_roots(tmp_path):
    """The primary root wins; the other is told about."""
    for root in ("App_Data/jobs", "jobs"):
        (tmp_path / root / "triggered/Report").mkdir(parents=True)
        (tmp_path / root / "triggered/Report/run.sh").write_text("")
    (tmp_path / "jobs/continuous/report").mkdir(parents=True)
    (tmp_path / "jobs/continuous/report/run.sh").write_text("")
    definition = read_app(tmp_path, tmp_path, settings={})
    assert [(j.kind.value, j.directory) for j in definition.jobs] == [
        ("continuous", "jobs/continuous/report"),
        ("triggered", "App_Data/jobs/triggered/Report"),
    ]
    assert "is hidden by App_Data/jobs/triggered/Report" in definition.problems[0].message


def test_jobs_from_outside_of_the_app(tmp_path):
    """They stand in the release under a reserved folder, and are edited where they live."""
    folder = tmp_path / ".taak-jobs/0/continuous/mail"
    folder.mkdir(parents=True)
    (folder / "run.sh").write_text("")
    roots = [JobRoot(".taak-jobs/0", Path("/srv/jobs"))]
    (job,) = read_app(tmp_path, tmp_path, settings={}, extra_job_roots=roots).jobs
    assert job.folder == folder
    assert job.live_folder == Path("/srv/jobs/continuous/mail")


def test_roots(tmp_path):
    """WEBJOBS_ROOT_PATH replaces App_Data/jobs, wherever it leads."""
    site, home, other = tmp_path / "site", tmp_path / "home", tmp_path / "other"
    other.mkdir()

    def roots(**settings):
        inside = [root.folder for root in job_roots(site, settings)]
        return inside, [root.live for root in outer_job_roots(site, home, settings)]

    secondary = home / "site/jobs"
    assert roots() == (["App_Data/jobs", "jobs"], [secondary])
    assert roots(WEBJOBS_ROOT_PATH="/my/jobs/") == (["my/jobs", "jobs"], [secondary])
    assert roots(WEBJOBS_ROOT_PATH="%X%/jobs", X="d") == (["d/jobs", "jobs"], [secondary])
    assert roots(WEBJOBS_ROOT_PATH=str(other)) == (["jobs"], [other, secondary])
    assert roots(WEBJOBS_ROOT_PATH="../other") == (["jobs"], [other, secondary])


@pytest.mark.parametrize("names", [("restart_backoff", "python"), ("restartBackoff", "Python")])
def test_own_settings_of_a_job(job, names):
    """They are known, spelled both ways, and do what they say."""
    backoff, python = names
    found, problems = job({"run.py": "", "settings.job": {"taak": {backoff: False, python: "sh"}}})
    assert problems == []
    assert RestartDelay.of(found)._backs_off is False
    assert start_command(found, found.folder / "run.py", (), settings={}, path="/bin").argv[0] == (
        "/bin/sh"
    )


def test_own_settings_of_another_type_are_told(job):
    """They are ignored, as the rest of settings.job is."""
    wrong = {"taak": {"restart_backoff": "no", "python": 3}}
    _found, problems = job({"run.sh": "", "settings.job": wrong})
    assert [problem.rpartition(": ")[2] for problem in problems] == [
        'must be true or false, not "no"; it is ignored',
        "must be a text, not 3; it is ignored",
    ]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("run.ps1", "needs `pwsh`, which is not on PATH. Install PowerShell 7"),
        ("run.cmd", ""),
        ("run.bat", ""),
        ("run.php", "needs `php`, which is not on PATH. Install PHP: apt install php-cli."),
        ("run.py", "needs `python3`, which is not on PATH. Install Python 3"),
        ("run.sh", ""),
    ],
)
def test_a_script_that_nothing_runs_here_is_told(job, monkeypatch, tmp_path, script, told):
    """A warning with the fix, at the script: it stops nothing, for the machine may be mended."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found, problems = job({script: ""})
    assert found.error == ""
    assert len(problems) == bool(told)
    for problem in problems:
        assert problem.startswith(f"App_Data/jobs/triggered/report/{script}: ")
        assert told in problem
