"""A plain coroutine without any library: what it returns becomes the response.

It shows an entry point of its own, a route parameter, a function key (`x-functions-key`), a dict
that is sent as JSON, and a (body, status) pair. One worker serves many such calls at once.
"""

import os
import time

STARTED = time.monotonic()


async def status(req):
    facts = {
        "pid": os.getpid(),
        "uptime_s": round(time.monotonic() - STARTED, 3),
        "load": os.getloadavg()[0],
    }
    part = req.route_params.get("part")
    if part is None:
        return facts
    if part not in facts:
        return {"error": f"no such part; there are {', '.join(facts)}"}, 404
    return {part: facts[part]}
