"""The bare repository in HOME/site/repository, and the few questions that are asked of it.

All of it is the real git, started without the operator's own configuration. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.git import hook
from scheduler.errors import BadRequestError, SchedulerError

NOTHING = "0" * 40
BRANCHES = ("master", "main")
MAX_PUSH_BYTES = 1024 * 1024 * 1024
MAX_TREE_BYTES = 4 * 1024 * 1024 * 1024
MAX_FILES = 100_000
_COMMAND_S = 120.0
#: A tree that names itself again and again lists without end; this is more than MAX_FILES take.
_MAX_OUTPUT_BYTES = 64 * 1024 * 1024
_CONFIG = {
    "core.bare": "true",
    "core.logAllRefUpdates": "true",
    "gc.autoDetach": "false",
    "http.receivepack": "true",
    "http.uploadpack": "true",
    "receive.denyDeletes": "false",
    "receive.denyNonFastForwards": "false",  # Kudu takes a forced push, which is how to go back
    "receive.fsckObjects": "true",
    "receive.shallowUpdate": "true",  # CI systems push from clones of one commit
    "receive.maxInputSize": str(MAX_PUSH_BYTES),
    "uploadpack.allowFilter": "false",
}


class GitMissingError(SchedulerError):
    """There is no git on this machine; gateway/errors.py answers 501."""


class GitFailedError(SchedulerError):
    """git itself failed; the message has its words."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What the record of a deployment says of a commit."""

    id: str
    author: str
    email: str
    message: str


class Repository:
    """One repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made = asyncio.Lock()

    async def open(self) -> None:
        """Make it, or bring its hook and configuration up to date."""
        async with self._made:
            if not (self.folder / "HEAD").exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                await self.git("init", "--quiet", "--bare", "--initial-branch", BRANCHES[0], ".")
            await asyncio.to_thread(self._configure)

    async def tip(self, branch: str) -> str:
        """Return the commit of a branch; NOTHING if there is no such branch."""
        code, told = await self._run(("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"))
        return told.strip() if code == 0 else NOTHING

    async def head(self) -> str:
        """Return the branch that HEAD names, whether there is one or not."""
        return (await self.git("symbolic-ref", "--short", "HEAD")).strip()

    async def commit(self, commit: str, where: Mapping[str, str]) -> Commit:
        """Return what is known of a commit; `where` tells where a push keeps its objects."""
        shown = ("log", "-1", "--no-show-signature", "--format=%H%x00%an%x00%ae%x00%B", commit)
        found, author, email, message = (await self.git(*shown, where=where)).split("\0", 3)
        return Commit(found, author, email, message.strip())

    async def survey(self, commit: str, where: Mapping[str, str]) -> list[str]:
        """Return the paths of submodules, whose files are in other repositories.

        Raises BadRequestError if the files are more than may be checked out: a pack is small beside
        what may come out of it.
        """
        listed = await self.git("ls-tree", "-r", "-l", "-z", commit, where=where)
        lines = [line.partition("\t") for line in listed.split("\0") if line]
        size = sum(int(told) for facts, _, _ in lines if (told := facts.split()[3]) != "-")
        if len(lines) > MAX_FILES or size > MAX_TREE_BYTES:
            raise BadRequestError(
                f"the commit holds {len(lines)} files of {size} bytes; the most is {MAX_FILES}"
                f" files of {MAX_TREE_BYTES} bytes"
            )
        return [path for facts, _, path in lines if facts.startswith("160000 ")]

    async def check_out(self, commit: str, folder: Path, where: Mapping[str, str]) -> None:
        """Write the files of a commit into an empty folder."""
        index = folder.with_name("git-index")
        env = {**where, "GIT_INDEX_FILE": str(index)}
        try:
            await self.git("read-tree", commit, where=env)
            await self.git(
                "--work-tree", str(folder), "checkout-index", "--all", "--force", where=env
            )
        finally:
            index.unlink(missing_ok=True)

    async def git(self, *arguments: str, where: Mapping[str, str] | None = None) -> str:
        """Run git on the repository and return what it prints. Raises GitFailedError."""
        code, told = await self._run(arguments, where)
        if code != 0:
            raise GitFailedError(f"git {arguments[0]} failed: {told.strip()[-2000:]}")
        return told

    async def _run(
        self, arguments: tuple[str, ...], where: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            git_program(),
            *arguments,
            cwd=self.folder,
            env={**environment(self.folder), **(where or {}), "GIT_DIR": str(self.folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_COMMAND_S):
                out, error = await asyncio.gather(
                    _all_of(process, process.stdout), _all_of(process, process.stderr)
                )
                await process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        code = process.returncode or 0
        return code, (out if code == 0 else error).decode("utf-8", "surrogateescape")

    def _configure(self) -> None:
        lines = [f"\t{name.split('.')[1]} = {value}\n" for name, value in _CONFIG.items()]
        sections = [f"[{name.split('.')[0]}]\n" for name in _CONFIG]
        text = "".join(part for pair in zip(sections, lines, strict=True) for part in pair)
        text = "[core]\n\trepositoryformatversion = 0\n" + text
        _write(self.folder / "config", text, 0o644)
        # A link to the file would be followed into the platform's own environment by python -I too.
        program = f"exec '{_quoted(sys.executable)}' -I -S '{_quoted(hook.__file__)}'\n"
        (self.folder / "hooks").mkdir(exist_ok=True)
        _write(self.folder / "hooks" / "pre-receive", f"#!/bin/sh\n{program}", 0o755)


async def _all_of(
    process: asyncio.subprocess.Process, stream: asyncio.StreamReader | None
) -> bytes:
    """Read to the end; end git and raise BadRequestError if it has too much to say."""
    assert stream is not None
    read, size = bytearray(), 0
    while chunk := await stream.read(64 * 1024):
        size += len(chunk)
        if size <= _MAX_OUTPUT_BYTES:
            read += chunk
        elif process.returncode is None:
            process.kill()  # what is in the pipe still has to be read: asyncio waits for its end
    if size > _MAX_OUTPUT_BYTES:
        raise BadRequestError(
            f"what git tells of this commit is longer than {_MAX_OUTPUT_BYTES} bytes: it holds"
            f" more than {MAX_FILES} files, or a message of that size"
        )
    return bytes(read)


def git_program() -> str:
    """Return the path of git. Raises GitMissingError."""
    found = shutil.which("git")
    if found is None:
        raise GitMissingError(
            "git is not installed on the platform's machine: apt-get install git;"
            " until then deploy with `taak deploy` or POST /api/zipdeploy"
        )
    return found


def environment(home: Path) -> dict[str, str]:
    """Return the environment of every git: nothing of the operator's, no question to a terminal."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ATTR_NOSYSTEM": "1",
        # What is of ours is ours, also where the platform's user differs from the folder's.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }


def _quoted(path: str) -> str:
    return path.replace("'", "'\\''")


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file unless it says the same already."""
    if path.is_file() and path.read_text("utf-8") == text:
        return
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(mode)
    draft.replace(path)
