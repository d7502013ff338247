"""The npm package kudu-api works against the platform.

Every call of its webjobs, vfs, zip and settings modules, and of diagnostics, environment, command.
Not served, and so not called: sshkey, dump, site extensions, logs/recent. Deployments and scm have
tests of their own.
"""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import needs
import pytest
from real.platform import KEY, ROOT, Platform

pytestmark = pytest.mark.real

PACKAGE = "kudu-api@1.4.1"
#: Beside the sources, kept over runs, known to git as nothing of ours.
CACHE = ROOT / ".npm"
SCRIPT = (
    '#!/bin/bash\necho "got $# $2"\nwhile [ "$WEBJOBS_TYPE" = continuous ]; do sleep 0.2; done\n'
)


@pytest.fixture(scope="module")
def package() -> Path:
    """Return the folder in which the package is installed."""
    npm = needs.need("npm")
    if not (CACHE / "node_modules" / "kudu-api").is_dir():
        CACHE.mkdir(exist_ok=True)
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-save", "--silent"]
        done = subprocess.run(
            [npm, "install", "--prefix", CACHE, *options, PACKAGE],
            check=False, capture_output=True, timeout=120,
        )  # fmt: skip
        if done.returncode:  # what it says names the registry: nobody's business in a log
            pytest.skip(f"{needs.MISSING}: {PACKAGE}, npm cannot install it")
    return CACHE


@pytest.fixture(scope="module")
def told(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Return what each call of the package came back with."""
    node, base = needs.need("node"), tmp_path_factory.mktemp("kudu_api")
    (base / "site").mkdir()
    (base / "run.sh").write_text(SCRIPT)
    with zipfile.ZipFile(base / "job.ZIP", "w") as archive:
        archive.writestr("run.sh", SCRIPT)
        archive.writestr("lib/data.txt", "data")
    caller = base / "kudu_api.js"  # it writes a file beside itself
    caller.write_text((Path(__file__).parent / "kudu_api.js").read_text())
    platform = Platform(base / "site", base / "home").start()
    try:
        done = subprocess.run(
            [node, "--no-deprecation", caller, package, platform.management_url, KEY,
             base / "run.sh", base / "job.ZIP", base],
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + platform.told()
        results: dict[str, Any] = json.loads(done.stdout)
        with zipfile.ZipFile(base / "downloaded.zip") as archive:
            results["archive"] = sorted(archive.namelist())
        yield results
    finally:
        platform.stop()


STATUS = {
    "uploadTriggered": 200, "uploadTriggeredZip": 200, "uploadContinuous": 200,
    "uploadContinuousZip": 200, "uploadUnfit": 400, "listAll": 200, "listTriggered": 200,
    "listTriggeredAsSwagger": 200, "getTriggered": 200, "getTriggeredUnknown": 404,
    "runTriggered": 202, "runTriggeredUnknown": 404, "listTriggeredHistory": 200,
    "getTriggeredHistory": 200, "listContinuous": 200, "setContinuousSettings": 200,
    "getContinuousSettings": 200, "stopContinuous": 200, "getContinuousStopped": 200,
    "startContinuous": 200, "getContinuous": 200, "deleteContinuous": 200,
    "getContinuousDeleted": 404, "deleteTriggered": 200, "getTriggeredDeleted": 404,
    "createDirectory": 201, "uploadFile": 201, "uploadFileAgain": 204, "uploadFileStale": 412,
    "getFile": 200, "listFiles": 200, "deleteFileStale": 412, "deleteDirectoryFull": 409,
    "deleteFile": 200, "deleteDirectory": 200, "getFileDeleted": 404,
    "zipUpload": 200, "zipDownload": 200,
    "settingsSet": 204, "settingsList": 200, "settingsGet": 200, "settingsDel": 204,
    "settingsGetDeleted": 404,
    "diagnosticsList": 200, "diagnosticsGet": 200, "diagnosticsSet": 501, "diagnosticsDel": 501,
    "environment": 200, "command": 501,
}  # fmt: skip


def test_every_call_comes_back_as_the_package_expects(told: dict[str, Any]) -> None:
    """The status of each call; refusals and nothing else are errors in the package's eyes."""
    found = {label: told[label]["status"] for label in STATUS}
    assert found == STATUS, told
    jobs = {label for label in STATUS if label[:3] in {"upl", "get", "run", "lis"}}
    refused = {label for label in jobs if STATUS[label] >= 400 and "Triggered" in label}
    assert {label for label in jobs if told[label]["error"]} >= refused
    assert not [label for label in STATUS if STATUS[label] < 400 and told[label]["error"]], told


def test_jobs_have_the_shapes_that_the_package_hands_on(told: dict[str, Any]) -> None:
    """Names, states, the run's address and its log."""
    assert [job["name"] for job in told["listAll"]["data"]] == ["nightly", "zipped", "worker"]
    assert told["getTriggered"]["data"]["run_command"] == "run.sh"
    assert "/history/" in told["runTriggered"]["headers"]["location"]
    run = told["getTriggeredHistory"]["data"]
    assert (run["status"], run["job_name"]) == ("Success", "nightly")
    assert run["output_url"].endswith(".txt")
    assert told["getContinuousSettings"]["data"] == {"is_singleton": True}
    assert "/api/triggeredjobs/nightly/run" in told["listTriggeredAsSwagger"]["data"]["paths"]


def test_files_settings_and_archives_come_back_as_sent(told: dict[str, Any]) -> None:
    """What was put is what is got; failures are messages that the package parses."""
    assert told["getFile"]["data"] == SCRIPT
    assert [entry["name"] for entry in told["listFiles"]["data"]] == ["file.sh"]
    assert "If-Match" in told["uploadFileStale"]["error"]
    assert told["archive"] == ["lib/", "lib/data.txt", "run.sh"]
    assert told["settingsGet"]["data"] == "yes"
    assert told["settingsList"]["data"]["FROM_NPM"] == "yes"
    assert "does not exist" in told["diagnosticsGetUnknown"]["error"]
    assert told["environment"]["data"]["version"]
