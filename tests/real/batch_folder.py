"""Words for tests of batch files: a job's folder with a home and programs, and how a run ended."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.interpreters import BATCH_FOLDER, own_python

WAIT_S = 20


@dataclass(frozen=True)
class Ended:
    """What a batch file printed, and how it ended."""

    out: list[str]
    err: str
    code: int


@dataclass(frozen=True)
class Folder:
    """A job's folder, with a home and a folder of programs beside it."""

    base: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def job(self) -> Path:
        """Return where the batch file lies and runs."""
        return self.base / "job"

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Write a file relative to the base; batch files get the ends of lines of Windows."""
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(text).lstrip("\n")
        is_batch = path.suffix in {".cmd", ".bat"}
        path.write_bytes((text.replace("\n", "\r\n") if is_batch else text).encode())
        path.chmod(mode)
        return path

    def program(self, name: str, text: str = 'echo "$0" "$@"') -> Path:
        """Write a program of Linux that is on PATH."""
        return self.write(f"bin/{name}", f"#!/bin/sh\n{text}\n", 0o755)

    def start(self, text: str, *arguments: str, script: str = "run.cmd") -> subprocess.Popen[str]:
        """Start a batch file as the platform does."""
        self.write(f"job/{script}", text)
        (self.base / "home").mkdir(exist_ok=True)
        process = subprocess.Popen(
            [own_python(), "-I", "-S", "-X", "utf8", BATCH_FOLDER, script, *arguments],
            cwd=self.job,
            env={
                "PATH": f"{self.base}/bin:/usr/bin:/bin",
                "HOME": f"{self.base}/home",
                "WEBJOBS_NAME": "nightly",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, text: str, *arguments: str, script: str = "run.cmd") -> Ended:
        """Run a batch file to its end."""
        with self.start(text, *arguments, script=script) as process:
            out, err = process.communicate(timeout=WAIT_S)
        return Ended([line.rstrip() for line in out.splitlines()], err, process.returncode)

    def end_all(self) -> None:
        """End what a failed test has left running."""
        for process in self.started:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
