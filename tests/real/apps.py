"""Small apps that tests write into a site."""

from __future__ import annotations

import json
from pathlib import Path

HTTP_BINDINGS = [
    {"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous"},
    {"type": "http", "name": "$return", "direction": "out"},
]

SLEEPER = """
import os, time
import azure.functions as func

def main(req: func.HttpRequest) -> func.HttpResponse:
    if "mark" in req.params:
        open(req.params["mark"], "w").close()
    time.sleep(float(req.params.get("s", 0)))
    return func.HttpResponse(f"{os.getpid()} VERSION")
"""


def function(site: Path, name: str, code: str, **trigger: object) -> Path:
    """Write an HTTP function; further keywords go into its trigger. Returns its code file."""
    folder = site / name
    folder.mkdir(parents=True, exist_ok=True)
    bindings = [{**HTTP_BINDINGS[0], **trigger}, HTTP_BINDINGS[1]]
    (folder / "__init__.py").write_text(code)
    (folder / "function.json").write_text(json.dumps({"bindings": bindings}))
    return folder / "__init__.py"


def timer(site: Path, name: str, code: str, schedule: str, **trigger: object) -> Path:
    """Write a timer function."""
    folder = site / name
    folder.mkdir(parents=True, exist_ok=True)
    binding = {
        "type": "timerTrigger", "name": "timer", "direction": "in", "schedule": schedule, **trigger
    }  # fmt: skip
    (folder / "__init__.py").write_text(code)
    (folder / "function.json").write_text(json.dumps({"bindings": [binding]}))
    return folder / "__init__.py"


def job(site: Path, kind: str, name: str, script: str, code: str, **settings: object) -> Path:
    """Write a job; `kind` is triggered or continuous. Returns its folder."""
    folder = site / "App_Data" / "jobs" / kind / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / script).write_text(code)
    if settings:
        (folder / "settings.job").write_text(json.dumps(settings))
    return folder
