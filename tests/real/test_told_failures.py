"""Failures at the edges of a sandbox and of a deployment are told in words, on one platform."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real import apps
from real.platform import Platform

pytestmark = [pytest.mark.real]

GOOD = "def main(req):\n    return 'good'\n"
GREEDY = """
python3 -c 'x = bytearray(300 << 20); x[::4096] = bytes(b"x") * len(x[::4096])'
echo went on
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform on a site where nearly everything is wrong."""
    folder = tmp_path_factory.mktemp("told")
    site = folder / "site"
    site.mkdir()
    apps.function(site, "good", GOOD, {"start_timeout_s": 1.5})
    apps.function(site, "other", "from good import main\n")
    apps.function(site, "typo", GOOD, {"memory_mb": 64, "ports": [5432]})
    (site / "linked").symlink_to("good")
    apps.job(site, "triggered", "greedy", "run.sh", GREEDY, taak={"memory_mib": 100})
    platform = Platform(site, folder / "home")
    yield platform.start()
    if platform.running:
        platform.stop()


def problems(host: Platform) -> list[dict[str, Any]]:
    """Return what is wrong with what serves."""
    live = [d for d in host.v1("/deployments")["items"] if d["state"] == "live"]
    found: list[dict[str, Any]] = live[0]["problems"]
    return found


def test_another_functions_module_cannot_be_imported(host: Platform) -> None:
    """The hint says why and how to share, not to install it."""
    [problem] = [p for p in problems(host) if p["where"] == "other/__init__.py"]
    assert 'Hint: "good" is another function of this app' in problem["message"]
    assert '"taak": {"isolation": "app"}' in problem["message"]
    assert "requirements.txt" not in problem["message"]


def test_a_link_in_the_place_of_a_function_is_listed(host: Platform) -> None:
    """Among the problems, and on the screen that the start prints."""
    [problem] = [p for p in problems(host) if p["where"] == "linked"]
    assert "symbolic link to 'good'" in problem["message"]
    assert "linked: is a symbolic link" in host.told()


def test_keys_without_effect_are_on_the_screen(host: Platform) -> None:
    """With file, line and field, as a warning."""
    told = host.told()
    assert "taak.memory_mb: unknown key, ignored; did you mean 'memory_mib'?" in told
    assert "taak.ports: has no effect" in told
    assert "warning: typo/function.json:" in told


def test_a_child_that_is_killed_for_memory_is_told_by_its_run(host: Platform) -> None:
    """The program went on and ended well: the kernel's count is in the log and in the row."""
    started = host.v1("/jobs/triggered/greedy/run", {})
    run = host.wait_for_run(started["id"])
    if host.function("typo")["sandbox"]["memory"] != "cgroup":  # type: ignore[index]
        pytest.skip("memory is watched here: the watch ends the whole sandbox")
    assert (run["state"], run["exit_code"]) == ("success", 0)
    assert run["reason"].startswith("1 process was killed for want of memory")
    [log] = Path(host.home).glob("data/jobs/triggered/greedy/*/output_log.txt")
    text = log.read_text()
    assert "went on" in text
    assert "SYS WARN] 1 process was killed for want of memory" in text


def test_an_import_that_hangs_is_refused_and_the_old_release_serves(host: Platform) -> None:
    """The limit is named; a mended file goes live after it."""
    code = host.site / "good" / "__init__.py"
    code.write_text("while True: pass\n")
    refused = host.wait_until(
        lambda: next(
            (d for d in host.v1("/deployments")["items"] if d["state"] == "refused"), None
        ),
        what="the refusal",
    )
    [problem] = [p for p in refused["problems"] if p["where"] == "good/__init__.py"]
    assert "longer than 1.5 s" in problem["message"]
    assert "start_timeout_s" in problem["message"]
    assert host.get("/api/good").text == "good"
    code.write_text(GOOD.replace("good", "better"))
    host.wait_until(lambda: host.get("/api/good").text == "better", what="the mended version")
