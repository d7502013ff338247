"""A timer function: removes old files from a scratch folder, every five minutes.

It shows a six-field schedule (second first), `past_due` after the platform was down, settings from
the environment, and a result that can be read afterwards: `taak logs cleanup`, or last.json.
"""

import json
import logging
import os
import tempfile
import time
from pathlib import Path

import azure.functions as func

log = logging.getLogger("cleanup")

# A folder of its own: a sample must never empty a folder that others use.
SCRATCH = Path(os.environ.get("CLEANUP_FOLDER") or Path(tempfile.gettempdir(), "taak-scratch"))
MAX_AGE_S = float(os.environ.get("CLEANUP_MAX_AGE_S") or 24 * 3600)


def main(timer: func.TimerRequest) -> None:
    SCRATCH.mkdir(parents=True, exist_ok=True)
    result = SCRATCH / "last.json"
    oldest = time.time() - MAX_AGE_S
    removed = 0
    for file in SCRATCH.iterdir():
        if file != result and file.is_file() and file.stat().st_mtime < oldest:
            file.unlink(missing_ok=True)
            removed += 1
    facts = {"removed": removed, "past_due": timer.past_due, "at": time.time()}
    result.write_text(json.dumps(facts) + "\n", "utf-8")
    log.info("cleanup removed %d files from %s", removed, SCRATCH)
