"""One command of a build in a sandbox of its own: what it sees, what it may use, when it is ended.

Installers run code of strangers (setup.py, scripts of npm), so each is a lease like a job's run. It
knows nothing of what is built, or why.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from sandbox.cpu_time import tree_ticks
from sandbox.programs import program_mounts
from sandbox.spec import MIB, Exit, Mount, Network
from sandbox.users import Users
from scheduler.app_settings import lookup
from scheduler.clock import Clock
from scheduler.idle_rule import IdleRule
from scheduler.isolation import Isolation
from scheduler.job_program import Launcher, Process, watch_over
from scheduler.source.delivery_log import ProgramOutput
from scheduler.source.package_index import package_index

#: Silence, without output or processor time, after which a step is looked at, and after as much
#: again ended; SCM_COMMAND_IDLE_TIMEOUT, seconds.
IDLE_TIMEOUT_S = 60
#: Whose builds are, and checks of what they leave.
BUILD_USER = "build"
_LOOK_S = 1.0
#: A build that leaves less of the disk is ended: the store and the logs need some.
LEAST_FREE_BYTES = 256 * MIB
#: Of all package managers together; beyond it their caches are emptied.
CACHE_BYTES = 4096 * MIB
_ISOLATION = Isolation(
    network=Network.OUTBOUND,
    memory_mib=4096,
    processes=1024,
    open_files=4096,
    tmp_mib=4096,
    tmp_files=1_000_000,
)
_ALSO = ("node", "php", "git")  # what npm and composer start


class BuildSandbox:
    """Runs the commands of builds.

    Attributes:
        folder: what all commands see and may write to: links between caches and trees need one
            mount.
        settings: the app settings, read at the moment of use.
    """

    def __init__(
        self,
        launcher: Launcher,
        folder: Path,
        clock: Clock,
        *,
        settings: Mapping[str, str],
        environ: Mapping[str, str],
        users: Users | None = None,
        cpu_ticks: Callable[[int], int | None] = tree_ticks,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self._launcher = launcher
        self._clock = clock
        self._environ = environ
        self._users = users
        self._cpu_ticks = cpu_ticks

    @property
    def path(self) -> str:
        """Return where programs are looked for."""
        return self._environ.get("PATH", os.defpath)

    async def run(
        self,
        argv: Sequence[str],
        cwd: Path,
        output: ProgramOutput,
        *,
        environment: Mapping[str, str] | None = None,
        shows: Sequence[str] = (),
    ) -> Exit:
        """Run a program to its end, or until it has been silent for too long.

        `shows` are further programs that it has to see. Raises SandboxError if it cannot start.
        """
        found = package_index(self.settings, self._environ)
        isolation = replace(_ISOLATION, ports=found.ports)
        path = self.path
        programs = [argv[0], *shows, *filter(None, (shutil.which(n, path=path) for n in _ALSO))]
        mounts = [mount for program in programs for mount in program_mounts(program)]
        mounts += [Mount.at(folder) for folder in found.folders]
        spec = isolation.spec(
            BUILD_USER,
            cwd=str(cwd),
            argv=tuple(argv),
            env={**self._environment(path, cwd), **found.environment, **(environment or {})},
            mounts=dict.fromkeys([*mounts, Mount.at(self.folder, writable=True)]),
        )
        process = await self._launcher.run(spec, output)
        return await watch_over(process, self._end_when_silent(process, output))

    def _environment(self, path: str, cwd: Path) -> dict[str, str]:
        cache = self.folder / "cache"
        home = self.folder / cwd.relative_to(self.folder).parts[0] / "home"
        home.mkdir(exist_ok=True)
        self.give(home)
        for tool in ("", "uv", "npm", "pip", "composer"):
            _make_folder(cache / tool)
        self.give(cache)
        return {
            "PATH": path,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "CI": "true",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            "UV_CACHE_DIR": str(cache / "uv"),
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "PIP_CACHE_DIR": str(cache / "pip"),
            "npm_config_cache": str(cache / "npm"),
            "COMPOSER_CACHE_DIR": str(cache / "composer"),
            "COMPOSER_HOME": str(home / "composer"),
        }

    async def _end_when_silent(self, process: Process, output: ProgramOutput) -> None:
        timeout_s = self.seconds("SCM_COMMAND_IDLE_TIMEOUT", IDLE_TIMEOUT_S)
        rule = IdleRule(timeout_s, self._clock.monotonic())
        sample = partial(self._cpu_ticks, process.pid)
        told = (
            f"Command was aborted due to no output nor CPU activity for {timeout_s + 1} seconds. "
            "You can increase the SCM_COMMAND_IDLE_TIMEOUT app setting if needed."
        )
        while not rule.is_hung(self._clock.monotonic(), output.last_write, sample):
            await self._clock.sleep(_LOOK_S)
            if shutil.disk_usage(self.folder).free < LEAST_FREE_BYTES:
                told = f"Command was aborted: less than {LEAST_FREE_BYTES >> 20} MiB are free."
                break
        output.abort(told)
        await process.kill()

    def trim(self) -> None:
        """Empty caches that have grown too large; blocks."""
        cache = self.folder / "cache"
        files = (os.path.join(base, name) for base, _, names in os.walk(cache) for name in names)
        if sum(map(_size, files)) > CACHE_BYTES:
            shutil.rmtree(cache, ignore_errors=True)

    def give(self, folder: Path) -> None:
        """Let the user of builds write to a folder; blocks."""
        uid = self._users.uid(BUILD_USER) if self._users else 0
        if uid and os.lstat(folder).st_uid != uid:
            os.chmod(self.folder, 0o711)  # noqa: S103  to be walked through, not to be listed
            for base, names, files in os.walk(folder):
                for path in (base, *(os.path.join(base, name) for name in (*names, *files))):
                    os.lchown(path, uid, uid)

    def seconds(self, name: str, default: int) -> int:
        """Return a time that an app setting gives."""
        value = (lookup(self.settings, name) or "").strip()
        return int(value) if value.isdecimal() else default


def _make_folder(folder: Path) -> None:
    """Make a folder of the builds' own; what an earlier build has put in its place goes."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def _size(path: str) -> int:
    with suppress(OSError):
        return os.lstat(path).st_size
    return 0
