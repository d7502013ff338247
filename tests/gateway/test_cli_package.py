"""What `taak deploy` sends."""

from __future__ import annotations

import io
import zipfile

import pytest

from gateway.cli.package import IgnoreRules, files, pack


@pytest.mark.parametrize(
    ("rules", "path", "is_folder", "stays"),
    [
        ("*.log", "a/b.log", False, True),
        ("*.log", "a/b.logs", False, False),
        ("build/", "x/build", True, True),
        ("build/", "x/build", False, False),
        ("/docs", "docs", True, True),
        ("/docs", "a/docs", True, False),
        ("a/*.txt", "a/x.txt", False, True),
        ("a/*.txt", "a/b/x.txt", False, False),
        ("a/**/x", "a/b/c/x", False, True),
        ("**/x", "a/x", False, True),
        ("a/**", "a/b/c", False, True),
        ("*.txt\n!keep.txt", "a/keep.txt", False, False),
        ("# words\n\nx?z", "xyz", False, True),
        ("[ab].c", "b.c", False, True),
        ("[!ab].c", "b.c", False, False),
        ("\\#x", "#x", False, True),
        ("a.c", "abc", False, False),
    ],
)
def test_rules_are_those_of_gitignore(rules, path, is_folder, stays):
    """The last line that matches decides."""
    assert IgnoreRules(rules).leaves_out(path, is_folder=is_folder) is stays


def test_what_stays_here(tmp_path):
    """Repositories, caches, environments, this machine's settings, and what .funcignore names."""
    for path in (
        "host.json", "local.settings.json", ".funcignore", ".git/config", "f/__pycache__/x.pyc",
        ".venv/bin/python", "tests/a.py", "f/main.py", ".python_packages/lib/x.py",
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("tests\n")
    expected = [".python_packages/lib/x.py", "f/main.py", "host.json"]
    assert sorted(files(tmp_path)) == expected


def test_the_same_files_make_the_same_archive(tmp_path):
    """Times do not count; what can run is marked."""
    (tmp_path / "run.sh").write_text("echo")
    (tmp_path / "run.sh").chmod(0o755)
    one, two = io.BytesIO(), io.BytesIO()
    pack(tmp_path, ["run.sh"], one)
    (tmp_path / "run.sh").touch()
    pack(tmp_path, ["run.sh"], two)
    assert one.getvalue() == two.getvalue()
    with zipfile.ZipFile(one) as archive:
        assert archive.infolist()[0].external_attr >> 16 == 0o100755
