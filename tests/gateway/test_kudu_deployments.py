"""/api/deployments in Kudu's shapes, from the records of deliveries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from management_fakes import START, FakePlatform, management

from scheduler.deployment import Deployment, DeploymentState
from scheduler.source.delivery_log import DeliveryLog
from scheduler.source.record import DeliveryRecord, DeliveryStatus, Owner, SourceKind

COMMIT = "c" * 40
FIRST, SECOND, THIRD = (f"2026010510000000000{n}" for n in range(3))


class FixedClock:
    def now(self):
        return START


@pytest.fixture
def platform(tmp_path):
    """Three deliveries: one that served, one that serves, one that failed."""
    platform = FakePlatform(tmp_path)
    done = DeliveryRecord(
        id=FIRST,
        kind=SourceKind.GIT,
        status=DeliveryStatus.SUCCESS,
        author="Ada",
        author_email="ada@example.org",
        deployer="git",
        message="first",
        commit=COMMIT,
        received_at=START,
        started_at=START,
        ended_at=START,
    )
    records = platform.deliveries.records
    records.write(done)
    records.write(replace(done, id=SECOND, kind=SourceKind.ZIP, commit="", message="second"))
    failed = {"status": DeliveryStatus.FAILED, "told": ("a.txt: bad",), "message": "third"}
    records.write(replace(done, id=THIRD, commit="", **failed))
    log = DeliveryLog(records.log_file(THIRD), FixedClock())
    log.say("one\ntwo")
    log.say("bad", 2)
    platform.store.recorded.append(
        Deployment(id=FIRST, state=DeploymentState.LIVE, reason="git", started_at=START)
    )
    return platform


async def test_the_list(platform):
    """Newest first, the active one marked; every field of Kudu's is there."""
    async with management(platform) as client:
        found = await (await client.get("/api/deployments")).json()
        assert [one["message"] for one in found] == ["third", "second", "first"]
        assert [one["active"] for one in found] == [False, True, False]
        assert [one["status"] for one in found] == [3, 4, 4]
        assert found[0]["status_text"] == "a.txt: bad"
        assert found[2]["id"] == COMMIT
        names = (
            "id status status_text author_email author deployer message progress received_time"
            " start_time end_time last_success_end_time complete active is_temp is_readonly url"
            " log_url site_name"
        )
        assert list(found[0]) == names.split()
        assert len(await (await client.get("/api/deployments?$top=1")).json()) == 1
        assert (await client.get("/api/deployments?$top=x")).status == 400


async def test_one_and_its_log(platform):
    """By id, by commit, as the latest; a log is an array of entries."""
    async with management(platform) as client:
        for wanted in (FIRST, COMMIT, COMMIT.upper()):
            assert (await (await client.get(f"/api/deployments/{wanted}")).json())[
                "message"
            ] == "first"
        assert (await (await client.get("/api/Deployments/latest/")).json())["message"] == "third"
        assert (await client.get("/api/deployments/nothing")).status == 404
        log = await (await client.get(f"/api/deployments/{THIRD}/log")).json()
        assert [(line["message"], line["type"]) for line in log] == [
            ("one", 0), ("two", 0), ("bad", 2),
        ]  # fmt: skip
        entry = await client.get(f"/api/deployments/{THIRD}/log/{log[1]['id']}")
        assert [line["message"] for line in await entry.json()] == ["two"]
        assert (await client.get(f"/api/deployments/{THIRD}/log/none")).status == 404


async def test_one_under_way_is_polled(platform):
    """202 with its own address until it has ended."""
    record = platform.deliveries.records.read(FIRST)
    pending = replace(record, id="20270101000000000000", status=DeliveryStatus.BUILDING)
    platform.deliveries.records.write(replace(pending, ended_at=None))
    async with management(platform) as client:
        answer = await client.get("/api/deployments/latest")
        assert answer.status == 202
        assert answer.headers["Location"].endswith("/api/deployments/latest")
        told = await answer.json()
        assert (told["complete"], told["end_time"]) == (False, None)


async def test_redeploying_is_a_rollback(platform):
    """Of what has served; what never did cannot."""
    async with management(platform) as client:
        answer = await client.put(f"/api/deployments/{COMMIT}", json={"clean": True})
        assert answer.status == 200
        assert platform.deliveries.rolled_back == [FIRST]
        assert (await client.put(f"/api/deployments/{THIRD}")).status == 404


async def test_forgetting(platform):
    """A record goes with its log; not that of what serves."""
    async with management(platform) as client:
        assert (await client.delete(f"/api/deployments/{SECOND}")).status == 409
        assert (await client.delete(f"/api/deployments/{THIRD}")).status == 204
        assert (await client.get(f"/api/deployments/{THIRD}")).status == 404


async def test_v1_log(platform):
    """The lines after those that are known, and whether more will come."""
    async with management(platform) as client:
        told = await (await client.get(f"/v1/deployments/{THIRD}/log?after=2")).json()
        assert [line["text"] for line in told["items"]] == ["bad"]
        assert (told["state"], told["complete"], told["build_failed"]) == ("failed", True, False)


async def test_zipdeploy_refuses_what_it_cannot_do(platform):
    """A packageUri is not fetched; a second one at a time is told so in Kudu's words."""
    async with management(platform) as client:
        answer = await client.put("/api/zipdeploy", json={"packageUri": "http://x/y.zip"})
        assert answer.status == 400
        answer = await client.post("/api/publish?type=war", data=b"")
        assert (answer.status, "type=zip" in await answer.text()) == (400, True)
        platform.deliveries.current = object()
        answer = await client.post("/api/zipdeploy", data=b"")
        assert answer.status == 409
        assert "currently in progress" in await answer.text()


async def test_uploads_of_what_source_control_owns(platform):
    """409, and nothing is received."""
    platform.deliveries.owned.add("report")
    platform.write_job("report", run_sh="echo")
    platform.take_jobs_from_site()
    async with management(platform) as client:
        named = {"Content-Disposition": "attachment; filename=run.sh"}
        for verb in ("PUT", "DELETE"):
            answer = await client.request(
                verb, "/api/triggeredwebjobs/report", data=b"x", headers=named
            )
            assert answer.status == 409
        assert (platform.site / "App_Data/jobs/triggered/report/run.sh").read_text() == "echo"


def test_records_survive_what_is_in_their_files(platform):
    """A file that cannot be read is no record; owners keep paths only."""
    records = platform.deliveries.records
    (records.folder / FIRST / "deployment.json").write_text("{")
    (records.folder / SECOND / "deployment.json").write_text('{"id": 1, "kind": 5}')
    assert [record.id for record in records.all()] == [THIRD]
    assert records.read("../../etc") is None
    records.owner_file.write_text('{"id": "x", "paths": ["a", 5]}')
    assert records.owner() == Owner("x", "", frozenset({"a"}))
