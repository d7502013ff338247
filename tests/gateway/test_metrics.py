from __future__ import annotations

import pytest
from management_fakes import START, FakePlatform, a_function, http, management
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import BOUNDS, Metrics
from scheduler.deployment import Deployment, DeploymentState
from scheduler.store.errors import Unavailable

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    return platform


async def scrape(platform):
    """Return the samples of /metrics by name and labels."""
    async with management(platform) as client:
        answer = await client.get("/metrics")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        page = await answer.text()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def a_deployment(name, state=DeploymentState.LIVE):
    """Return an ended deployment."""
    return Deployment(id=name, state=state, reason="files", started_at=START)


def at(name, /, **labels):
    """Return the place of a sample."""
    return (name, tuple(sorted(labels.items())))


async def test_invocations_and_their_durations(platform):
    """Counts go by ending; the histogram is cumulative, with sum and count."""
    mark = platform.bundle.metrics.observe_invocation
    mark("hello", "http", "succeeded", 0.003)
    mark("hello", "http", "succeeded", 0.7)
    mark("hello", "http", "failed", 9999)
    found = await scrape(platform)
    total = "taak_invocations_total"
    assert found[at(total, function="hello", trigger="http", status="succeeded")] == 2
    assert found[at(total, function="hello", trigger="http", status="failed")] == 1
    bucket = "taak_invocation_duration_seconds_bucket"
    assert found[at(bucket, function="hello", le="0.0025")] == 0
    assert found[at(bucket, function="hello", le="0.005")] == 1
    assert found[at(bucket, function="hello", le="1.0")] == 2
    assert found[at(bucket, function="hello", le="+Inf")] == 3
    assert found[at("taak_invocation_duration_seconds_count", function="hello")] == 3
    assert found[at("taak_invocation_duration_seconds_sum", function="hello")] == pytest.approx(
        9999.703
    )


async def test_what_is_read_at_the_scrape(platform):
    """Workers, queue, jobs, requests, deployments and lags stand there under their names."""
    platform.deployments.newest = [a_deployment("d1")]
    platform.bundle.metrics.count_request("data", 200)
    platform.bundle.metrics.observe_lag("triggered", "report", 0.25)
    platform.bundle.metrics.count_refusal("data", "slow-head")
    platform.bundle.metrics.open_connections["data"] = lambda: 7
    found = await scrape(platform)
    assert found[at("taak_connections", listener="data")] == 7
    assert found[at("taak_http_refused_total", listener="data", reason="slow-head")] == 1
    assert found[at("taak_workers", function="hello", state="busy")] == 1
    assert found[at("taak_workers", function="hello", state="idle")] == 2
    assert found[at("taak_calls_waiting", function="hello")] == 4
    assert found[at("taak_queue_depth", function="hello", state="ready")] == 3
    assert found[at("taak_job_up", job="mail", kind="continuous", instance="here")] == 1
    assert found[at("taak_job_up", job="report", kind="triggered", instance="here")] == 0
    assert found[at("taak_job_restarts_total", job="mail", instance="here")] == 2
    assert found[at("taak_deploys_total", result="live")] == 1
    assert found[at("taak_http_requests_total", listener="data", code="200")] == 1
    assert found[at("taak_schedule_lag_seconds", kind="triggered", name="report")] == 0.25
    assert found[at("taak_event_loop_lag_seconds")] == 0
    assert found[at("taak_ready")] == 1
    assert found[at("taak_build_info", version="0.1.0", instance="here")] == 1


async def test_series_of_removed_functions_vanish(platform):
    """After a function is removed no series names it any more, and none is kept in memory."""
    metrics = platform.bundle.metrics
    metrics.observe_invocation("hello", "http", "succeeded", 0.1)
    metrics.observe_lag("function", "nightly", 1.0)
    platform.deploy(a_function("other", http("other")))
    found = await scrape(platform)
    assert not [place for place in found if ("function", "hello") in place[1]]
    assert not [place for place in found if ("name", "nightly") in place[1]]
    assert metrics.invocations == {}


async def test_store_failure_costs_its_own_series_only(platform):
    """A scrape succeeds without the store and says that it is down."""
    platform.store.broken = Unavailable("disk full")
    found = await scrape(platform)
    assert found[at("taak_store_up")] == 0
    assert not [place for place in found if place[0] == "taak_queue_depth"]
    assert found[at("taak_workers", function="hello", state="busy")] == 1


async def test_answers_of_management_are_counted(platform):
    """Refusals at the door count as well."""
    async with management(platform, {}) as client:
        await client.get("/v1/status")
    assert platform.bundle.metrics.requests == {("management", 401): 1}


def test_deployments_are_counted_once():
    """A deployment that two scrapes see counts once; a refused one counts as such."""
    metrics = Metrics()
    first, second = a_deployment("d1"), a_deployment("d2", DeploymentState.REFUSED)
    metrics.count_deployments([first])
    metrics.count_deployments([second, first])
    metrics.count_deployments([second, first])
    metrics.count_deployments([])
    assert metrics.deploys == {"live": 1, "refused": 1}


def test_bounds_are_upper_bounds():
    """A duration equal to a bound counts in its bucket (Prometheus: less or equal)."""
    metrics = Metrics()
    metrics.observe_invocation("f", "http", "succeeded", BOUNDS[3])
    assert metrics.invocations["f", "http", "succeeded"].counts[3] == 1


async def test_loop_lag_is_the_worst_of_the_last_seconds():
    """One late turn of the loop is told until it is 30 samples old."""
    metrics = Metrics()
    late = iter([0.0, 0.2, *[0.0] * 29, 0.0])
    now = 0.0

    async def sleep(seconds):
        nonlocal now
        try:
            now += seconds + next(late)
        except StopIteration:
            raise EOFError from None
        if now < 1.5:
            seen.append(metrics.loop_lag_s)

    seen: list[float] = []
    with pytest.raises(EOFError):
        await metrics.watch_loop(clock=lambda: now, sleep=sleep)
    assert seen == [0.0, 0.0]
    assert metrics.loop_lag_s == 0.0
    assert len(metrics._lags) == 30
