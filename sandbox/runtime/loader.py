"""Into the user's world: its paths, its settings, its modules, and from there the entry point.

Owns the import rules of functions.md 2 and the hints that go with a failed import. Each process
enters one app once and for good: nothing is ever reloaded or purged.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import site
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any, Final

from . import failures, hints, objects, packages, signature, stdio
from .objects import Entry

__all__ = ["Entry", "LoadError", "enter", "importable_side_effects", "load"]

APP: Final = "__app__"

# Descriptors that were open before user code ran: (number, device, inode).
_inherited: set[tuple[int, int, int]] = set()


class LoadError(Exception):
    """The function cannot be called, and every call is told why: args are (line, detail)."""

    def __init__(self, line: str, detail: str = "") -> None:
        super().__init__(line, detail)
        self.line = line
        self.detail = detail

    def __str__(self) -> str:
        return self.line


def enter(bind: Mapping[str, Any]) -> None:
    """Turn this process towards one app: settings, working directory, paths, output streams."""
    root = os.path.abspath(bind["root"])
    failures.belongs_to(root)
    hints.behind(bind.get("network") or "", bind.get("others") or "")
    os.environ.update(bind.get("settings") or {})
    if "TZ" in os.environ:
        time.tzset()
    os.chdir(root)
    # A release is immutable: not even byte code may appear in it.
    sys.dont_write_bytecode = True
    _clean_main()
    _set_paths(root, bind.get("package_paths") or ())
    _add_namespace(root)
    stdio.prepare()
    _inherited.update(_descriptors())


def load(function: Mapping[str, Any]) -> Entry:
    """Import the function's module and return its entry; LoadError says why there is none."""
    module = _import(module_name(function["script_file"]))
    name = function.get("entry_point") or "main"
    target = getattr(module, name, None)
    if not callable(target):
        what = "has no function" if target is None else "has something that cannot be called, named"
        raise LoadError(
            f'{function["script_file"]} {what} "{name}": define it, or set "entryPoint" in '
            "function.json"
        )
    try:
        return objects.entry(function, target)
    except signature.SignatureError as error:
        raise LoadError(f"cannot load the function {function['name']}: {error}") from None
    except Exception as error:  # no library at all, or a copy of the app's own that is no library
        raise _failed(error) from None


def module_name(script_file: str) -> str:
    """Return the name a script is imported by: `hello/__init__.py` is `__app__.hello`."""
    path = os.path.normpath(script_file)
    stem, extension = os.path.splitext(path)
    parts = stem.split(os.sep)
    if extension != ".py" or parts[0] in ("..", "") or "." in "".join(parts):
        raise LoadError(
            f'"{script_file}" cannot be imported: it must be a .py file under the app root whose '
            "path has no other dot"
        )
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join([APP, *parts])


def importable_side_effects() -> list[str]:
    """Return what the import left behind that a fork would break; empty if nothing (T7)."""
    found = []
    if (threads := _thread_count()) > 1:
        found.append(f"{threads - 1} thread(s) started while the module was imported")
    for fd, device, inode in sorted(_descriptors() - _inherited):
        if kind := _fork_hazard(fd):
            found.append(f"{kind} opened while the module was imported (descriptor {fd})")
        else:
            _inherited.add((fd, device, inode))
    return found


# --- the app's world ------------------------------------------------------------------------------


def _clean_main() -> None:
    """Give user code a `__main__` of its own: ours is the boot file and its arguments."""
    sys.modules["__main__"] = ModuleType("__main__")
    sys.argv[:] = [""]
    site.setquit()  # exit() and quit(), which -S leaves out


def _set_paths(root: str, package_paths: Any) -> None:
    """Order sys.path: the app's packages, what their .pth files add, the app, the library."""
    library = list(sys.path)
    for path in package_paths:
        site.addsitedir(os.path.join(root, path))
    added = [path for path in sys.path if path not in library]
    sys.path[:] = [*added, root, *library]
    packages.keep_last()


def _add_namespace(root: str) -> None:
    spec = ModuleSpec(APP, None, is_package=True)
    spec.submodule_search_locations = [root]
    sys.modules[APP] = module_from_spec(spec)


# --- import ---------------------------------------------------------------------------------------


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except BaseException as error:  # also SystemExit: a module that exits cannot be loaded
        raise _failed(error) from None
    finally:
        for stream in (sys.stdout, sys.stderr):
            stdio.flush(stream)  # a fork must not inherit what is written only half


def _failed(error: BaseException) -> LoadError:
    line, detail = failures.error_line(error), failures.traceback_text(error)
    file, number = failures.place(error)
    if isinstance(error, ImportError) and not hints.hint(error):
        detail = f"{detail}\n{_hint(error)}"
    elif isinstance(error, SyntaxError):
        line = f"{type(error).__name__}: {error.msg}"
        file, number = file or str(error.filename), number or error.lineno or 0
    if file:
        line = f"{line} ({file}, line {number})"
    return LoadError(failures.relative(line), failures.relative(detail))


def _hint(error: ImportError) -> str:
    app = sys.modules[APP].__path__
    searched = "\n".join(f"  {'.' if path in app else path}" for path in sys.path)
    advice = _MISSING if isinstance(error, ModuleNotFoundError) else _INCOMPLETE
    return f"Hint: {advice} {_HELP}\nSearched, in this order:\n{searched}"


_MISSING = (
    "the module is not in the app. Name its package in requirements.txt and install it into "
    ".python_packages/lib/site-packages (pip install -r requirements.txt --target "
    ".python_packages/lib/site-packages), or correct the import."
)
_INCOMPLETE = (
    "the module was found but does not give what is imported from it. Compare the version in "
    "requirements.txt with the installed one, and look for a file of the app with the same name."
)
_HELP = "Help on this error: https://aka.ms/functions-modulenotfound"


# --- side effects ---------------------------------------------------------------------------------


def _thread_count() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:  # a sandbox without /proc: only the threads that Python knows
        return len(sys._current_frames())  # noqa: SLF001


def _descriptors() -> set[tuple[int, int, int]]:
    found = set()
    for fd in _open_numbers():
        try:
            status = os.fstat(fd)
        except OSError:
            continue
        found.add((fd, status.st_dev, status.st_ino))
    return found


def _open_numbers() -> Iterator[int]:
    try:
        yield from map(int, os.listdir("/proc/self/fd"))
    except OSError:
        yield from range(256)


def _fork_hazard(fd: int) -> str:
    """Return what a descriptor is if two processes must not share it, else an empty text."""
    try:
        mode = os.fstat(fd).st_mode
        writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return ""
    if stat.S_ISREG(mode) and not writable:
        return ""
    return _HAZARDS.get(stat.S_IFMT(mode), "")


_HAZARDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
    stat.S_IFREG: "a file for writing",  # a database or a log: two writers would spoil it
    0: "an event descriptor",  # epoll, eventfd, timerfd: the kernel gives them no file type
}
