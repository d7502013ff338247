from __future__ import annotations

from dataclasses import replace

import pytest
from management_fakes import FakePlatform, management

from scheduler.functions import HostSettings

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes whose app has one setting."""
    platform = FakePlatform(tmp_path)
    host = HostSettings(settings={"OWN": "o"})
    platform.catalog.swap(replace(platform.catalog.definition, host=host))
    return platform


async def test_settings_are_set_read_and_removed(platform):
    """6.7: POST 204, GET an object, GET of a key a JSON string or 404, DELETE 204."""
    async with management(platform) as client:
        answer = await client.post("/api/settings/", json={"K": "v", "N": 5, "T": True})
        assert (answer.status, await answer.read()) == (204, b"")
        everything = await (await client.get("/api/settings")).json()
        assert everything == {"OWN": "o", "K": "v", "N": "5", "T": "True"}
        assert await (await client.get("/api/settings/k")).json() == "v"
        await client.post("/api/settings", json={"own": "mine"})
        assert await (await client.get("/api/settings/OWN")).json() == "mine"
        for _ in range(2):
            assert (await client.delete("/api/settings/OWN")).status == 204
        assert await (await client.get("/api/settings/OWN")).json() == "o"
        missing = await client.get("/api/settings/NONE")
        assert missing.status == 404
        assert "'NONE'" in (await missing.json())["Message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"a": null}',
        b'{"a": {}}',
        b'{"a=b": "x"}',
        b'{"": "x"}',
        b"\xff",
    ],
)
async def test_bad_settings_are_refused(platform, body):
    """400 with a reason, and nothing is set."""
    async with management(platform) as client:
        answer = await client.post("/api/settings", data=body)
        assert answer.status == 400, body
        assert (await answer.json())["Message"]
        assert await (await client.get("/api/settings")).json() == {"OWN": "o"}
