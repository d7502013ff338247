"""What a delivered tree makes of the site."""

from __future__ import annotations

import pytest

from scheduler.file_index import Entry, Index
from scheduler.functions import Problem
from scheduler.source.tree_change import ObstacleError, above, exactly, overlay


def index(*problems: Problem, **files: str) -> Index:
    """Return an index of files by their paths (`__` is "/") with texts for contents."""
    entries = {}
    for name, text in files.items():
        path = name.replace("__", "/")
        entry = Entry(path, f"/{text}", len(text), 1, 1, 1, 0o644)
        entries[path] = entry.read(text)
    folders = frozenset(folder for path in entries for folder in above(path))
    return Index(entries, folders, 1, problems)


def test_vanished_files_of_the_former_delivery_go_and_foreign_ones_stay():
    """webjobs.md 7: the manifest decides what is removed."""
    site = index(a="1", jobs__old="1", foreign="1", both="1")
    change = overlay(site, index(a="2", both="1", jobs__new="1"), {"a", "jobs/old", "both"})
    assert set(change.index.entries) == {"a", "both", "jobs/new", "foreign"}
    assert [entry.path for entry in change.write] == ["a", "jobs/new"]
    assert change.remove == ("jobs/old",)


def test_what_says_the_same_stays_the_file_that_it_is():
    """It keeps its times, so that no job is restarted for it."""
    site, tree = index(a="1"), index(a="1")
    change = overlay(site, tree, {"a"})
    assert change.index.entries["a"] is site.entries["a"]
    assert change.write == ()
    assert change.index.digest == site.digest


def test_a_folder_goes_with_its_last_file():
    """One that still holds something stays."""
    site = index(gone__a="1", kept__a="1", kept__foreign="1")
    change = overlay(site, index(b="1"), {"gone/a", "kept/a"})
    assert change.index.folders == {"kept"}


@pytest.mark.parametrize(("foreign", "coming"), [("x", "x__a"), ("x__a", "x"), ("x__y__a", "x")])
def test_a_foreign_file_in_the_way_refuses_the_tree(foreign, coming):
    """A file and a folder of one name: nothing that was not deployed is removed for it."""
    with pytest.raises(ObstacleError, match="x"):
        overlay(index(**{foreign: "1"}), index(**{coming: "1"}), set())


def test_an_own_file_may_become_a_folder():
    """What the former delivery brought is no obstacle."""
    change = overlay(index(x="1"), index(x__a="1"), {"x"})
    assert (set(change.index.entries), change.remove) == ({"x/a"}, ("x",))


def test_going_back_is_exact():
    """A release has all files: also what was foreign goes, and comes back."""
    change = exactly(index(a="2", new="1"), index(a="1", old="1"), [""])
    assert set(change.index.entries) == {"a", "old"}
    assert change.remove == ("new",)


def test_job_folders_outside_of_the_site_are_part_of_a_release():
    """As far as they are there now."""
    wanted = index(**{".taak__jobs__0__triggered__a": "1", ".taak__jobs__7__triggered__b": "1"})
    change = exactly(index(), wanted, ["", ".taak/jobs/0"])
    assert set(change.index.entries) == {".taak/jobs/0/triggered/a"}


def test_problems_follow_the_files():
    """What was wrong with a file that is replaced is not said of the new one."""
    site = index(Problem("a", "old"), Problem("b", "left out"), a="1")
    change = overlay(site, index(Problem("c", "new"), a="2"), set())
    assert [problem.where for problem in change.index.problems] == ["b", "c"]
