"""A fork bomb in a sandbox, and its end: prints as JSON what was there and what stayed.

Only to be run within escapes.outer: a bomb that gets away must not get far (sandbox.md T6).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from real.sandboxes import Lines, launchers, until

from sandbox.spec import ResourceLimits, SandboxSpec

_MARK = "taak-bomb"
_ENOUGH = 60  # processes that fork as fast as they can
_LIMIT = 100
_BOMB = f"""
import os  # {_MARK}
while True:
    try:
        if os.fork() == 0:
            os.setsid()
    except OSError:
        pass
"""


async def main() -> None:
    """Start the bomb, wait until it has grown, end it, look."""
    spec = SandboxSpec(
        name="bomb",
        cwd="/",
        argv=(os.path.realpath(sys.executable), "-I", "-S", "-c", _BOMB),
        env={"PATH": os.defpath},
        limits=ResourceLimits(processes=_LIMIT),
    )
    async with launchers() as both:
        process = await both.run(spec, Lines())
        await until(lambda: len(_alive()) >= _ENOUGH, "the bomb's growth")
        grown, started = len(_alive()), time.monotonic()
        async with asyncio.timeout(60):
            await process.kill()
        print(
            json.dumps(
                {
                    "layers": process.layers,
                    "grown": grown,
                    "left": len(_alive()),
                    "seconds": round(time.monotonic() - started, 2),
                }
            )
        )


def _alive() -> list[str]:
    """Return the processes that bear the bomb's mark; those that have ended have no words left."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if _MARK.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(entry)
    return found


if __name__ == "__main__":
    asyncio.run(main())
