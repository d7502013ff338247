"""Hot deploy on a real platform: by saving files, under load, broken and mended."""

from __future__ import annotations

import os
import shutil
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest
from real import apps
from real.platform import Platform, wait_until

pytestmark = [pytest.mark.real]

TWO_FILES = """
from shared import text
import azure.functions as func
MINE = "v1"
def main(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(f"{MINE} {text.TEXT}")
"""


class Load:
    """Calls at a steady pace on keep-alive connections, until it is stopped."""

    def __init__(self, platform: Platform, path: str, per_second: float = 50) -> None:
        self.answers: list[tuple[float, int, str]] = []
        self.errors: list[str] = []
        self._pause = 1 / per_second
        self._path = path
        base = urlsplit(platform.data_url)
        self._connection = HTTPConnection(base.hostname or "", base.port, timeout=20)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(30)
        self._connection.close()

    def _run(self) -> None:
        while not self._end.wait(self._pause):
            try:
                self._connection.request("GET", self._path)
                reply = self._connection.getresponse()
                self.answers.append((time.monotonic(), reply.status, reply.read().decode()))
            except OSError as error:
                self.errors.append(repr(error))

    @property
    def bodies(self) -> list[str]:
        return [body for _at, _status, body in self.answers]

    @property
    def statuses(self) -> set[int]:
        return {status for _at, status, _body in self.answers}


@pytest.fixture
def two_files(site: Path) -> Path:
    """A function that reads a constant of its own and one of a shared folder."""
    code = apps.function(site, "two", TWO_FILES)
    (site / "shared").mkdir()
    (site / "shared" / "text.py").write_text('TEXT = "v1"\n')
    return code


def test_an_edit_under_load_fails_no_call(two_files: Path, start_platform) -> None:
    """At 50 calls a second the new text comes within a second, and no call fails."""
    platform = start_platform()
    with Load(platform, "/api/two") as load:
        wait_until(lambda: len(load.answers) > 10)
        for version in range(2, 6):
            two_files.write_text(two_files.read_text().replace("v1", f"v{version}", 1))
            wait_until(lambda v=version: any(b.startswith(f"v{v}") for b in load.bodies))
            two_files.write_text(two_files.read_text().replace(f"v{version}", "v1", 1))
            before = len(load.answers)
            wait_until(lambda n=before: "v1 v1" in load.bodies[n:])
    assert load.errors == []
    assert load.statuses == {200}


def test_no_call_sees_a_mix_of_two_releases(two_files: Path, start_platform) -> None:
    """Two files saved together change together in the answers."""
    site = two_files.parent.parent
    platform = start_platform()
    with Load(platform, "/api/two", per_second=200) as load:
        for version in ("v2", "v3", "v4"):
            two_files.write_text(TWO_FILES.replace("v1", version))
            (site / "shared" / "text.py").write_text(f'TEXT = "{version}"\n')
            wait_until(lambda v=version: f"{v} {v}" in load.bodies, what=version)
    assert load.errors == []
    assert {tuple(body.split()) for body in load.bodies} == {
        (version, version) for version in ("v1", "v2", "v3", "v4")
    }


def test_a_broken_edit_is_refused_and_the_last_good_version_serves(
    two_files: Path, start_platform
) -> None:
    """The reason names file and line of the app; the mended file goes live."""
    platform = start_platform()
    two_files.write_text("def main(req):\n    return (\n")
    refused = platform.wait_until(
        lambda: next(
            (d for d in platform.v1("/deployments")["items"] if d["state"] == "refused"), None
        ),
        what="the refusal",
    )
    assert platform.get("/api/two").text == "v1 v1"
    [problem] = refused["problems"]
    assert (problem["where"], problem["line"]) == ("two/__init__.py", 2)
    assert "SyntaxError" in problem["message"]
    assert "releases" not in str(refused)
    two_files.write_text(TWO_FILES.replace("v1", "v5"))
    platform.wait_until(lambda: platform.get("/api/two").text == "v5 v1", what="the mended version")


def test_a_site_that_broke_while_the_platform_was_down(two_files: Path, start_platform) -> None:
    """After the restart the last good version serves, the refusal is told, a mended file serves."""
    platform = start_platform()
    live = platform.v1("/deployments")["items"]
    platform.stop()
    two_files.write_text("import no_such_module\ndef main(req):\n    return 'x'\n")
    platform.lines.clear()
    platform.start()
    assert platform.get("/api/two").text == "v1 v1"
    refused, *before = platform.v1("/deployments")["items"]
    assert (refused["state"], refused["reason"]) == ("refused", "start")
    assert before == live
    [problem] = refused["problems"]
    assert (problem["where"], problem["line"]) == ("two/__init__.py", 1)
    assert "no_such_module" in problem["message"]
    assert "the site as it is now was refused" in platform.told()
    assert "no_such_module" in platform.told()
    platform.restart(kill=True)
    assert platform.get("/api/two").text == "v1 v1"
    two_files.write_text(TWO_FILES.replace("v1", "v5"))
    platform.wait_until(lambda: platform.get("/api/two").text == "v5 v1", what="the mended version")


def test_a_site_that_changed_while_the_platform_was_down(two_files: Path, start_platform) -> None:
    """A good change goes live at the start; without one the restart is no deployment."""
    site = two_files.parent.parent
    job = "echo {} >> $WEBJOBS_DATA_PATH/told; sleep 99"
    apps.job(site, "continuous", "mail", "run.sh", job.format("old"))
    platform = start_platform()
    told = platform.home / "data/jobs/continuous/mail/told"
    platform.wait_until(told.exists)
    live = platform.v1("/deployments")["items"]
    platform.restart()
    assert platform.get("/api/two").text == "v1 v1"
    assert platform.v1("/deployments")["items"] == live
    platform.stop()
    told.unlink()
    two_files.write_text(TWO_FILES.replace("v1", "v5"))
    apps.job(site, "continuous", "mail", "run.sh", job.format("new"))
    platform.start()
    assert platform.get("/api/two").text == "v5 v1"
    newest = platform.v1("/deployments")["items"][0]
    assert (newest["reason"], newest["changed"]) == ("start", ["two", "continuous/mail"])
    platform.wait_until(lambda: told.exists() and told.read_text())
    assert told.read_text() == "new\n"


def test_a_load_error_is_told_once_on_the_screen(site: Path, start_platform) -> None:
    """In the table, with its place; the path of the release is nowhere."""
    apps.function(site, "imports", "import no_such_module\ndef main(req):\n    return 'x'\n")
    platform = start_platform()
    text = "".join(platform.lines)
    screen = text[text.index("FUNCTION") :]
    assert screen.count("no_such_module") == 1
    assert "(imports/__init__.py, line 1)" in screen
    assert platform.get("/api/imports").status == 500
    logged = str(platform.v1("/functions/imports/logs")["items"])
    assert "imports/__init__.py" in logged
    listed = str(platform.v1("/functions"))
    assert f"{platform.home}/releases" not in text + logged + listed.replace("'bundle'", "")


def test_routes_and_functions_come_and_go_without_a_restart(site: Path, start_platform) -> None:
    """A copied folder is served, a changed route moves, a removed folder answers 404."""
    platform = start_platform()
    assert platform.get("/api/sleeper").status == 404
    apps.function(site, "sleeper", apps.SLEEPER)
    platform.wait_until(lambda: platform.get("/api/sleeper").status == 200)
    apps.function(site, "sleeper", apps.SLEEPER, route="moved/{id:int}")
    platform.wait_until(lambda: platform.get("/api/moved/7").status == 200)
    assert platform.get("/api/sleeper").status == 404
    assert platform.get("/api/moved/x").status == 404
    shutil.rmtree(site / "sleeper")
    platform.wait_until(lambda: platform.get("/api/moved/7").status == 404)


def test_an_unchanged_function_keeps_its_worker_over_a_release(site: Path, start_platform) -> None:
    """Saving one function's file restarts no other function and no job."""
    apps.function(site, "keep", apps.SLEEPER)
    changed = apps.function(site, "change", apps.SLEEPER)
    apps.job(site, "continuous", "steady", "run.sh", "echo $$; exec sleep 300")
    platform = start_platform()
    worker = platform.get("/api/keep").text
    pid = platform.wait_until(lambda: (platform.job("steady") or {}).get("pid"))
    changed.write_text(apps.SLEEPER.replace("VERSION", "two"))
    platform.wait_until(lambda: platform.get("/api/change").text.endswith("two"))
    assert platform.get("/api/keep").text == worker
    assert (platform.job("steady") or {}).get("pid") == pid


def test_an_editor_that_saves_by_renaming_is_seen(site: Path, start_platform) -> None:
    """Write to a temporary name, rename over the file: one new release, no stray function."""
    code = apps.function(site, "sleeper", apps.SLEEPER)
    platform = start_platform()
    staged = code.with_name(".__init__.py.swp")
    staged.write_text(apps.SLEEPER.replace("VERSION", "renamed"))
    os.replace(staged, code)
    platform.wait_until(lambda: platform.get("/api/sleeper").text.endswith("renamed"))


def test_five_hundred_files_at_once_are_one_deployment(site: Path, start_platform) -> None:
    """A big copy settles first: all of it goes live, in few steps."""
    code = "from big import last\ndef main(req):\n    return str(last.NUMBER)\n"
    platform = start_platform()
    (site / "big").mkdir()
    for number in range(500):
        (site / "big" / f"file{number}.py").write_text(f"NUMBER = {number}\n" * 20)
    (site / "big" / "last.py").write_text("NUMBER = 499\n")
    apps.function(site, "sum", code)
    platform.wait_until(lambda: platform.get("/api/sum").text == "499", timeout_s=30)
    live = [d for d in platform.v1("/deployments")["items"] if d["state"] == "live"]
    assert len(live) <= 5
    refused = [d for d in platform.v1("/deployments")["items"] if d["state"] == "refused"]
    assert refused == []


def test_a_broken_function_does_not_keep_its_neighbours_from_starting(
    site: Path, start_platform
) -> None:
    """On a first start what works is served and the rest is listed with its reason."""
    apps.function(site, "good", apps.SLEEPER)
    apps.function(site, "imports", "import no_such_module\ndef main(req):\n    return 'x'\n")
    apps.function(site, "manifest", apps.SLEEPER)
    (site / "manifest" / "function.json").write_text('{"bindings": [}')
    platform = start_platform()
    assert platform.get("/api/good").status == 200
    assert platform.get("/api/imports").status == 500
    assert platform.get("/api/manifest").status == 404
    listed = {f["name"]: f for f in platform.v1("/functions")["items"]}
    assert listed["good"]["state"] == "ready"
    assert listed["imports"]["state"] == "error"
    assert "no_such_module" in str(listed["imports"])
    assert listed["manifest"]["state"] == "error"
    assert "function.json" in str(listed["manifest"]["problems"])
