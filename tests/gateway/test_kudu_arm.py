from __future__ import annotations

import json

import pytest
from management_fakes import FakePlatform, a_run, management

from scheduler.functions import JobKind

pytestmark = pytest.mark.real

SITE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/shop/slots/test"
GEO = {"x-ms-geo-location": "West Europe"}


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    return platform


def referred(path):
    """Return the headers of a request that the resource manager passes on."""
    return {**GEO, "Referer": f"https://management.example{SITE}{path}?api-version=1"}


async def test_single_objects_are_wrapped(platform):
    """6.1: id is the referring path; type and name alternate after Microsoft.Web."""
    async with management(platform) as client:
        headers = referred("/triggeredwebjobs/report")
        told = await (await client.get("/api/triggeredwebjobs/report", headers=headers)).json()
    assert list(told) == ["id", "name", "type", "location", "properties"]
    assert told["id"] == f"{SITE}/triggeredwebjobs/report"
    assert told["type"] == "Microsoft.Web/sites/slots/triggeredwebjobs"
    assert told["name"] == "shop/test/report"
    assert told["location"] == "West Europe"
    assert told["properties"]["name"] == "report"


async def test_lists_are_values_whose_ids_end_in_names(platform):
    """6.1: lists are {value: […]}; without a Referer the id begins with the request's path."""
    async with management(platform) as client:
        told = await (await client.get("/api/webjobs", headers=GEO)).json()
        assert list(told) == ["value"]
        assert [each["id"] for each in told["value"]] == [
            "/api/webjobs/report",
            "/api/webjobs/mail",
        ]
        assert told["value"][0]["type"] is None
        headers = referred("/continuouswebjobs")
        told = await (await client.get("/api/continuouswebjobs", headers=headers)).json()
    assert told["value"][0]["name"] == "shop/test/mail"


async def test_history_is_a_list_of_runs(platform):
    """6.1: {value: […]} of runs in their envelopes, and one run alone."""
    job = platform.catalog.job(JobKind.TRIGGERED, "report")
    platform.folders.data(job).mkdir(parents=True)
    platform.triggered.runs["report"] = [run := a_run(1)]
    async with management(platform) as client:
        path = "/api/triggeredwebjobs/report/history"
        told = await (await client.get(path, headers=GEO)).json()
        assert told["value"][0]["properties"]["id"] == run.public_id
        assert told["value"][0]["id"] == f"{path}/{run.public_id}"
        one = await (await client.get(f"{path}/{run.public_id}", headers=GEO)).json()
        assert one["properties"]["status"] == "Success"


async def test_run_is_200(platform):
    """6.1: a 202 would make the resource manager poll."""
    async with management(platform) as client:
        answer = await client.post("/api/triggeredwebjobs/report/run", headers=GEO)
        assert answer.status == 200
        assert "/history/" in answer.headers["Location"]


async def test_put_writes_settings_only(platform):
    """6.1: {properties: {settings: {…}}}; an unknown job is 404, another body 400."""
    platform.write_job("report", run_sh="true")
    async with management(platform) as client:
        path, body = "/api/triggeredwebjobs/report", {"properties": {"settings": {"schedule": "x"}}}
        answer = await client.put(path, headers=GEO, json=body)
        assert answer.status == 200
        assert (await answer.json())["properties"]["name"] == "report"
        assert (await client.put("/api/triggeredwebjobs/no", headers=GEO, json=body)).status == 404
        for bad in ({}, {"properties": 1}, {"properties": {"settings": []}}):
            assert (await client.put(path, headers=GEO, json=bad)).status == 400
    folder = platform.site / "App_Data/jobs/triggered/report"
    assert json.loads((folder / "settings.job").read_text()) == {"schedule": "x"}
    assert (folder / "run.sh").exists()


async def test_swagger_is_wrapped(platform):
    """6.1: it is an object like the others."""
    async with management(platform) as client:
        told = await (await client.get("/api/triggeredwebjobsswagger", headers=GEO)).json()
    assert told["properties"]["swagger"] == "2.0"
