"""Import rules of an app: its paths, its names, its mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import guest
import pytest

from sandbox.runtime import loader


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("hello/__init__.py", "__app__.hello"),
        ("hello/main.py", "__app__.hello.main"),
        ("hello/sub/main.py", "__app__.hello.sub.main"),
        ("hello/../shared/main.py", "__app__.shared.main"),
        ("my-func/__init__.py", "__app__.my-func"),
        ("function_app.py", "__app__.function_app"),
    ],
)
def test_a_script_is_imported_below_the_app(script: str, name: str) -> None:
    """Every script has one name below `__app__`, whatever path leads to it."""
    assert loader.module_name(script) == name


@pytest.mark.parametrize("script", ["hello/run.sh", "../other/main.py", "/etc/main.py", "a/b.c.py"])
def test_a_script_that_cannot_be_imported_is_named(script: str) -> None:
    """A script of another type, outside of the app or with dots in its path is refused."""
    with pytest.raises(loader.LoadError, match=script.replace(".", r"\.")):
        loader.module_name(script)


def test_a_load_error_is_a_line_and_a_detail() -> None:
    """The worker can send the error's arguments as they are."""
    error = loader.LoadError("line", "detail")
    assert error.args == ("line", "detail")
    assert str(error) == "line"


def run(tmp_path: Path, app: str, *names: str, **more: Any) -> dict[str, Any]:
    """Load functions of a fixture app from a copy, so that nothing is left in the tree."""
    root = tmp_path / app
    shutil.copytree(guest.APPS / app, root)
    return guest.run(tmp_path, root, names, **more)


@pytest.mark.real
@pytest.mark.parametrize("mode", ["preloaded", "offered"])
def test_an_app_with_our_names_gets_its_own_modules(tmp_path: Path, mode: str) -> None:
    """Its gateway.py, sandbox.py, wire.py, msgpack … are what its code imports."""
    found = run(tmp_path, "name_clash", "clash", calls=(("clash", guest.get()),), mode=mode)
    _status, (code, _headers, body) = found["calls"][0]
    assert code == 200
    assert body.count("app:") == 8


@pytest.mark.real
def test_functions_are_imported_by_every_route(tmp_path: Path) -> None:
    """Relative imports, `__app__.x`, plain imports and scripts in sub-folders all work."""
    found = run(
        tmp_path,
        "azure_hello",
        *("hello", "hello_async", "other_script"),
        calls=(
            ("hello", guest.get("name=Ada")),
            ("hello_async", guest.get("name=Bob")),
            ("other_script", guest.get()),
        ),
    )
    bodies = [payload[2] for _status, payload in found["calls"]]
    assert bodies == [
        "Hello, Ada.",
        "Hello, Bob.",
        "__app__.other_script.inner.work Hello, a. Hello, b.",
    ]
    assert found["calls"][0][1][1] == [
        ["x-invocation", "id-1"],
        ["Content-Type", "text/plain; charset=utf-8"],
    ]


@pytest.mark.real
def test_the_world_of_the_app_is_clean(tmp_path: Path) -> None:
    """Directory and paths are the app's, its settings are there, nothing of ours is."""
    probe = """
import builtins, os, sys
found["cwd"], found["argv"] = os.getcwd(), sys.argv
found["path"] = sys.path[:2]
found["main"] = sorted(vars(sys.modules["__main__"]))
found["setting"] = os.environ["SETTING"]
found["exit"] = hasattr(builtins, "exit")
found["written"] = [f for _, _, files in os.walk(".") for f in files if f.endswith(".pyc")]
"""
    found = run(tmp_path, "brings_werkzeug", "versions", probe=probe, mode="offered",
                settings={"SETTING": "1", "TZ": "UTC"})  # fmt: skip
    root = tmp_path / "brings_werkzeug"
    assert found["cwd"] == str(root)
    assert found["argv"] == [""]
    assert found["path"] == [str(root / guest.PACKAGES), str(root)]
    assert "load_boot" not in found["main"]
    assert found["setting"] == "1"
    assert found["exit"]
    assert found["written"] == []


@pytest.mark.real
def test_pth_files_of_the_apps_environment_count(tmp_path: Path) -> None:
    """A .pth file in the app's packages adds its path, and may run its import line."""
    root = tmp_path / "azure_hello"
    shutil.copytree(guest.APPS / "azure_hello", root)
    (root / "linked").mkdir()
    (root / "linked" / "far_module.py").write_text("OWNER = 'far'")
    packages = root / guest.PACKAGES
    packages.mkdir(parents=True)
    (packages / "x.pth").write_text(f"{root}/linked\nimport os; os.environ['PTH'] = 'ran'\n")
    probe = """
import far_module, os, sys
found["owner"], found["ran"] = far_module.OWNER, os.environ["PTH"]
found["last"] = type(sys.meta_path[-1]).__name__
"""
    found = guest.run(tmp_path, root, probe=probe)
    assert (found["owner"], found["ran"], found["last"]) == ("far", "ran", "Fallback")


@pytest.mark.real
def test_a_function_module_is_executed_once(tmp_path: Path) -> None:
    """`__init__.py` of a function runs once, however its parts import it."""
    root = tmp_path / "app"
    (root / "f").mkdir(parents=True)
    (root / "f" / "__init__.py").write_text(
        "import sys\nsys.runs = getattr(sys, 'runs', 0) + 1\nfrom .part import main\n"
    )
    (root / "f" / "part.py").write_text(
        "from __app__.f import sys\nimport __app__.f\ndef main(req):\n    return str(sys.runs)\n"
    )
    shutil.copy(guest.APPS / "azure_hello/hello/function.json", root / "f")
    found = guest.run(tmp_path, root, ("f",), calls=(("f", guest.get()),))
    assert found["calls"][0][1][2] == "1"


@pytest.mark.real
def test_mistakes_stay_with_their_function(tmp_path: Path) -> None:
    """A bad import, an exit and a missing entry point are told; the app's good function runs."""
    names = ("broken", "exits", "no_entry", "good")
    found = run(tmp_path, "broken_import", *names, calls=(("good", guest.get()),))
    loaded = found["loaded"]
    line, detail = loaded["broken"]
    place = "(shared/parts.py, line 1)"
    assert line == f"ModuleNotFoundError: No module named 'package_that_is_not_there' {place}"
    assert 'File "shared/parts.py", line 1' in detail
    assert "requirements.txt" in detail
    assert "aka.ms/functions-modulenotfound" in detail
    assert "\n  .\n" in detail  # the app itself, among the searched paths
    assert str(tmp_path / "broken_import") not in detail
    assert "_runtime" not in detail
    assert "runtime/loader.py" not in detail
    assert "importlib" not in detail
    assert loaded["exits"][0].startswith("SystemExit: this module ends the program (exits/")
    assert '"run"' in loaded["no_entry"][0]
    assert loaded["good"] is None
    assert found["calls"][0][1][2] == "good"


@pytest.mark.real
def test_a_syntax_error_names_its_place(tmp_path: Path) -> None:
    """The line says file and line number; the detail shows the text."""
    line, detail = run(tmp_path, "syntax_error", "typo")["loaded"]["typo"]
    assert line.startswith("SyntaxError: ")
    assert line.endswith(" (typo/__init__.py, line 2)")
    assert 'File "typo/__init__.py", line 2' in detail
    assert "never parsed" in detail


@pytest.mark.real
def test_a_quiet_import_may_be_forked(tmp_path: Path) -> None:
    """An app that opens nothing and starts nothing gives no reason against a fork."""
    assert run(tmp_path, "azure_hello", "hello", "hello_async")["effects"] == []


@pytest.mark.real
def test_threads_and_sockets_at_import_forbid_the_fork(tmp_path: Path) -> None:
    """Each thread and socket of an import is a reason that says what it is."""
    effects = run(tmp_path, "threads_at_import", "threads", "sockets")["effects"]
    assert effects[0].startswith("1 thread(s) started")
    assert len(effects) == 3
    assert all("a socket opened" in effect for effect in effects[1:])


@pytest.mark.real
def test_a_written_file_forbids_the_fork_and_a_read_one_does_not(tmp_path: Path) -> None:
    """A database opened at import must not be shared by forks; a template may."""
    root = tmp_path / "app"
    (root / "f").mkdir(parents=True)
    (root / "f" / "__init__.py").write_text(
        "read = open(__file__)\nwritten = open('/dev/shm/taak-test', 'w')\n"
        "import os, select\nos.unlink('/dev/shm/taak-test')\nepoll = select.epoll()\n"
        "def main(req):\n    return ''\n"
    )
    shutil.copy(guest.APPS / "azure_hello/hello/function.json", root / "f")
    effects = guest.run(tmp_path, root, ("f",))["effects"]
    assert [effect.split(" opened")[0] for effect in effects] == [
        "a file for writing",
        "an event descriptor",
    ]


@pytest.mark.real
def test_prints_and_logs_of_an_import_reach_the_descriptors(tmp_path: Path) -> None:
    """What a module prints or logs while it is imported is not lost and not repeated."""
    root = tmp_path / "app"
    (root / "f").mkdir(parents=True)
    (root / "f" / "__init__.py").write_text(
        "import logging, sys\nprint('printed')\nlogging.warning('logged')\n"
        "def main(req):\n    return ''\n"
    )
    shutil.copy(guest.APPS / "azure_hello/hello/function.json", root / "f")
    found = guest.run(tmp_path, root, ("f",))
    assert found["stdout"] == "printed\n"
    assert found["stderr"] == "WARNING: logged\n"
