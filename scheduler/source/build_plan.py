"""What a tree asks to be built: one step for each manifest of dependencies, in its folder.

The app's root, each function and each job may have its own. Pure: an index and a few facts about
the machine in, steps out.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from scheduler.app_settings import lookup
from scheduler.file_index import Index
from scheduler.functions import Problem

DEPLOYMENT_FILE = ".deployment"
PACKAGES = ".python_packages/lib/site-packages"
#: What uv.lock says, as a requirements file; it is removed again.
EXPORTED = ".taak-requirements.txt"
_UV_LINKS = ("--link-mode", "hardlink")


class Tool(Enum):
    """A package manager; the value is its program."""

    UV = "uv"
    NPM = "npm"
    COMPOSER = "composer"
    SHELL = "bash"


#: What to do when it is not there.
HINTS = {
    Tool.UV: "uv comes with Taak: install Taak anew, or put uv on the PATH",
    Tool.NPM: "install it on this machine: apt-get install npm, or from nodejs.org",
    Tool.COMPOSER: "install it on this machine: apt-get install composer php-cli",
    Tool.SHELL: "install it on this machine: apt-get install bash",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    Attributes:
        folder: where it runs, relative to the tree.
        asked_by: the file that asks for it, relative to the tree.
        tool: its program; `arguments` follow.
        inputs: the files that its result depends on, if it depends on these alone: then the
            result is kept. Empty: it is made each time.
        output: what it makes, relative to its folder.
        python: the interpreter that packages are for.
    """

    folder: str
    asked_by: str
    tool: Tool
    arguments: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    output: str = ""
    python: str = ""


@dataclass(frozen=True, slots=True)
class Custom:
    """What a .deployment file says: a command of the app's own, and which folder is the app."""

    command: str = ""
    project: str = ""


class BuildPlanError(Exception):
    """The tree asks for something that cannot be understood."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def custom(text: str | None, settings: Mapping[str, str]) -> Custom:
    """Read a .deployment file (None: there is none); the app settings COMMAND and PROJECT win."""
    found: dict[str, str] = {}
    if text is not None:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(text)
        except configparser.Error as error:
            line = getattr(error, "lineno", 0) or 0
            told = f"is no INI file with a section [config]: {str(error).splitlines()[0]}"
            raise BuildPlanError(Problem(DEPLOYMENT_FILE, told, line=line)) from error
        if parser.has_section("config"):
            found = dict(parser.items("config"))
    command = lookup(settings, "COMMAND") or found.get("command", "")
    project = (lookup(settings, "PROJECT") or found.get("project", "")).replace("\\", "/")
    project = os.path.normpath(project.strip().lstrip("/")) if project.strip() else "."
    if project.startswith(".."):
        told = f"project = {project}: leads out of the tree; name a folder inside"
        raise BuildPlanError(Problem(DEPLOYMENT_FILE, told))
    if project.endswith("proj"):
        told = f"project = {project}: .NET projects are not built here; deploy what publish makes"
        raise BuildPlanError(Problem(DEPLOYMENT_FILE, told))
    return Custom(command.strip(), "" if project == "." else project)


def steps(
    tree: Index,
    functions: list[str],
    jobs: list[str],
    *,
    job_python: Callable[[], str],
    own_python: str = sys.executable,
) -> Iterator[Step]:
    """Yield what has to be made, the app's root first.

    Packages of functions are for the interpreter of the platform, those of jobs for theirs.
    """
    alone = not functions  # an app of jobs only: then its packages are theirs as well
    for folder in ("", *functions, *jobs):
        for_job = folder in jobs or (alone and not folder)
        yield from _python(tree, folder, job_python if for_job else lambda: own_python)
        yield from _node(tree, folder)
        yield from _php(tree, folder)


def _python(tree: Index, folder: str, python: Callable[[], str]) -> Iterator[Step]:
    names = ("requirements.txt", "pylock.toml")
    asked = next((name for name in names if _in(folder, name) in tree.entries), "")
    has_lock = _in(folder, "uv.lock") in tree.entries
    if not asked and has_lock and _in(folder, "pyproject.toml") in tree.entries:
        export = ("export", "--frozen", "--no-dev", "--no-emit-project", "--no-header")
        yield Step(folder, _in(folder, "uv.lock"), Tool.UV, (*export, "--quiet", "-o", EXPORTED))
        asked = EXPORTED
    if asked:
        file = _in(folder, "uv.lock" if asked == EXPORTED else asked)
        target = ("--python", python(), "--target", PACKAGES)
        arguments = ("pip", "install", *target, *_UV_LINKS, "-r", asked)
        yield Step(folder, file, Tool.UV, arguments, (file,), PACKAGES, python())


def _node(tree: Index, folder: str) -> Iterator[Step]:
    manifest = _in(folder, "package.json")
    if manifest not in tree.entries:
        return
    locks = [_in(folder, name) for name in ("npm-shrinkwrap.json", "package-lock.json")]
    lock = next((name for name in locks if name in tree.entries), "")
    verb = "ci" if lock else "install"
    quiet = ("--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier")
    inputs = (manifest, lock) if lock else ()
    yield Step(folder, manifest, Tool.NPM, (verb, *quiet), inputs, "node_modules")


def _php(tree: Index, folder: str) -> Iterator[Step]:
    manifest, lock = _in(folder, "composer.json"), _in(folder, "composer.lock")
    if manifest in tree.entries:
        quiet = ("--no-dev", "--no-interaction", "--no-progress", "--no-ansi")
        inputs = (manifest, lock) if lock in tree.entries else ()
        yield Step(folder, manifest, Tool.COMPOSER, ("install", *quiet), inputs, "vendor")


def _in(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
