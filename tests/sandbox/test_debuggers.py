"""How each language's debugger is started."""

from __future__ import annotations

import ast
import os

import pytest

from sandbox.debuggers import STARTER, DebugStart, NoDebuggerError, debugger_of, under_debugger
from sandbox.interpreters import HOSTS, Command

AT = DebugStart(4711)
WAITING = DebugStart(4711, wait=True)


def test_python_starts_by_debugpy_and_shows_only_it() -> None:
    """The job's own Python runs our starter; the two that it needs are shown, nothing beside."""
    start = under_debugger(Command(("/usr/bin/python3", "run.py", "a"), "x"), "run.py", AT)
    folder = start.shows[1]
    assert os.path.basename(folder) == "debugpy"
    assert start.shows == (STARTER, folder)
    assert start.argv[:3] == ("/usr/bin/python3", "-X", "frozen_modules=off")
    assert start.argv[3:] == (STARTER, folder, "4711", "go", "run.py", "a")
    waiting = under_debugger(Command(("python3", "run.py"), "x"), "RUN.PY", WAITING)
    assert waiting.argv[-2:] == ("wait", "run.py")


@pytest.mark.parametrize(
    ("argv", "script", "debug", "wanted"),
    [
        (("node", "run.js"), "run.js", AT, ("node", "--inspect=127.0.0.1:4711", "run.js")),
        (("node", "run.js"), "run.js", WAITING, ("node", "--inspect-brk=127.0.0.1:4711", "run.js")),
        (
            ("java", "-XX:MaxRAM=9m", "-jar", "run.jar"),
            "run.jar",
            AT,
            (
                "java",
                "-agentlib:jdwp=transport=dt_socket,server=y,suspend=n,address=127.0.0.1:4711",
                "-XX:MaxRAM=9m",
                "-jar",
                "run.jar",
            ),
        ),
    ],
)
def test_the_option_comes_first(argv, script, debug, wanted) -> None:
    """Interpreters take it before the script; what the script gets stays as it is."""
    assert under_debugger(Command(argv, "x"), script, debug).argv == wanted


def test_a_java_program_can_wait() -> None:
    """By the JVM's own word for it."""
    argv = under_debugger(Command(("java", "-jar", "run.jar"), "x"), "run.jar", WAITING).argv
    assert "suspend=y" in argv[1]


@pytest.mark.parametrize("extension", sorted(HOSTS.keys() - {".py", ".js", ".jar"}))
def test_every_other_kind_is_refused_with_a_reason(extension: str) -> None:
    """No kind of script is without a word."""
    with pytest.raises(NoDebuggerError, match="run") as refused:
        debugger_of(f"run{extension}")
    assert "can be debugged" in refused.value.hint


def test_the_starter_needs_nothing_of_ours() -> None:
    """It runs under the job's own Python, where no other file of Taak is."""
    with open(STARTER, encoding="utf-8") as file:
        tree = ast.parse(file.read(), feature_version=(3, 8))
    named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert named == {"__future__", "_pydevd_bundle.pydevd_runpy"}
