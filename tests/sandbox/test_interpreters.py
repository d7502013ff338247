"""The table of interpreters: what runs a script, and in which words it is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sandbox.interpreters import (
    BATCH_FOLDER,
    HOSTS,
    ORDER,
    MissingInterpreterError,
    command,
    find_python,
    own_python,
)


def which(*present: str):
    """Return a `which` on a machine that has only these programs."""
    paths = {name: name if "/" in name else f"/usr/bin/{name}" for name in present}
    return paths.get


EVERYTHING = which("/bin/bash", "python3", "php", "node", "java", "pwsh", "dotnet")


def start(name: str, *arguments: str, find=EVERYTHING, python: str = "python3"):
    """Return the command of a script on a machine that has everything."""
    return command(Path("/work") / name, arguments, which=find, python=python)


def write(path: Path, content: bytes, mode: int = 0o644) -> Path:
    """Make a file with this content and mode."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("name", "argv", "host"),
    [
        ("run.sh", ("/bin/bash", "run.sh"), "BashScriptHost"),
        ("run.py", ("/usr/bin/python3", "run.py"), "PythonScriptHost"),
        ("run.php", ("/usr/bin/php", "run.php"), "PhpScriptHost"),
        ("run.js", ("/usr/bin/node", "run.js"), "NodeScriptHost"),
        ("run.jar", ("/usr/bin/java", "-jar", "run.jar"), "JarScriptHost"),
        ("RUN.SH", ("/bin/bash", "RUN.SH"), "BashScriptHost"),
        (
            "run.ps1",
            ("/usr/bin/pwsh", "-NoProfile", "-File", "run.ps1"),
            "PowerShellScriptHost",
        ),
        ("run.fsx", ("/usr/bin/dotnet", "fsi", "run.fsx"), "FSharpScriptHost"),
    ],
)
def test_each_extension_has_its_interpreter(name, argv, host):
    """A script is passed by its bare name to the interpreter of its extension."""
    made = start(name)
    assert (made.argv, made.host_name) == (argv, host)


def test_arguments_follow_the_script_one_by_one():
    """Arguments are an argv list: nothing splits or expands them again."""
    assert start("run.sh", "a b", "$HOME").argv == ("/bin/bash", "run.sh", "a b", "$HOME")


def test_python_does_not_buffer_its_output():
    """A Python job's lines reach the log when they are printed."""
    assert start("run.py").environment == {"PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize("extension", [e for e in ORDER if e not in {".cmd", ".bat", ".exe"}])
def test_a_missing_interpreter_is_told_with_the_way_to_get_it(extension):
    """Nothing is skipped in silence: the message names the script and what to install."""
    with pytest.raises(MissingInterpreterError) as caught:
        start(f"run{extension}", find=which())
    assert f"run{extension} needs" in str(caught.value)
    assert caught.value.hint == HOSTS[extension].hint


@pytest.mark.parametrize("name", ["run.cmd", "run.bat"])
def test_batch_files_have_an_interpreter_everywhere(name):
    """Ours, under the Python that the platform's environment was made from."""
    made = start(name, "a b", find=which())
    assert made.host_name == "WindowsScriptHost"
    assert made.argv == (own_python(), "-I", "-S", "-X", "utf8", BATCH_FOLDER, name, "a b")
    assert made.shows == (BATCH_FOLDER,)
    assert Path(BATCH_FOLDER, "__main__.py").is_file()
    assert start("run.sh").shows == ()


def test_the_platforms_python_is_none_of_an_environment():
    """A sandbox shows no virtual environment of ours, so its links would lead nowhere."""
    found = Path(own_python())
    assert found.is_file()
    assert not found.is_symlink()
    assert not found.is_relative_to(sys.prefix) or sys.prefix == sys.base_prefix


def test_an_unknown_extension_is_refused_with_the_known_ones():
    """The refusal lists what would work."""
    with pytest.raises(MissingInterpreterError, match=r"\.rb.*\.sh, \.py"):
        start("run.rb")


def test_the_order_is_kudus_with_jar_after_js():
    """The walk of webjobs.md 1.3."""
    assert ORDER[:8] == (".cmd", ".bat", ".exe", ".ps1", ".sh", ".py", ".php", ".js")
    assert ORDER.index(".jar") == ORDER.index(".js") + 1


class TestExe:
    def test_a_linux_program_is_started_itself(self, tmp_path):
        """ELF with the execute bit needs nothing else."""
        script = write(tmp_path / "run.exe", b"\x7fELF....", 0o755)
        made = command(script, ["x"], which=which(), python="")
        assert (made.argv, made.host_name) == ((str(script), "x"), "WindowsScriptHost")

    def test_a_linux_program_without_permission_says_chmod(self, tmp_path, monkeypatch):
        """The refusal names the command that mends it."""
        monkeypatch.setattr("os.access", lambda *_: False)
        script = write(tmp_path / "run.exe", b"\x7fELF....")
        with pytest.raises(MissingInterpreterError, match=r"chmod \+x run\.exe"):
            command(script, [], which=which(), python="")

    def test_a_script_with_a_first_line_is_run_by_it_without_execute_bit(self, tmp_path):
        """The #! line is read as the kernel reads it: one argument at most."""
        script = write(tmp_path / "run.exe", b"#! /usr/bin/env -S ruby -w \nputs 1\n")
        made = command(script, [], which=which(), python="")
        assert made.argv == ("/usr/bin/env", "-S ruby -w", "run.exe")

    @pytest.mark.parametrize("runtime", ["mono", "dotnet"])
    def test_a_windows_program_runs_on_mono_or_dotnet(self, tmp_path, runtime):
        """A managed program is tried where a runtime is there."""
        script = write(tmp_path / "run.exe", b"MZ\x90\x00")
        made = command(script, [], which=which(runtime), python="")
        assert made.argv == (f"/usr/bin/{runtime}", "run.exe")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"MZ\x90", "Windows program.*mono"),
            (b"", "neither a Linux program"),
            (b"#!\n", "empty #! line"),
        ],
    )
    def test_anything_else_is_refused_in_words(self, tmp_path, content, message):
        """The refusal says what the file is and what to do."""
        script = write(tmp_path / "run.exe", content)
        with pytest.raises(MissingInterpreterError, match=message):
            command(script, [], which=which(), python="")


class TestFindPython:
    @pytest.fixture
    def path(self, tmp_path):
        """A PATH with the platform's environment before the system's."""
        for name in ("venv", "system"):
            (tmp_path / name / "bin").mkdir(parents=True)
            write(tmp_path / name / "bin" / "python3", b"#!/bin/sh\n", 0o755)
        return tmp_path

    def find(self, path, *folders):
        """Return in which of the folders a python3 was found."""
        text = ":".join(str(path / folder / "bin") for folder in folders)
        found = find_python(text, own=str(path / "venv"), base="/usr")
        return found and Path(found).relative_to(path).parts[0]

    def test_the_platforms_own_environment_is_passed_over(self, path):
        """A job never meets the platform's packages when there is another python3."""
        assert self.find(path, "venv", "system") == "system"

    def test_the_own_one_is_better_than_none(self, path):
        """On a machine without any other the job still runs."""
        assert self.find(path, "venv") == "venv"

    def test_none_is_none(self, path):
        """An empty PATH has no python3."""
        assert self.find(path) is None

    def test_outside_of_an_environment_the_first_one_wins(self, path):
        """Installed into the system, the platform has no environment to hide."""
        own = str(path / "venv")
        assert find_python(f"{own}/bin", own=own, base=own) == f"{own}/bin/python3"
