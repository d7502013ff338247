"""What is set while the platform runs wins, lasts, and is all there or not at all."""

from __future__ import annotations

import json

import pytest
from job_fakes import make_job

from scheduler.errors import BadRequestError, ConflictError
from scheduler.functions import JobKind
from scheduler.job_environment import Occasion, job_environment
from scheduler.job_folders import JobFolders
from scheduler.job_settings import JobSettings
from scheduler.live_settings import LiveSettings, laid_over


@pytest.fixture
def path(tmp_path):
    """Return where the settings are kept."""
    return tmp_path / "data" / "settings" / "settings.json"


def test_what_is_set_lasts_and_is_its_owners_alone(path):
    """A new life reads it; the file has the mode 0600 and counts its versions."""
    settings = LiveSettings({}, path)
    settings.put({"A": "1", "B": "2"})
    settings.put({"a": "3"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {"version": 2, "settings": {"B": "2", "a": "3"}}
    again = LiveSettings({"E": "e", "b": "environment"}, path)
    assert dict(again) == {"E": "e", "B": "2", "a": "3"}
    again.remove("b")
    assert dict(again) == {"E": "e", "b": "environment", "a": "3"}
    again.remove("unknown")
    assert json.loads(path.read_text())["version"] == 3


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("", "x", "no name"),
        ("a=b", "x", "no name"),
        ("a b", "x", "no name"),
        ("n" * 300, "x", "no name"),
        ("-a", "x", "no name"),
        ("a", "x\0", "NUL"),
        ("a", "x" * 40_000, "40000 characters"),
    ],
)
def test_bad_names_and_values_change_nothing(path, name, value, words):
    """BadRequestError says which and why; what came with it is not set either."""
    settings = LiveSettings({}, path)
    with pytest.raises(BadRequestError, match=words):
        settings.put({"good": "1", name: value})
    assert dict(settings) == {}
    assert not path.exists()


def test_they_are_bounded_together(path):
    """More than fit into an environment are refused, and those before stay."""
    settings = LiveSettings({}, path)
    with pytest.raises(BadRequestError, match="too many"):
        settings.put({f"n{number}": "x" * 30_000 for number in range(20)})
    with pytest.raises(BadRequestError, match="too many"):
        settings.put({f"n{number}": "" for number in range(1001)})
    assert dict(settings) == {}


def test_a_broken_file_is_never_replaced(path):
    """It is told at the start: what operators have set is not thrown away."""
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(ConflictError, match=r"settings\.json"):
        LiveSettings({}, path)
    assert path.read_text() == "{"


def test_jobs_see_them_at_the_next_use(tmp_path):
    """webjobs.md 3.1, 3.2: they win over the job's app settings, in the engine and for the job."""
    settings = LiveSettings({"WEBJOBS_RESTART_TIME": "7"})
    job = make_job(tmp_path, JobKind.TRIGGERED, "report", environment={"webjobs_history_size": "5"})
    assert JobSettings.of(job, settings).history_size == 5
    settings.put({"WEBJOBS_HISTORY_SIZE": "9", "MINE": "m"})
    assert JobSettings.of(job, settings).history_size == 9
    assert JobSettings.of(job, settings).restart_time_s == 7
    found = job_environment(
        job,
        Occasion(),
        working=tmp_path,
        folders=JobFolders(tmp_path),
        instance="i",
        inherited={},
        settings=settings,
    )
    assert found["MINE"] == found["APPSETTING_MINE"] == "m"
    assert found["WEBJOBS_HISTORY_SIZE"] == "9"
    assert "webjobs_history_size" not in found


def test_plain_settings_lay_nothing_over():
    """What is no LiveSettings has nothing that was set since."""
    assert laid_over({"a": "1"}, {"a": "2"}) == {"a": "1"}


def test_half_a_surrogate_pair_is_no_value(path):
    """JSON can name one, an environment cannot hold it."""
    with pytest.raises(BadRequestError, match="half a surrogate pair"):
        LiveSettings({}, path).put({"A": "\ud800"})
