from __future__ import annotations

import pytest
from management_fakes import START, FakePlatform, a_function, a_run, http, management

from scheduler.deployment import Deployment, DeploymentState
from scheduler.functions import Problem

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return an empty platform of fakes."""
    return FakePlatform(tmp_path)


async def page(platform):
    """Return the front page."""
    async with management(platform) as client:
        answer = await client.get("/")
        assert answer.status == 200
        assert answer.content_type == "text/html"
        return answer, await answer.text()


async def test_functions_and_jobs_are_on_the_page(platform):
    """Names, addresses, schedules, states and the latest run are seen."""
    platform.deploy_samples()
    platform.triggered.runs["report"] = [a_run(1)]
    _, text = await page(platform)
    for words in ("hello", "http://127.0.0.1:7071/api/hello", "0 0 3 * * *", "mail", "✓ success"):
        assert words in text
    assert "no runnable script" in text


async def test_empty_platform_says_what_to_do(platform):
    """An empty table is a hint, not a blank."""
    _, text = await page(platform)
    assert "None yet. Copy a folder" in text


async def test_a_refused_deployment_is_told(platform):
    """While an older release serves, the page says so and why."""
    problem = Problem("hi/function.json", "'{' is never closed", 1)
    beside = Problem("run.ps1", "needs pwsh", warning=True)
    platform.deployments.newest = [
        Deployment(
            id="d9",
            state=DeploymentState.REFUSED,
            reason="x",
            started_at=START,
            problems=(beside, problem),
        )
    ]
    _, text = await page(platform)
    assert "was refused" in text
    assert "hi/function.json:1" in text
    assert "pwsh" not in text, "a warning is no reason"


async def test_nothing_of_an_app_becomes_markup(platform):
    """Names and messages are escaped, and the page allows no script at all."""
    evil = "<script>alert(1)</script>"
    platform.deploy(
        a_function("a", http(evil), disabled=evil), problems=(Problem("x", evil, owner=evil),)
    )
    platform.not_ready = [evil]
    answer, text = await page(platform)
    assert "<script" not in text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Referrer-Policy"] == "no-referrer"
