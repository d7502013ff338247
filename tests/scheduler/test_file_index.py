"""What a scan sees, what it leaves out, and when it reads a file again."""

from __future__ import annotations

import os
import socket
from dataclasses import replace

import pytest

from scheduler.file_index import (
    FileChangedError,
    content_digest,
    merged,
    with_digests,
)
from scheduler.file_scan import is_part, scan


def write(root, **files):
    """Write files; `a__b` is a/b."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def digest(root):
    """Return the digest of a folder."""
    return with_digests(scan(root)).digest


def test_a_scan_has_every_file_and_folder(tmp_path):
    """Paths are relative, with slashes; empty folders are known too."""
    write(tmp_path, a="1", b__c__d="2")
    (tmp_path / "empty").mkdir()
    index = scan(tmp_path)
    assert sorted(index.entries) == ["a", "b/c/d"]
    assert index.folders == {"b", "b/c", "empty"}
    assert [e.path for e in index.below("b")] == ["b/c/d"]
    assert index.folders_in("") == ["b", "empty"]
    assert index.folders_in("b") == ["c"]
    assert index.files_in("b/c") == ["d"]
    assert index.files_in("") == ["a"]


def test_below_is_exact(tmp_path):
    """Neighbours that sort around a folder's slash are not below it."""
    write(tmp_path, **{"ab": "", "a__x": "", "a-b__y": "", "a0": "", "a.txt": ""})
    assert [e.path for e in scan(tmp_path).below("a")] == ["a/x"]


@pytest.mark.parametrize(
    "path",
    [
        "__pycache__/x.pyc", ".git/HEAD", ".taak/taak.db", "a/.x.py.swp", "a/x.py~", "a/4913",
        "a/.#x.py", "a/#x.py#", ".goutputstream-AB12", "x.py___jb_tmp___",
    ],
)  # fmt: skip
def test_caches_repositories_and_editor_files_are_no_part(tmp_path, path):
    """What tools leave beside the code is not seen, neither by scans nor by the watch."""
    target = tmp_path / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("")
    assert path not in scan(tmp_path).entries
    assert not is_part(path)


def test_node_modules_and_environments_are_part(tmp_path):
    """Dependencies that an app brings belong to it."""
    assert is_part("job/node_modules/x/index.js")
    assert is_part(".venv/lib/python3.11/site-packages/x.py")
    assert is_part(".python_packages/lib/site-packages/azure/functions/__init__.py")


def test_missing_root_is_empty(tmp_path):
    """A folder that is not there has no files; it is no error."""
    index = scan(tmp_path / "none")
    assert not index.entries
    assert not index.problems


def test_skipped_folder(tmp_path):
    """The platform's home inside a site is left out."""
    write(tmp_path, home__x="1", a="1")
    assert list(scan(tmp_path, skip=frozenset({str(tmp_path / "home")})).entries) == ["a"]


def test_digest_follows_content_path_and_execute_bit_only(tmp_path):
    """Times do not count; content, names and the right to execute do."""
    write(tmp_path, a="1", b="2")
    first = digest(tmp_path)
    os.utime(tmp_path / "a", (1, 1))
    assert digest(tmp_path) == first
    (tmp_path / "a").chmod(0o755)
    executable = digest(tmp_path)
    assert executable != first
    (tmp_path / "a").rename(tmp_path / "c")
    assert digest(tmp_path) not in {first, executable}


def test_unchanged_files_are_not_read_again(tmp_path, monkeypatch):
    """Digests are taken over by size, times and inode; only what differs is read."""
    write(tmp_path, a="1", b="2")
    earlier = with_digests(scan(tmp_path))
    (tmp_path / "b").write_text("33")
    read = []
    monkeypatch.setattr(
        "scheduler.file_index.content_digest",
        lambda entry: read.append(entry.path) or content_digest(entry),
    )
    with_digests(scan(tmp_path), earlier)
    assert read == ["b"]


def test_edit_that_keeps_size_and_time_is_seen(tmp_path):
    """Setting the modification time back does not hide an edit."""
    write(tmp_path, a="1")
    earlier = with_digests(scan(tmp_path))
    facts = (tmp_path / "a").stat()
    (tmp_path / "a").write_text("2")
    os.utime(tmp_path / "a", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    forged = scan(tmp_path)
    later = facts.st_ctime_ns + 1  # the clock of the file system may be coarser than this test
    entry = replace(forged.entries["a"], ctime_ns=max(forged.entries["a"].ctime_ns, later))
    assert with_digests(replace(forged, entries={"a": entry}), earlier).digest != earlier.digest


def test_same_files_and_changed_since(tmp_path):
    """Two looks at quiet files are equal; new, gone and different files are named."""
    write(tmp_path, a="1", b="2", c="3")
    first = scan(tmp_path)
    assert scan(tmp_path).same_files(first)
    (tmp_path / "a").unlink()
    write(tmp_path, b="22", d="4")
    second = scan(tmp_path)
    assert not second.same_files(first)
    assert second.changed_since(first) == {"a", "b", "d"}
    assert second.changed_ns >= first.changed_ns


def test_file_that_changes_while_it_is_read_is_noticed(tmp_path):
    """Half of an old and half of a new file never become one digest."""
    write(tmp_path, a="1", b="1", c="1")
    index = scan(tmp_path)
    (tmp_path / "a").write_text("longer")
    (tmp_path / "b").unlink()
    (tmp_path / "c").unlink()
    (tmp_path / "c").symlink_to("a")
    for name in "abc":
        with pytest.raises(FileChangedError, match=name):
            content_digest(index.entries[name])


def test_links_inside_are_kept_and_made_relative(tmp_path):
    """A link is an entry of its own; one with the site's path would leave the release."""
    write(tmp_path, d__a="1")
    (tmp_path / "d/near").symlink_to("a")
    (tmp_path / "far").symlink_to(tmp_path / "d/a")
    (tmp_path / "folder").symlink_to("d")
    index = with_digests(scan(tmp_path))
    links = {path: entry.link for path, entry in index.entries.items() if entry.link}
    assert links == {"d/near": "a", "far": "d/a", "folder": "d"}
    assert not index.problems


def test_links_to_the_outside_are_a_problem(tmp_path):
    """They are left out and told, but for a virtual environment's interpreter."""
    site = tmp_path / "site"
    write(tmp_path, outside="1", **{"site__v__pyvenv.cfg": ""})
    (site / "v/bin").mkdir()
    (site / "v/bin/python3").symlink_to("/usr/bin/python3")
    (site / "v/bin/other").symlink_to("/usr/bin/env")
    (site / "up").symlink_to("../outside")
    index = scan(site)
    assert sorted(index.entries) == ["v/bin/python3", "v/pyvenv.cfg"]
    assert sorted(p.where for p in index.problems) == ["up", "v/bin/other"]
    assert all(p.warning and "outside of the app" in p.message for p in index.problems)


def test_sockets_and_pipes_are_left_out(tmp_path):
    """Reading them would hang; they are told and passed over."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        index = scan(tmp_path)
    assert not index.entries
    assert sorted(p.where for p in index.problems) == ["pipe", "sock"]


def test_merged_indexes_stand_side_by_side(tmp_path):
    """Files from elsewhere get the folder's path, and keep where they are read from."""
    write(tmp_path, site__a="1", jobs__triggered__x__run="2")
    index = merged(scan(tmp_path / "site"), scan(tmp_path / "jobs", place=".taak/jobs/0"))
    assert sorted(index.entries) == [".taak/jobs/0/triggered/x/run", "a"]
    assert index.entries[".taak/jobs/0/triggered/x/run"].source.startswith(str(tmp_path / "jobs"))
    assert ".taak/jobs/0/triggered/x" in index.folders
    assert with_digests(index).digest
    assert merged(scan(tmp_path / "site"), scan(tmp_path / "none", place="x")).folders == set()
