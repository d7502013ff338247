"""Compile the hot path to machine code, if that can be done here; else say so in one line.

python compile.py          make it, unless what is there was made from these very sources
python compile.py --needed exit code 0 if there is something to make, and all for it but mypy

The compiler is mypyc, which comes with mypy. The platform runs as well without: gateway/compiled.py
decides at each start.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from gateway import compiled

#: What each call passes through. They call each other directly, so they are compiled together.
HOT_PATH = (
    "gateway/fast_lane.py", "gateway/front_desk.py", "gateway/metrics.py", "gateway/reply.py",
    "gateway/request_reader.py", "gateway/routes.py",
    "scheduler/alarms.py", "scheduler/deadlines.py", "scheduler/dispatcher.py",
    "scheduler/function_pools.py", "scheduler/history.py", "scheduler/http_template.py",
    "scheduler/outcomes.py",
    "scheduler/pool.py", "scheduler/prefetch.py", "scheduler/seating.py",
    "scheduler/store/sqlite_ended_calls.py",
    "scheduler/store/sqlite_run_rows.py",
    "sandbox/call.py", "sandbox/channel.py", "sandbox/kept_answers.py", "sandbox/lent_bodies.py",
    "sandbox/progress.py", "sandbox/runtime/wire.py", "sandbox/worker.py",
)  # fmt: skip
_OURS = ("gateway", "scheduler", "sandbox")
_LOG = compiled.FOLDER.parent / "compile.log"  # of an attempt that failed


def main(arguments: list[str]) -> int:
    """Do what the command line asks; return the exit code."""
    if os.environ.get(compiled.PURE) or compiled.use():
        return 1 if arguments else 0
    missing = _missing()
    if arguments:
        return int(missing not in ("", "mypy") or _has_failed())
    if missing:
        print(f"taak: no {missing}: the hot path runs as plain Python")
    elif _has_failed():
        print(f"taak: the hot path could not be compiled ({_shown(_LOG)}) and runs as plain Python")
    else:
        print("taak: compiling the hot path, once for these sources ...", flush=True)
        _make()
    return 0


def _missing() -> str:
    """Return what a compilation would need and is not here."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return "C compiler"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python headers"
    if find_spec("mypyc") is None:
        return "mypy"
    return ""


def _has_failed() -> bool:
    """Tell whether it could not be made of these sources: it is not tried again."""
    if not _LOG.exists():
        return False
    return all(_LOG.stat().st_mtime > (compiled.ROOT / s).stat().st_mtime for s in _sources())


def _shown(file: Path) -> str:
    return os.path.relpath(file)


def _make() -> None:
    """Compile into a folder beside, and put it in place when it is whole."""
    compiled.FOLDER.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=compiled.FOLDER.parent, prefix="compiling-") as place:
        folder = Path(place)
        log = folder / "compile.log"
        with log.open("w") as out:
            step = [sys.executable, __file__, "--into", place]
            done = subprocess.run(step, stdout=out, stderr=out, cwd=compiled.ROOT, check=False)
        shutil.copy(log, _LOG)
        if done.returncode:
            print(f"taak: that failed ({_shown(_LOG)}): the hot path runs as plain Python")
            return
        _LOG.unlink()
        new = folder / "new"
        shutil.rmtree(compiled.FOLDER, ignore_errors=True)
        new.rename(compiled.FOLDER)


def _compile_into(place: Path) -> None:
    from mypyc.build import mypycify  # noqa: PLC0415  there only where it is needed
    from setuptools import Distribution  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    # Not our own configuration: types are judged elsewhere, with stubs that are not here.
    options = ["--config-file=", "--ignore-missing-imports", "--disable-error-code=import-untyped"]
    extensions = mypycify(
        [*options, *HOT_PATH], opt_level="2", debug_level="0", target_dir=str(place / "c")
    )
    command = build_ext(Distribution({"name": "taak", "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(place / "new"), str(place / "o")
    command.parallel = os.cpu_count()
    command.ensure_finalized()
    command.run()
    files = {
        extension.name: os.path.relpath(command.get_ext_fullpath(extension.name), place / "new")
        for extension in extensions
    }
    compiled.write_manifest(place / "new", files, _sources())


def _sources() -> set[str]:
    """Return the hot path and what it imports of ours: the compiler trusts the types in there."""
    imported = {file for module in HOT_PATH for file in _imported(compiled.ROOT / module)}
    return {Path(__file__).name, *HOT_PATH, *imported}


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                path = f"{name.replace('.', '/')}.py"
                if name.split(".")[0] in _OURS and (compiled.ROOT / path).exists():
                    yield path


if __name__ == "__main__":
    if sys.argv[1:2] == ["--into"]:
        _compile_into(Path(sys.argv[2]))
    else:
        sys.exit(main(sys.argv[1:]))
