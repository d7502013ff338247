"""Lateness of APScheduler with many jobs armed; half past each full second.

python scheduler.py ARMED SECONDS
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

_PART = 0.5


async def main(armed: int, count: int) -> list[float]:
    """Return the lateness of so many firings."""
    late: list[float] = []
    enough = asyncio.Event()

    async def fire() -> None:
        late.append((time.time() - _PART) % 1)
        if len(late) >= count:
            enough.set()

    scheduler = AsyncIOScheduler()
    far = datetime.now() + timedelta(days=30)  # noqa: DTZ005 - it reads plain times as local ones
    for number in range(armed):
        scheduler.add_job(int, "date", run_date=far + timedelta(seconds=number))
    first = datetime.fromtimestamp(int(time.time()) + 2 + _PART)  # noqa: DTZ006
    scheduler.add_job(fire, "interval", seconds=1, start_date=first)
    scheduler.start()
    await enough.wait()
    scheduler.shutdown(wait=False)
    return late[:count]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))))
