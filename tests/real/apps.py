"""Small apps that tests write into a site."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from real.processes import ADDRESS

HTTP_BINDINGS = [
    {"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous"},
    {"type": "http", "name": "$return", "direction": "out"},
]

SLEEPER = f"""
import os, time
import azure.functions as func

def main(req: func.HttpRequest) -> func.HttpResponse:
    if "mark" in req.params:
        print("begun", req.params["mark"])
    time.sleep(float(req.params.get("s", 0)))
    return func.HttpResponse({ADDRESS} + " VERSION")
"""


class Notebook:
    """What code in sandboxes wants the test to know, whatever becomes of sandbox and platform.

    It is told over TCP, for no file is seen on both sides: CODE gives user code `note(text)`, which
    returns when the note is taken; TAAK, under "taak", lets it get here.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        port = self._server.getsockname()[1]
        self.taak: dict[str, Any] = {"network": "outbound", "ports": [port]}
        self.code = NOTE.replace("PORT", str(port))
        self._thread = threading.Thread(target=self._take)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join(10)
        self._server.close()

    def _take(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with suppress(OSError), connection, connection.makefile("rw") as lines:
                if (line := lines.readline()).endswith("\n"):  # else its writer was killed
                    self.notes.append(line.removesuffix("\n"))
                    lines.write("taken\n")


NOTE = """
def note(text):
    import socket
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        connection.sendall(text.encode() + b"\\n")
        connection.recv(9)
"""


def function(site: Path, name: str, code: str, taak: object = None, **trigger: object) -> Path:
    """Write an HTTP function; further keywords go into its trigger. Returns its code file."""
    return _function(site, name, code, [{**HTTP_BINDINGS[0], **trigger}, HTTP_BINDINGS[1]], taak)


def timer(
    site: Path, name: str, code: str, schedule: str, taak: object = None, **trigger: object
) -> Path:
    """Write a timer function."""
    binding = {
        "type": "timerTrigger", "name": "timer", "direction": "in", "schedule": schedule, **trigger
    }  # fmt: skip
    return _function(site, name, code, [binding], taak)


def _function(site: Path, name: str, code: str, bindings: list[Any], taak: object) -> Path:
    folder = site / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(code)
    document = {"bindings": bindings, **({"taak": taak} if taak else {})}
    (folder / "function.json").write_text(json.dumps(document))
    return folder / "__init__.py"


def job(site: Path, kind: str, name: str, script: str, code: str, **settings: object) -> Path:
    """Write a job; `kind` is triggered or continuous. Returns its folder."""
    folder = site / "App_Data" / "jobs" / kind / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / script).write_text(code)
    if settings:
        (folder / "settings.job").write_text(json.dumps(settings))
    return folder
