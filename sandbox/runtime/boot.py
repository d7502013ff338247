"""Start of every guest interpreter: load this folder as `_runtime`, then step into a role.

Run by file path with `-I -S`, an empty environment and one inherited socket. Nothing public may
stay behind: neither a path of the platform nor the name `msgpack` (style.md 10), so that a user's
own `gateway.py`, `wire.py` or `msgpack` is what the user's code gets.

argv: boot.py ROLE FD MSGPACK_DIR [SITE_DIR ...]
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys


def load_runtime(folder: str, msgpack_dir: str) -> None:
    """Make `_runtime` importable and import the wire codec with its own, then hidden, msgpack."""
    spec = importlib.util.spec_from_file_location(
        "_runtime", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["_runtime"] = package
    spec.loader.exec_module(package)
    before = list(sys.path)
    sys.path.insert(0, msgpack_dir)
    try:
        importlib.import_module("_runtime.wire")
    finally:
        sys.path[:] = before
        for name in [n for n in sys.modules if n == "msgpack" or n.startswith("msgpack.")]:
            del sys.modules[name]
        sys.path_importer_cache.pop(msgpack_dir, None)


def main(argv: list[str]) -> None:
    """Load the runtime and run the role; returns when the role ends."""
    folder = os.path.dirname(os.path.abspath(__file__))
    # The folder of this file is sys.path[0] of a script, also with -I: user code must not see it.
    sys.path[:] = [p for p in sys.path if p != folder]
    role, fd, msgpack_dir, *site_dirs = argv
    # At once: for as long as it is called like any Python, it looks like a program of a job.
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(f"taak-{role}")
    load_runtime(folder, msgpack_dir)
    importlib.import_module(f"_runtime.{role}").main(int(fd), site_dirs)


if __name__ == "__main__":
    main(sys.argv[1:])
