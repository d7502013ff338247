"""Start of a Python job under debugpy, in its sandbox and by its own Python.

The adapter runs in the process: one port is all that is listened at, so that it works where no
other may be bound, and a client that leaves may come back. Programs that the job starts are not
followed for it.

argv: debugpy_start.py DEBUGPY_FOLDER PORT wait|go SCRIPT [ARGUMENT ...]
"""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> None:
    """Listen, wait if that is wanted, and become the script."""
    folder, port, waits, *command = arguments
    # Of what lies beside debugpy the script must see nothing.
    sys.path[0] = os.path.dirname(folder)
    import debugpy  # noqa: PLC0415, T100

    del sys.path[0]
    debugpy.listen(("127.0.0.1", int(port)), in_process_debug_adapter=True)  # noqa: T100
    if waits == "wait":
        debugpy.wait_for_client()  # noqa: T100
    from _pydevd_bundle.pydevd_runpy import run_path  # noqa: PLC0415  debugpy brings it along

    sys.argv[:] = command
    sys.path.insert(0, os.path.dirname(os.path.abspath(command[0])))
    run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
