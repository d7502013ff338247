"""Code that ends its process before it serves: told, tried in bounds, healed by a new file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from real import apps
from real.platform import Platform
from real.processes import name, outside, parent

pytestmark = [pytest.mark.real, pytest.mark.core]

EXITS = "import os\nos._exit(3)\ndef main(req): return 'x'\n"
GOOD = "def main(req): return 'good'\n"
# The thread makes workers import by themselves; each notes that it does, and ends.
LATE = """
import os, threading, time
with open(f"/proc/{os.getppid()}/comm") as comm:
    if comm.read().strip() == "taak-zygote":
        note("import")
        os._exit(4)
threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
def main(req): return "x"
"""
PRINTS = """
import os
def main(req):
    os.system("printf no-end")
    return "done"
"""
LAST_WORDS = """
import os
def main(req):
    os.write(1, b"last words")
    os._exit(5)
"""


def texts(platform: Platform, name: str) -> list[str]:
    return [line["text"] for line in platform.v1(f"/functions/{name}/logs")["items"]]


def test_code_that_ends_the_process_at_import_is_the_functions_error(
    site: Path, start_platform
) -> None:
    """On the start screen, in /v1 and at each call at once, until the file is mended."""
    code = apps.function(site, "exits", EXITS)
    apps.function(site, "other", GOOD)
    platform: Platform = start_platform()
    reason = "the process ended while it imported the function's code (exit code 3)"
    row = [line for line in platform.lines if line.split()[:2] == ["exits", "http"]]
    assert len(row) == 1, platform.told()
    assert " ERROR " in row[0]
    assert reason in row[0]
    for _ in range(10):
        shape = platform.v1("/functions/exits")
        assert (shape["state"], shape["reason"]) == ("error", reason)
        began = time.monotonic()
        assert platform.get("/api/exits").status == 500
        assert time.monotonic() - began < 2
    assert sum(reason in text for text in texts(platform, "exits")) == 10
    assert platform.get("/api/other").text == "good"
    code.write_text(GOOD)
    platform.wait_until(lambda: platform.get("/api/exits").text == "good", what="the mended code")
    assert platform.v1("/functions/exits")["state"] == "ready"


def test_workers_that_end_at_import_are_no_fork_storm(
    site: Path, start_platform, notebook: apps.Notebook
) -> None:
    """A few attempts, with pauses; the calls get their 500 with the reason in the log."""
    apps.function(site, "late", notebook.code + LATE, notebook.taak)
    platform: Platform = start_platform()
    shape = platform.v1("/functions/late")
    assert shape["state"] == "error"
    assert "a worker ended before its first call: exit code 4" in shape["reason"]
    before = len(notebook.notes)
    assert before > 0
    began = time.monotonic()
    while time.monotonic() - began < 2:
        assert platform.get("/api/late").status == 500
    assert len(notebook.notes) - before <= 8
    assert any("exit code 4" in text for text in texts(platform, "late"))


def test_an_init_is_only_mourned_when_it_was_killed(site: Path, start_platform) -> None:
    """Nothing is said of an orderly stop, a redeploy or code that ends at import."""
    apps.function(site, "exits", EXITS)
    code = apps.function(site, "changes", GOOD)
    for number in range(4):
        apps.function(site, f"good{number}", apps.SLEEPER)
    platform: Platform = start_platform()
    for number in range(4):
        assert platform.get(f"/api/good{number}").status == 200
    assert platform.get("/api/exits").status == 500
    code.write_text("def main(req): return 'changed'\n")
    platform.wait_until(lambda: platform.get("/api/changes").text == "changed")
    assert platform.stop() == 0
    assert not any("was killed" in line for line in platform.lines), platform.told()
    platform.start()
    init = parent(parent(outside(platform.get("/api/good0").text.split()[0])))
    assert name(init) == "taak-init"
    os.kill(init, 9)
    platform.wait_until(lambda: any("was killed" in line for line in platform.lines))
    assert platform.get("/api/good0").status == 200
    assert platform.stop() == 0
    assert sum("was killed" in line for line in platform.lines) == 1, platform.told()


def test_raw_output_without_an_end_is_shown_after_the_call(site: Path, start_platform) -> None:
    """`printf x` of a subprocess is in the log though nothing follows; so are last words."""
    apps.function(site, "prints", PRINTS)
    apps.function(site, "dies", LAST_WORDS)
    platform: Platform = start_platform()
    assert platform.get("/api/prints").text == "done"
    platform.wait_until(lambda: texts(platform, "prints") == ["no-end"], timeout_s=5)
    assert platform.get("/api/dies").status == 500
    platform.wait_until(lambda: "last words" in texts(platform, "dies"), timeout_s=5)
