"""Where peers live: one environment for each family below `.bench/`, made once and kept.

Packages come from the ordinary registries, by their names alone; which versions came is read from
what was installed and stands in the results. What cannot be installed is a reason, never a silence.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PLACE = Path(__file__).resolve().parents[2] / ".bench"
_INSTALL_S = 300
_ADDRESS = re.compile(r"[a-z]+://\S+")
_VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""

Versions = Mapping[str, str]


class UnavailableError(Exception):
    """A peer cannot be had on this machine; the text is the reason. Told and left out."""


def venv(name: str, packages: Sequence[str]) -> tuple[Path, Versions]:
    """Return the `bin` of a virtual environment with these packages, and their versions.

    Raises:
        UnavailableError: the environment or the packages cannot be had.
    """
    folder = PLACE / name
    programs = folder / "bin"
    if not _made(folder, packages):
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], f"a venv for {name}")
        pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
        _run([*pip, "--disable-pip-version-check", *packages], f"pip install {' '.join(packages)}")
        _stamp(folder, packages)
    text = _run([str(programs / "python"), "-c", _VERSIONS, *packages], f"versions of {name}")
    return programs, json.loads(text)


def target(name: str, package: str) -> tuple[Path, str]:
    """Return a folder with one package for `.python_packages`, and its version.

    Raises:
        UnavailableError: the package cannot be had.
    """
    folder = PLACE / name
    if not _made(folder, [package]):
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input"]
        where = ["--disable-pip-version-check", "--target", str(folder), package]
        _run([*pip, *where], f"pip install --target {package}")
        _stamp(folder, [package])
    found = next(folder.glob(f"{package}-*.dist-info"), None)
    return folder, found.name.removesuffix(".dist-info").rpartition("-")[2] if found else "?"


def node_modules(name: str, package: str) -> tuple[Path, Versions]:
    """Return a folder whose `node_modules` holds the package, and its version.

    Raises:
        UnavailableError: there is no node or npm, or the package cannot be had.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise UnavailableError(f"{program} is not installed (apt-get install nodejs npm)")
    folder = PLACE / name
    if not _made(folder, [package]):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true}\n')
        npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
        _run([*npm, "--prefix", str(folder), package], f"npm install {package}")
        _stamp(folder, [package])
    manifest = json.loads((folder / "node_modules" / package / "package.json").read_text())
    node = _run(["node", "--version"], "node --version").strip()
    return folder, {package: manifest["version"], "node": node.removeprefix("v")}


def program(name: str, package: str) -> Path:
    """Return a program of the machine that benchmarks do not install by themselves.

    Raises:
        UnavailableError: it is not there.
    """
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"{name} is not installed (apt-get install {package})")
    return Path(found)


def _made(folder: Path, packages: Sequence[str]) -> bool:
    stamp = folder / "made.json"
    return stamp.exists() and json.loads(stamp.read_text()) == _recipe(packages)


def _stamp(folder: Path, packages: Sequence[str]) -> None:
    (folder / "made.json").write_text(json.dumps(_recipe(packages)))


def _recipe(packages: Sequence[str]) -> list[str]:
    return [sys.version.split()[0], *packages]


def _run(command: Sequence[str], what: str) -> str:
    PLACE.mkdir(exist_ok=True)
    quiet = {**os.environ, "NO_UPDATE_NOTIFIER": "1", "PYTHONDONTWRITEBYTECODE": ""}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_S, env=quiet, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{what}: {_plain(str(error))}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise UnavailableError(f"{what}: {_plain(last)}")
    return done.stdout


def _plain(text: str) -> str:
    """Leave out addresses of registries and where this machine keeps its files."""
    return _ADDRESS.sub("(address)", text).replace(str(PLACE), ".bench")[:200]
