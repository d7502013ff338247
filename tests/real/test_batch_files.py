"""Batch files that write logs, tidy up folders, wait, and are told to end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from real.batch_folder import WAIT_S, Ended

pytestmark = [pytest.mark.real, pytest.mark.core]


def test_redirections_and_pipes(folder):
    """Logs of a job: appended, of a block, with errors, to nul; and what a pipe hands on."""
    folder.program("talk", "echo out; echo err >&2")
    ended = folder.run(
        r"""
        @echo off
        mkdir D:\home\Logs 2>nul
        set LOG=%HOME%\logs\job.log
        echo start>>%LOG%
        talk >> %LOG% 2>&1
        (
          echo one
          echo two
        ) >> "%LOG%"
        type %LOG% | find /v "o" | findstr /i ERR
        talk 2>nul | find /c "out"
        type < %LOG%
        <nul set /p "=no end"
        set /p FIRST=<%LOG%
        echo  of %FIRST%
        echo lost > nul
        echo x > D:\home\nowhere\x.txt
        exit /b
        """
    )
    assert (folder.base / "home/Logs/job.log").read_text().split() == (
        ["start", "out", "err", "one", "two"]
    )
    assert ended.out == ["err", "1", "start", "out", "err", "one", "two", "no end of start"]
    assert ended.err == "The system cannot find the path specified.\n"
    assert ended.code == 1


def test_files_and_folders(folder):
    """What scripts tidy up with: copy, xcopy, move, ren, del, rd, dir, pushd."""
    ended = folder.run(
        r"""
        @echo off
        md a\b c
        echo 1 > a\x.txt
        echo 2 > a\b\y.TXT
        copy /y A\X.txt c\z.log > nul
        xcopy a d /e /i /y /q
        copy a\x.txt+a\b\y.txt c\both.txt > nul
        ren c\z.log z2.log
        move c\z2.log d > nul
        del /q a\*.txt
        rd a
        rd /s /q a
        dir /b /s d
        pushd c
        dir /b
        popd
        if exist a\ (echo still) else echo gone
        del nothing.txt
        """
    )
    job = folder.job
    listed = [f"{job}/d/b", f"{job}/d/x.txt", f"{job}/d/z2.log", f"{job}/d/b/y.TXT"]
    assert ended.out == ["2 File(s) copied", *listed, "both.txt", "gone"]
    assert (job / "c/both.txt").read_text() == "1 \n2 \n"
    assert ended.err == "The directory is not empty.\nCould Not Find nothing.txt\n"
    assert ended.code == 0


def test_waiting_takes_its_time(folder):
    """`timeout` and a ping of the own machine are how a batch file sleeps."""
    begun = time.monotonic()
    ended = folder.run("@timeout /t 1 /nobreak >nul\n@ping -n 2 127.0.0.1 >nul\n@pause >nul\n")
    assert time.monotonic() - begun >= 2
    assert ended == Ended([], "", 0)


class TestSignals:
    def ready(self, process):
        """Wait until the program that the file started has said its pid."""
        return int(process.stdout.readline())

    def end(self, process):
        """Wait for the end, and return the code."""
        with process:
            out, _ = process.communicate(timeout=WAIT_S)
        return out, process.returncode

    def test_a_signal_ends_the_interpreter_and_its_program(self, folder):
        """No further line runs, and nothing is left."""
        folder.program("worker", "echo $$; exec sleep 300")
        process = folder.start("@worker\n@echo after\n")
        child = self.ready(process)
        process.terminate()
        assert self.end(process) == ("", -signal.SIGTERM)
        assert not Path(f"/proc/{child}").exists()

    def test_a_signal_reaches_both_sides_of_a_pipe(self, folder):
        """The forks of the interpreter pass it on."""
        folder.program("worker", "echo $$ >&2; exec sleep 300")
        process = folder.start("@worker | worker\n@echo after\n")
        children = [int(process.stderr.readline()) for _ in range(2)]
        process.terminate()
        assert self.end(process) == ("", -signal.SIGTERM)
        assert not any(Path(f"/proc/{child}").exists() for child in children)

    def test_a_program_that_ends_in_its_own_way_is_waited_for(self, folder):
        """It gets the signal once, as the platform sends it, and its code is the job's."""
        folder.program(
            "worker",
            """
            trap 'echo told' TERM
            echo $$
            rounds=0
            while [ $rounds -lt 20 ]; do sleep 0.05; rounds=$((rounds + 1)); done
            echo saved; exit 5
            """,
        )
        process = folder.start("@worker\n@echo after\n")
        child = self.ready(process)
        os.kill(child, signal.SIGTERM)
        assert process.stdout.readline() == "told\n"
        process.terminate()
        assert self.end(process) == ("saved\n", 5)

    def test_a_wait_of_the_interpreter_itself_ends(self, folder):
        """There is no program to wait for."""
        process = folder.start("@echo 1\n@timeout /t 300 >nul\n@echo after\n")
        self.ready(process)
        process.terminate()
        assert self.end(process) == ("", -signal.SIGTERM)
