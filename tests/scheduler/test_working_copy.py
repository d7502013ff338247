"""When a job gets a new private copy, and that a copy is the job's own."""

from __future__ import annotations

import os
import shutil

import pytest

from scheduler.working_copy import CopyFailedError, InPlace, WorkingCopy, file_times


@pytest.fixture
def source(tmp_path):
    """Return a release with two files."""
    folder = tmp_path / "release"
    (folder / "lib").mkdir(parents=True)
    (folder / "run.sh").write_text("echo hello\n")
    (folder / "lib" / "data").write_text("1")
    return folder


@pytest.fixture
def copy(tmp_path):
    """Return the working copy of one job."""
    return WorkingCopy(tmp_path / "work", sleep=lambda _: None)


def touch(path, seconds: int = 5) -> None:
    """Move a file's time on."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + seconds * 10**9))


def test_the_copy_holds_everything_with_its_times(copy, source):
    """A job that looks at its files' times sees those of the release."""
    path, reason = copy.prepare(source)
    assert reason == ""
    assert file_times(path) == file_times(source)


def test_the_first_copy_of_a_process_replaces_what_an_earlier_one_left(copy, source, tmp_path):
    """Nobody knows what stands in an old copy."""
    (tmp_path / "work" / "old").mkdir(parents=True)
    path, _ = copy.prepare(source)
    assert list((tmp_path / "work").iterdir()) == [path]


def test_an_unchanged_job_keeps_its_copy(copy, source):
    """Files that only the copy has, and empty directories, are no change."""
    path, _ = copy.prepare(source)
    (path / "made-by-job").write_text("x")
    (source / "empty").mkdir()
    assert copy.prepare(source) == (path, "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda source, _: touch(source / "run.sh"), "'run.sh' timestamp differs"),
        (lambda source, _: touch(source / "run.sh", -5), "'run.sh' timestamp differs"),
        (lambda _, copy: touch(copy / "lib/data"), "'lib/data' timestamp differs"),
        (lambda _, copy: (copy / "run.sh").unlink(), "'run.sh' exists in source"),
        (lambda source, _: (source / "new").write_text(""), "'new' exists in source"),
        (lambda source, _: (source / "lib/data").unlink(), "'lib/data' has been deleted"),
    ],
)
def test_a_change_on_either_side_makes_a_new_copy_and_names_the_file(copy, source, change, reason):
    """In the source or, because a job may change its own files, in the copy."""
    old, _ = copy.prepare(source)
    change(source, old)
    new, told = copy.prepare(source)
    assert told.startswith("Job directory change detected: Job file ")
    assert reason in told
    assert new != old
    assert not old.exists()
    assert file_times(new) == file_times(source)
    assert copy.prepare(source) == (new, "")


def test_the_same_files_in_a_new_release_are_no_change(copy, source, tmp_path):
    """A deployment that does not touch the job costs no copy."""
    path, _ = copy.prepare(source)
    other = tmp_path / "release-2"
    shutil.copytree(source, other)
    assert copy.prepare(other) == (path, "")


def test_a_copy_of_a_read_only_release_can_be_written(copy, source):
    """The release is immutable, the copy is the job's own."""
    (source / "run.sh").chmod(0o444)
    (source / "lib").chmod(0o555)
    path, _ = copy.prepare(source)
    assert (path / "run.sh").stat().st_mode & 0o200
    assert (path / "lib").stat().st_mode & 0o700 == 0o700
    (source / "lib").chmod(0o755)


def test_links_inside_stay_links(copy, source):
    """A link to a neighbour points at the copy's neighbour."""
    (source / "link").symlink_to("run.sh")
    path, _ = copy.prepare(source)
    assert os.readlink(path / "link") == "run.sh"


def test_a_copy_that_fails_is_tried_three_times(tmp_path, source, monkeypatch):
    """A passing lock is waited for, a lasting one is told with its cause."""
    waits: list[float] = []
    copy = WorkingCopy(tmp_path / "work", sleep=waits.append)

    def refuse(*_args, **_options):
        raise shutil.Error([(str(source), "there", "No space left on device")])

    monkeypatch.setattr(shutil, "copytree", refuse)
    with pytest.raises(CopyFailedError, match="No space left on device"):
        copy.prepare(source)
    assert waits == [0.25, 0.25]
    monkeypatch.undo()
    assert copy.prepare(source)[0].is_dir()


def test_a_source_that_is_gone_is_told(copy, tmp_path):
    """An empty copy would only fail later and in other words."""
    with pytest.raises(CopyFailedError, match="holds no files"):
        copy.prepare(tmp_path / "nowhere")


def test_a_discarded_copy_is_gone(copy, source, tmp_path):
    """And the next one is made afresh."""
    copy.prepare(source)
    copy.discard()
    assert not (tmp_path / "work").exists()
    assert copy.prepare(source)[0].is_dir()


def test_all_that_has_changed_is_named_up_to_a_few_files(copy, source):
    """The first file alone is often a mere touch, and the cause is another."""
    copy.prepare(source)
    touch(source / "run.sh")
    (source / "lib/data").unlink()
    for number in range(6):
        (source / f"new{number}").write_text("")
    lines = copy.prepare(source)[1].splitlines()
    assert all(line.startswith("Job directory change detected: ") for line in lines)
    assert [line.split("'")[1] for line in lines[:5]] == [f"new{number}" for number in range(5)]
    assert lines[5:] == ["Job directory change detected: 3 more files."]


def test_a_job_in_place_tells_what_has_changed_since_its_last_start(source):
    """There is no copy to compare with, and the question why it restarted is the same."""
    place = InPlace()
    assert place.look(source) == ""
    assert place.look(source) == ""
    touch(source / "run.sh")
    (source / "new").write_text("")
    (source / "lib/data").unlink()
    assert [line.partition("Job file ")[2] for line in place.look(source).splitlines()] == [
        "'new' has been added.", "'run.sh' has been changed.", "'lib/data' has been deleted."
    ]  # fmt: skip
