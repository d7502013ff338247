"""Batch files as they are found in WebJobs, run by the interpreter as a job's program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from real.batch_folder import Ended

from sandbox.batch.processes import exit_code
from sandbox.interpreters import BATCH_FOLDER

pytestmark = [pytest.mark.real, pytest.mark.core]


def test_the_line_that_dotnet_publish_writes(folder):
    """Its arguments reach the program as they were, its code is the job's, the line is shown."""
    folder.program("dotnet", 'for each in "$@"; do echo "[$each]"; done; exit 7')
    ended = folder.run("dotnet Mail.dll %*\n", "a b", 'say "hi" & exit', "100%")
    assert ended.out[:2] == ["", f'{folder.job}>dotnet Mail.dll "a b" "say ""hi"" & exit" "100%"']
    assert ended.out[2:] == ["[Mail.dll]", "[a b]", '[say "hi" & exit]', "[100%]"]
    assert (ended.code, ended.err) == (7, "")


def test_echo_off_shows_no_lines(folder):
    """A line with @ is not shown, and after @echo off none is."""
    ended = folder.run("@rem quiet\n@echo off\necho é %WEBJOBS_NAME%\necho.\n")
    assert ended == Ended(["é nightly", ""], "", 0)


def test_the_script_of_a_node_job(folder):
    """Fixed paths of Windows, %~dp0, a folder in another case, and node without .exe."""
    folder.program("node", 'echo "$@"')
    folder.write("job/Scripts/index.js", "")
    ended = folder.run(
        r"""
        @echo off
        setlocal
        cd /d %~dp0
        set NODE="D:\Program Files (x86)\nodejs\node.exe"
        if exist %NODE% (set RUNNER=%NODE%) else (set RUNNER=node.exe)
        %RUNNER% scripts\INDEX.js "%~dp0scripts\index.js" --when=^& "^\d+$"
        %NODE% again
        endlocal
        exit /b %ERRORLEVEL%
        """
    )
    script = f"{folder.job}/Scripts/index.js"
    assert ended.out == [rf"Scripts/index.js {script} --when=& ^\d+$", "again"]
    assert ended.err.startswith(r"run.cmd:7: D:\Program Files (x86)\nodejs\node.exe is not here")
    assert ended.code == 0


def test_a_published_program_is_found_without_its_extension(folder):
    """Worker.exe is, published for Linux, Worker; or a Worker.dll, which dotnet runs."""
    folder.program("dotnet", 'echo dotnet "$(basename "$1")" "$2"')
    folder.write("job/Worker", "#!/bin/sh\necho worker $1\n")
    folder.write("job/Mail.dll", "")
    ended = folder.run("@Worker.exe one\n@.\\mail.exe two\n")
    assert ended == Ended(["worker one", "dotnet Mail.dll two"], "", 0)


def test_variables_conditions_loops_and_jumps(folder):
    """A counter with goto, numbers of for /l, names of files, delayed expansion in a block."""
    for name in ("MailJob.dll", "b.dll", "c.txt"):
        folder.write(f"job/{name}", "")
    folder.write("job/list.txt", "head\nname: value of it\nrem: no\n")
    ended = folder.run(
        """
        @echo off
        set COUNT=0
        :again
        set /a COUNT+=1
        if %COUNT% lss 3 goto again
        echo counted %COUNT%
        for /l %%n in (10,-5,0) do echo %%n
        for %%f in (*Job.dll) do (
          set JOB=%%~nf
          goto :found
        )
        :found
        echo job %JOB%
        setlocal EnableDelayedExpansion
        set ALL=
        for %%f in (*.dll) do (
          if defined ALL (set ALL=!ALL!,%%f) else set ALL=%%f
        )
        echo !ALL!
        endlocal
        echo [%ALL%]
        for /f "skip=1 tokens=1,* delims=: " %%a in (
          'type list.txt ^| findstr /v rem'
        ) do echo %%b=%%a
        """
    )
    assert ended.out == (
        ["counted 3", "10", "5", "0", "job MailJob", "b.dll,MailJob.dll", "[]", "value of it=name"]
    )
    assert (ended.err, ended.code) == ("", 0)


def test_subroutines_and_other_files(folder):
    """`call` comes back with the ERRORLEVEL to the old parameters; without it, nothing does."""
    folder.write("job/other.cmd", "@echo other %1 %0\n@set SEEN=yes\n@exit /b 4\n")
    folder.write("job/last.bat", "@echo last\n@exit /b 6\n")
    ended = folder.run(
        """
        @echo off
        call :sub one "two three"
        echo %ERRORLEVEL% %1
        call other.cmd x
        echo %ERRORLEVEL% %SEEN%
        shift
        echo %1
        last
        echo never
        goto :eof
        :sub
        setlocal
        set SEEN=no
        echo %0 %~2 %SEEN%
        exit /b 3
        """,
        "outer",
        "second",
    )
    assert ended.out == [
        ":sub two three no",
        "3 outer",
        "other x other.cmd",
        "4 yes",
        "second",
        "last",
    ]
    assert ended.code == 6


def test_errorlevel_passes_through(folder):
    """Echo leaves it, && and || look at the command, and the last one is the job's code."""
    folder.program("fails", "exit ${1:-2}")
    ended = folder.run(
        """
        @echo off
        fails && echo no || echo failed %ERRORLEVEL%
        echo now %ERRORLEVEL%
        if errorlevel 2 if not errorlevel 3 echo two
        ver > nul && echo fine
        echo now %ERRORLEVEL%
        fails 300
        echo done
        """
    )
    assert ended.out == ["failed 0", "now 2", "two", "fine", "now 0", "done"]
    assert ended.code == 300 % 256


def test_a_missing_program_is_told_as_cmd_tells_it(folder):
    """ERRORLEVEL is 9009, and the file goes on."""
    ended = folder.run("@nosuch.exe x\n@if %errorlevel% equ 9009 echo further\n@exit /b 0\n")
    assert ended.out == ["further"]
    assert ended.err == (
        "'nosuch.exe' is not recognized as an internal or external command,\n"
        "operable program or batch file.\n"
    )
    assert ended.code == 0


def test_a_windows_program_says_what_it_needs(folder):
    """Without a runtime it fails, and says why."""
    folder.write("job/old.exe", "MZ and so on")
    ended = folder.run("@old.exe\n")
    assert "old.exe is a Windows program and needs `mono`" in ended.err
    assert ended.code == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("robocopy a b", "Write xcopy"),
        ("set /p NAME=who?", "asks for input"),
        ("start worker.exe", "without /wait"),
        ("del /p x", "`del /p` is not supported"),
        ("echo %~q1", "is not supported"),
        ("if a echo b", "was unexpected at this time"),
        ("echo a | reg query x", "no registry"),
        ("for /f %%i in ('wmic os') do echo %%i", "PowerShell 7"),
        ("cmd /c schtasks", "settings.job"),
        ("call :deep", "More than 200 calls"),
    ],
)
def test_what_is_not_known_is_refused_with_file_and_line(folder, line, told):
    """Nothing behind it runs, and the run fails: also from within a pipe, a loop or a call."""
    ended = folder.run(f"@echo off\necho before\n{line}\necho after\n:deep\ncall :deep\n")
    place = "run.cmd:6" if "deep" in line else "run.cmd:3"
    assert ended.err.startswith(f"{place}: ")
    assert told in ended.err
    assert len(ended.err.splitlines()) == 1
    assert (ended.out, ended.code) == (["before"], 255)


def test_a_bat_file_keeps_its_errorlevel_over_a_set(folder):
    """In .cmd a `set` that works clears it, in .bat it does not."""
    folder.program("fails", "exit 2")
    assert folder.run("@fails\n@set X=1\n", script="run.bat").code == 2
    assert folder.run("@fails\n@set X=1\n").code == 0


def test_the_interpreter_needs_nothing_but_its_folder_and_python(folder, tmp_path):
    """As in a sandbox: a copy of the folder elsewhere runs under a bare interpreter."""
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for path in Path(BATCH_FOLDER).glob("*.py"):
        (copy / path.name).write_bytes(path.read_bytes())
    folder.write("job/errors.py", "raise SystemExit('ours was shadowed')\n")
    folder.write("job/run.cmd", "@echo here\n")
    ended = subprocess.run(
        [sys.executable, "-I", "-S", copy, "run.cmd"],
        cwd=folder.job,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("here\n", "", 0)


def test_a_script_that_is_gone_is_told(folder):
    """In a line, as everything else."""
    (folder.base / "job").mkdir()
    ended = folder.run("@call nowhere.cmd\n@del run.cmd\n@call run.cmd\n@exit /b %errorlevel%\n")
    assert "'nowhere.cmd' is not recognized" in ended.err
    assert "'run.cmd' is not recognized" in ended.err
    assert ended.code == exit_code(9009)
