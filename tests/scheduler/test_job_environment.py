"""What a job's process finds in its environment, and what it must not find."""

from __future__ import annotations

import socket

import pytest
from job_fakes import make_job

from scheduler.errors import BadRequestError
from scheduler.functions import JobKind
from scheduler.job_environment import Occasion, free_port, job_environment, split_arguments
from scheduler.job_folders import JobFolders
from scheduler.job_settings import JobSettings


def environment(tmp_path, kind=JobKind.TRIGGERED, *, inherited=None, occasion=None, **settings):
    """Return the environment of a job with these app settings."""
    return job_environment(
        make_job(tmp_path, kind, "report", environment=settings),
        occasion or Occasion(),
        working=tmp_path / "copy",
        folders=JobFolders(tmp_path / "home"),
        instance="a1b2c3d4",
        inherited=inherited if inherited is not None else {},
    )


def test_a_triggered_run_knows_itself(tmp_path):
    """The variables of webjobs.md 3.2, with the run's id and raw arguments."""
    found = environment(tmp_path, occasion=Occasion(run_id="202601051000000000", arguments="a 'b"))
    assert {name: found[name] for name in found if name.startswith("WEB")} == {
        "WEBJOBS_NAME": "report",
        "WEBJOBS_TYPE": "triggered",
        "WEBJOBS_PATH": str(tmp_path / "copy"),
        "WEBJOBS_DATA_PATH": str(tmp_path / "home/data/jobs/triggered/report"),
        "WEBJOBS_RUN_ID": "202601051000000000",
        "WEBJOBS_COMMAND_ARGUMENTS": "a 'b",
        "WEBSITE_TRIGGERED_JOB_RUNNING_NAME": "true",
        "WEBSITE_INSTANCE_ID": "a1b2c3d4",
        "WEBROOT_PATH": str(tmp_path / "home/site/wwwroot"),
    }


def test_a_continuous_job_has_a_port_and_a_shutdown_file(tmp_path):
    """And an empty run id, and its own tag."""
    occasion = Occasion(port=4711, shutdown_file=tmp_path / "down")
    found = environment(tmp_path, JobKind.CONTINUOUS, occasion=occasion)
    assert found["WEBJOBS_PORT"] == "4711"
    assert found["WEBJOBS_SHUTDOWN_FILE"] == str(tmp_path / "down")
    assert found["WEBJOBS_RUN_ID"] == found["WEBJOBS_COMMAND_ARGUMENTS"] == ""
    assert found["WEBSITE_ALWAYS_ON_JOB_RUNNING_NAME"] == "true"


def test_the_platforms_own_environment_stays_outside(tmp_path):
    """Its secrets are not the job's: four names are inherited and no more."""
    inherited = {"PATH": "/opt/bin", "LANG": "C.UTF-8", "TZ": "UTC", "TAAK_MASTER_KEY": "secret"}
    found = environment(tmp_path, inherited=inherited)
    assert "TAAK_MASTER_KEY" not in found
    assert (found["PATH"], found["LANG"], found["TZ"]) == ("/opt/bin", "C.UTF-8", "UTC")
    assert found["HOME"] == str(tmp_path / "home")


def test_there_is_always_a_path(tmp_path):
    """A platform without PATH still starts jobs that can find `ls`."""
    assert environment(tmp_path)["PATH"]


def test_app_settings_have_two_names(tmp_path):
    """As on Azure: NAME and APPSETTING_NAME."""
    found = environment(tmp_path, GREETING="hi")
    assert found["GREETING"] == found["APPSETTING_GREETING"] == "hi"


def test_app_settings_cannot_overwrite_facts(tmp_path):
    """A setting named like a fact of the run loses."""
    found = environment(tmp_path, WEBJOBS_NAME="other", WEBSITE_SITE_NAME="mine")
    assert found["WEBJOBS_NAME"] == "report"
    assert found["WEBSITE_SITE_NAME"] == "mine"


def test_what_the_kernel_would_refuse_is_left_out(tmp_path):
    """One odd setting does not keep the job from starting."""
    found = environment(tmp_path, **{"A=B": "x", "": "y", "N\0": "z", "OK": "a\0b"})
    assert found["OK"] == "ab"
    assert not {"A=B", "", "N\0", "APPSETTING_"} & found.keys()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("a  b", ["a", "b"]),
        ("'a b' \"c d\"", ["a b", "c d"]),
        (r"a\ b", ["a b"]),
        ("$HOME *", ["$HOME", "*"]),
        ('""', [""]),
    ],
)
def test_arguments_are_split_like_a_shell_does_but_not_expanded(text, words):
    """Quotes group; nothing is looked up."""
    assert split_arguments(text) == words


@pytest.mark.parametrize("text", ["a 'b", 'a "b', "a\\", "a\0b"])
def test_arguments_that_cannot_be_split_are_the_callers_mistake(text):
    """The message names the field."""
    with pytest.raises(BadRequestError, match=r"^arguments: "):
        split_arguments(text)


def test_the_port_is_free():
    """It can be bound at once."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))


class TestSettings:
    def of(self, **values):
        """Return these settings."""
        return JobSettings(values)

    def test_defaults(self):
        """Those of webjobs.md 3.1."""
        found = self.of()
        assert (found.restart_time_s, found.idle_timeout_s, found.history_size) == (60, 120, 50)
        assert not found.stopped
        assert not found.schedule_disabled
        assert not found.always_on_warning

    @pytest.mark.parametrize(("text", "value"), [("5", 5), ("-3", 0), ("x", 60), ("1.5", 60)])
    def test_a_time(self, text, value):
        """Not a whole number: the default; negative: zero."""
        assert self.of(WEBJOBS_RESTART_TIME=text).restart_time_s == value

    @pytest.mark.parametrize(("text", "value"), [("3", 3), ("0", 50), ("-1", 50), ("", 50)])
    def test_the_history_size_is_positive(self, text, value):
        """Anything else is the default."""
        assert self.of(WEBJOBS_HISTORY_SIZE=text).history_size == value

    @pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("yes", False)])
    def test_a_flag(self, text, value):
        """`1` or `true` in any case."""
        assert self.of(WEBJOBS_STOPPED=text).stopped is value

    def test_the_always_on_warning_wants_exactly_zero(self):
        """Unset or anything else says nothing."""
        assert self.of(WEBSITE_SCM_ALWAYS_ON_ENABLED="0").always_on_warning
        assert not self.of(WEBSITE_SCM_ALWAYS_ON_ENABLED="false").always_on_warning

    def test_the_jobs_own_setting_beats_the_platforms(self, tmp_path):
        """And the platform's beats the default."""
        job = make_job(tmp_path, environment={"WEBJOBS_HISTORY_SIZE": "7"})
        defaults = {"WEBJOBS_HISTORY_SIZE": "9", "WEBJOBS_RESTART_TIME": "1"}
        found = JobSettings.of(job, defaults)
        assert (found.history_size, found.restart_time_s) == (7, 1)
