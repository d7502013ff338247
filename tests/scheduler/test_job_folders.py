"""Paths, run folders and status files, to the letter of webjobs.md 1."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from job_fakes import START, make_job

from scheduler.functions import JobKind
from scheduler.held_file import HeldFile
from scheduler.job_folders import JobFolders, RunStatus, parse_time, status_line, write_atomically


@pytest.fixture
def folders(tmp_path) -> JobFolders:
    """Return the folders of an empty home."""
    return JobFolders(tmp_path)


@pytest.fixture
def job(tmp_path):
    """Return a triggered job."""
    return make_job(tmp_path)


def test_paths_are_kudus(folders, job, tmp_path):
    """Tools that look into HOME/data/jobs find everything where Kudu has it."""
    base = tmp_path / "data" / "jobs" / "triggered" / "report"
    run = base / "202601051000000000"
    assert folders.data(job) == base
    assert folders.output_log(job, run.name) == run / "output_log.txt"
    assert folders.error_log(job, run.name) == run / "error_log.txt"
    assert folders.scheduler_log(job) == base / "job_scheduler.log"
    assert folders.job_log(job) == base / "job_log.txt"
    assert folders.previous_log(job) == base / "job_prev_log.txt"
    assert folders.working(job) == tmp_path / "tmp" / "jobs" / "triggered" / "report"
    assert folders.site == tmp_path / "site" / "wwwroot"


def test_a_run_id_is_the_time_with_four_more_digits(folders, job):
    """18 digits: yyyyMMddHHmmss and tenths of milliseconds."""
    at = datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)
    assert folders.create_run_folder(job, at) == "202601051000001234"


def test_run_ids_of_one_moment_differ_and_keep_their_order(folders, job):
    """A taken id moves on by one in the last digit, over the end of a second as well."""
    at = datetime(2026, 1, 5, 10, 0, 59, 999900, tzinfo=UTC)
    ids = [folders.create_run_folder(job, at) for _ in range(3)]
    assert ids == ["202601051000599999", "202601051001000000", "202601051001000001"]
    assert folders.run_ids(job) == ids[::-1]


def test_only_eighteen_digits_are_a_run(folders, job):
    """A directory that the job keeps in its data path is neither listed nor removed."""
    folders.create_run_folder(job, START)
    (folders.data(job) / "cache").mkdir()
    (folders.data(job) / "2026").mkdir()
    assert folders.run_ids(job) == ["202601051000000000"]
    with pytest.raises(ValueError, match="18 digits"):
        folders.remove_runs(job, ["cache"])
    with pytest.raises(ValueError, match="18 digits"):
        folders.output_log(job, "../202601051000000000")


def test_a_job_that_never_ran_has_no_runs(folders, job):
    """No directory is no error."""
    assert folders.run_ids(job) == []


def test_removing_takes_the_whole_run_folder(folders, job):
    """Whatever the run left in it."""
    run_id = folders.create_run_folder(job, START)
    folders.output_log(job, run_id).write_text("x")
    folders.remove_runs(job, [run_id, "202601051000000009"])
    assert folders.run_ids(job) == []


class TestRunStatus:
    STARTED = datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)

    def text(self, folders, job, status):
        """Write a status; return the run and the text."""
        run_id = folders.create_run_folder(job, START)
        folders.write_run_status(job, run_id, status)
        return run_id, (folders.run_folder(job, run_id) / "status").read_text()

    def test_a_running_run_has_no_end(self, folders, job):
        """One line of JSON, PascalCase, seven fraction digits, what is unset left out."""
        status = RunStatus("External - curl/8.1", "Running", self.STARTED)
        assert self.text(folders, job, status)[1] == (
            '{"Trigger":"External - curl/8.1","Status":"Running",'
            '"StartTime":"2026-01-05T10:00:00.1234560Z"}'
        )

    def test_what_is_written_is_read_back(self, folders, job):
        """Trigger texts with quotes and non-ASCII letters included."""
        ended = self.STARTED + timedelta(seconds=2.5)
        status = RunStatus('Ünïcode "agent"', "Success", self.STARTED, ended)
        run_id, _ = self.text(folders, job, status)
        assert folders.read_run_status(job, run_id) == status

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"Status":"Running"}', '{"Status":1}'])
    def test_a_broken_status_is_none(self, folders, job, text):
        """An empty or half file makes the run invisible, nothing worse."""
        run_id = folders.create_run_folder(job, START)
        (folders.run_folder(job, run_id) / "status").write_text(text)
        assert folders.read_run_status(job, run_id) is None

    def test_a_missing_status_is_none(self, folders, job):
        """A folder without a status file is a run that nobody has accepted."""
        assert folders.read_run_status(job, "202601051000000000") is None


def test_the_status_of_a_continuous_job_names_the_instance_in_six_letters(folders, tmp_path):
    """`status_INST` holds one word."""
    job = make_job(tmp_path, JobKind.CONTINUOUS, "mail")
    assert folders.read_status(job, "a1b2c3d4e5") is None
    path = folders.status_file(job, "a1b2c3d4e5")
    HeldFile(path).write(status_line("Running"))
    path = tmp_path / "data/jobs/continuous/mail/status_a1b2c3"
    assert path.read_text() == '{"Status":"Running"}'
    assert folders.read_status(job, "a1b2c3d4e5") == "Running"


def test_a_shutdown_file_has_a_new_name_each_time_and_is_not_there_yet(folders, tmp_path):
    """Its directory is, so that it can be written in one step."""
    job = make_job(tmp_path, JobKind.CONTINUOUS, "mail")
    first, second = folders.new_shutdown_file(job), folders.new_shutdown_file(job)
    assert first != second
    assert first.parent == tmp_path / "tmp/JobsShutdown/continuous/mail"
    assert first.parent.is_dir()
    assert not first.exists()


def test_the_sdk_marker_is_seen(folders, job):
    """`using_sdk` of the API comes from a file that the WebJobs SDK writes."""
    assert not folders.uses_sdk(job)
    folders.data(job).mkdir(parents=True)
    (folders.data(job) / "webjobssdk.marker").touch()
    assert folders.uses_sdk(job)


def test_a_failed_write_leaves_the_old_text_and_no_draft(tmp_path, monkeypatch):
    """A reader never sees half a status, and a full disk leaves no litter."""
    path = tmp_path / "status"
    write_atomically(path, "old")

    def refuse(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["status"]


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-01-05T10:00:00.1234567Z", 123456),
        ("2026-01-05T10:00:00.5Z", 500000),
        ("2026-01-05T10:00:00Z", 0),
    ],
)
def test_times_are_read_as_dotnet_writes_them(text, microsecond):
    """With any number of fraction digits."""
    assert parse_time(text) == START.replace(microsecond=microsecond)
