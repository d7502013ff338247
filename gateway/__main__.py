"""The command `taak` (also `python -m gateway`): hands the words of the command line to a verb.

It imports nothing heavy: what a verb needs is imported by that verb (`gateway/cli`).
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run one command line and leave with its exit code (`gateway/cli/exits.py`)."""
    from gateway.cli.app import run_command_line  # noqa: PLC0415

    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
