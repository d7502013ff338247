"""Lateness of uvloop's call_at with many timers armed; a quarter after each full second.

python call_at.py ARMED SECONDS
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

_PART = 0.25
_FAR_S = 86_400.0


async def main(armed: int, count: int) -> list[float]:
    """Return the lateness of so many firings."""
    loop = asyncio.get_running_loop()
    for number in range(armed):
        loop.call_later(_FAR_S + number, int)
    late: list[float] = []
    for _ in range(count):
        due = int(time.time() - _PART) + 1 + _PART
        fired: asyncio.Future[None] = loop.create_future()

        def fire(due: float = due, fired: asyncio.Future[None] = fired) -> None:
            late.append(time.time() - due)
            fired.set_result(None)

        loop.call_at(loop.time() + due - time.time(), fire)
        await fired
    return late


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))))
