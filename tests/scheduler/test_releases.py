"""Immutable copies: what they hold, how they share files, when they go."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest

from scheduler.file_index import FileChangedError, with_digests
from scheduler.file_scan import scan
from scheduler.precompile import byte_code_path, compile_files
from scheduler.release_map import Units
from scheduler.releases import Releases


@pytest.fixture
def site(tmp_path):
    """Return a folder with two files, one below a folder."""
    (tmp_path / "site/f").mkdir(parents=True)
    (tmp_path / "site/a.txt").write_text("a")
    (tmp_path / "site/f/b.py").write_text("B = 1")
    return tmp_path / "site"


@pytest.fixture
def releases(tmp_path):
    """Return releases that compile nothing."""
    return Releases(tmp_path / "home", precompile=lambda _: None)


def index(site):
    """Return the files of a folder with digests."""
    return with_digests(scan(site))


def test_a_release_is_a_copy_named_by_its_digest(site, releases, tmp_path):
    """Contents, modes, times, links and empty folders are as in the site; the files are not."""
    (site / "run.sh").write_text("#!/bin/sh")
    (site / "run.sh").chmod(0o750)
    os.utime(site / "a.txt", ns=(1, 123456789_000000001))
    (site / "link").symlink_to("a.txt")
    (site / "empty").mkdir()
    release = releases.build(index(site))
    assert release.root == tmp_path / "home/releases" / index(site).digest
    assert (release.root / "f/b.py").read_text() == "B = 1"
    assert (release.root / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (release.root / "a.txt").stat().st_mtime_ns == 123456789_000000001
    assert os.readlink(release.root / "link") == "a.txt"
    assert (release.root / "empty").is_dir()
    assert (release.root / "a.txt").stat().st_ino != (site / "a.txt").stat().st_ino
    assert with_digests(scan(release.root)).digest == release.digest


def test_same_content_is_the_same_release(site, releases):
    """A touch makes no second copy."""
    first = releases.build(index(site))
    os.utime(site / "a.txt")
    second = releases.build(index(site))
    assert second.root == first.root
    assert releases.names() == [first.digest]


def test_unchanged_files_are_links_to_the_earlier_release(site, releases):
    """Only what changed is written; the site's own files are never linked."""
    first = releases.build(index(site))
    (site / "f/b.py").write_text("B = 2")
    (site / "f/copy.txt").write_text("new")
    second = releases.build(index(site))
    assert (second.root / "a.txt").samefile(first.root / "a.txt")
    assert not (second.root / "f/b.py").samefile(first.root / "f/b.py")
    assert (first.root / "f/b.py").read_text() == "B = 1"
    assert (second.root / "a.txt").stat().st_nlink == 2
    assert (site / "a.txt").stat().st_nlink == 1


def test_other_mode_or_time_is_no_link(site, releases):
    """A link would give the earlier release the new mode."""
    first = releases.build(index(site))
    (site / "a.txt").chmod(0o755)
    second = releases.build(index(site))
    assert not (second.root / "a.txt").samefile(first.root / "a.txt")
    assert (first.root / "a.txt").stat().st_mode & 0o111 == 0


def test_file_that_changes_during_the_copy_leaves_nothing(site, releases):
    """Neither a release nor a half one stays."""
    seen = index(site)
    (site / "a.txt").write_text("changed")
    with pytest.raises(FileChangedError):
        releases.build(seen)
    assert releases.names() == []
    assert os.listdir(site.parent / "home/releases") == []


def test_content_that_is_not_what_the_index_says_is_noticed(site, releases):
    """An edit that kept size and times is found by its digest while it is copied."""
    seen = index(site)
    lying = seen.entries["a.txt"].read("0" * 64)
    with pytest.raises(FileChangedError, match=r"a\.txt changed while it was copied"):
        releases.build(replace(seen, entries={"a.txt": lying}))


def test_open_removes_what_a_crash_left(site, releases, tmp_path):
    """Half copies and half removals go; whole releases are listed by their last use."""
    first = releases.build(index(site))
    (site / "a.txt").write_text("2")
    second = releases.build(index(site))
    os.utime(first.root, (2, 2))
    os.utime(second.root, (1, 1))
    for name in (".new-1", ".old-2"):
        (tmp_path / "home/releases" / name / "x").mkdir(parents=True)
    again = Releases(tmp_path / "home")
    assert again.open() == [second.digest, first.digest]
    assert sorted(os.listdir(tmp_path / "home/releases")) == sorted([first.digest, second.digest])


def test_collect_removes_what_nobody_needs(site, releases):
    """The latest, the kept and the pinned stay; a pin counts."""
    digests = []
    for text in "1234":
        (site / "a.txt").write_text(text)
        digests.append(releases.build(index(site)).digest)
    releases.pin(digests[0])
    releases.pin(digests[0])
    assert releases.collect({digests[1]}) == [digests[2]]
    releases.unpin(digests[0])
    assert releases.collect(set()) == [digests[1]]
    releases.unpin(digests[0])
    assert releases.collect(set()) == [digests[0]]
    assert releases.names() == [digests[3]]


def test_byte_code_is_made_and_linked(site, tmp_path):
    """Each file is compiled once; the next release has the same byte code."""
    asked = []

    def compiled(files):
        asked.append([os.path.basename(path) for path in files])
        compile_files(files)

    releases = Releases(tmp_path / "home", precompile=compiled)
    first = releases.build(index(site))
    (site / "c.py").write_text("C = 1")
    second = releases.build(index(site))
    assert asked == [["b.py"], ["c.py"]]
    before, after = (byte_code_path(str(r.root / "f/b.py")) for r in (first, second))
    assert os.path.samefile(before, after)
    assert os.path.exists(byte_code_path(str(second.root / "c.py")))


def test_code_that_does_not_compile_is_left_to_the_import(site, tmp_path):
    """A syntax error does not stop a release; the worker tells it."""
    (site / "f/b.py").write_text("def (:")
    (site / "null.py").write_bytes(b"\0")
    (site / "deep.py").write_text("(" * 500)
    releases = Releases(tmp_path / "home")
    root = releases.build(index(site)).root
    assert (root / "f/b.py").exists()
    assert not os.path.exists(byte_code_path(str(root / "f/b.py")))


UNITS = Units(frozenset({"f", "g"}), frozenset({"jobs/triggered/j"}))


@pytest.fixture
def app(site):
    """Return a site with two functions, a job and something shared."""
    for path in ("g/b.py", "jobs/triggered/j/run.sh", "jobs/triggered/j/deep/x"):
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(path)
    return site


def test_unchanged_units_stay_where_they_are(app, releases):
    """A release links to nothing of them; its map leads to where they really stand."""
    first = releases.build(index(app), UNITS)
    assert first.homes == {}
    (app / "f/b.py").write_text("B = 2")
    second = releases.build(index(app), UNITS)
    assert second.homes == {"g": first.root, "jobs/triggered/j": first.root}
    assert not (second.root / "g").exists()
    assert not (second.root / "jobs/triggered/j").exists()
    assert (second.root / "f/b.py").read_text() == "B = 2"
    (app / "g/b.py").write_text("changed")
    third = releases.build(index(app), UNITS)
    assert third.homes == {"f": second.root, "jobs/triggered/j": first.root}
    assert third.standing("jobs/triggered/j/deep/x") == first.root
    assert third.standing("a.txt") == third.root


def test_a_function_never_stands_beside_other_shared_files(app, releases):
    """When those change all functions move; jobs, which do not see them, stay."""
    first = releases.build(index(app), UNITS)
    (app / "a.txt").write_text("other")
    assert releases.build(index(app), UNITS).homes == {"jobs/triggered/j": first.root}


def test_homes_stay_as_long_as_they_are_needed(app, releases):
    """Collection removes a release only when no kept map leads to it."""
    first = releases.build(index(app), UNITS)
    (app / "f/b.py").write_text("B = 2")
    second = releases.build(index(app), UNITS)
    assert releases.collect({second.digest}) == []
    (app / "a.txt").write_text("other")
    shutil.rmtree(app / "jobs")
    third = releases.build(index(app), UNITS)
    assert releases.collect({second.digest}) == []
    assert releases.collect({third.digest}) == sorted([first.digest, second.digest])


def test_a_release_in_parts_is_found_whole(app, releases, tmp_path):
    """The next process reads it through its map, and notices damage in another's folder."""
    first = releases.build(index(app), UNITS)
    (app / "f/b.py").write_text("B = 2")
    second = releases.build(index(app), UNITS)
    later = Releases(tmp_path / "home", precompile=lambda _: None)
    later.open()
    found = later.find(second.digest, None)
    assert found is not None
    assert found.index.digest == second.digest
    assert found.homes == second.homes
    assert found.index.entries["g/b.py"].source == str(first.root / "g/b.py")
    (first.root / "g/b.py").write_text("damaged")
    assert later.find(second.digest, None) is None
    assert second.digest not in later.names()


def test_a_release_whose_home_is_gone_is_made_again(app, releases, tmp_path):
    """Going back to its content finds it incomplete, and copies everything."""
    first = releases.build(index(app), UNITS)
    (app / "f/b.py").write_text("B = 2")
    second = releases.build(index(app), UNITS)
    shutil.rmtree(first.root)
    later = Releases(tmp_path / "home", precompile=lambda _: None)
    again = later.build(index(app), UNITS)
    assert again.root == second.root
    assert again.homes == {}
    assert (again.root / "g/b.py").exists()


def test_completing_brings_folders_in(app, releases):
    """Afterwards they stand in the release itself, and the map says so."""
    releases.build(index(app), UNITS)
    (app / "f/b.py").write_text("B = 2")
    second = releases.build(index(app), UNITS)
    whole = releases.complete(second, ["g", "f"])
    assert set(whole.homes) == {"jobs/triggered/j"}
    assert (whole.root / "g/b.py").read_text() == "g/b.py"
    assert releases.build(index(app), UNITS).homes == whole.homes
    assert releases.find(whole.digest, None).index.digest == whole.digest


def test_many_homes_with_much_beside_are_made_one(app, releases):
    """Each home holds the shared files again: what that costs is bounded by the app's size."""
    for number in range(200):
        (app / f"shared{number}").write_text("")
    first = releases.build(index(app), UNITS)
    (app / "f/b.py").write_text("B = 2")
    second = releases.build(index(app), UNITS)
    assert set(second.homes.values()) == {first.root}
    (app / "g/b.py").write_text("changed")
    assert releases.build(index(app), UNITS).homes == {}
