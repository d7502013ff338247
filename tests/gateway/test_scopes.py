"""Which key opens which route: every route of the management listener is held against the table."""

from __future__ import annotations

import re

import pytest
from management_fakes import START as NOW
from management_fakes import FakePlatform, a_run, management
from yarl import URL

from gateway.health import OPEN_PATHS
from gateway.kudu.routes import ROUTES as KUDU_ROUTES
from gateway.management import management_app
from gateway.native.openapi import ROUTES as NATIVE_ROUTES
from gateway.scopes import OPENS, TABLE, Need, Rights, Scope, need

_FILL = {"kind": "triggered", "path*": "some/file.txt", "rest*": "x"}


def filled(path):
    """Return a path of a template."""
    return re.sub(
        r"\{(\w+\*?)(?:=(\w+))?\}", lambda m: m[2] or _FILL.get(m[1], m[1].strip("*")), path
    )


def every_route():
    """Yield verb and path of every route there is."""
    for route in KUDU_ROUTES:
        yield from ((method, filled(route.path)) for method in sorted(route.methods))
    yield from ((route.method, filled(route.path)) for route in NATIVE_ROUTES)
    yield from [("GET", "/"), ("GET", "/metrics"), ("GET", "/openapi.json")]


@pytest.mark.parametrize(("method", "path"), list(every_route()))
def test_every_route_needs_a_scope(method, path):
    """A route without a row would be the master key's alone: give it one in `scopes.py`."""
    assert need(method, path) is not None, f"{method} {path} has no row"


def test_what_changes_something_needs_more_than_a_look():
    """No POST, PUT, PATCH or DELETE is open to who may only look, and no GET of secrets."""
    for row in TABLE:
        if set(row.methods.split()) & {"POST", "PUT", "PATCH", "DELETE"}:
            assert row.scope is not Scope.READ, row
    for path in ("/api/vfs/site/wwwroot/x", "/api/zip/site/", "/api/settings", "/api/hooks"):
        assert need("GET", path) == Need(Scope.DEPLOY), path


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", "/API/TriggeredWebJobs/report/", Need(Scope.READ, "report")),
        ("POST", "/jobs/triggered/report/run", Need(Scope.INVOKE, "report", runs=True)),
        ("POST", "/v1/jobs/triggered/report/run", Need(Scope.INVOKE, "report", runs=True)),
        ("POST", "/api/continuouswebjobs/report/run", None),
        ("GET", "/vfs/data/jobs/triggered/report/1/output_log.txt", Need(Scope.READ, "report")),
        ("GET", "/vfs/data/jobs/triggered/../../secrets/host.json", Need(Scope.READ, "..")),
        ("GET", "/vfs/data/jobsx/y", Need(Scope.DEPLOY)),
        ("DELETE", "/api/triggeredwebjobs/report", Need(Scope.DEPLOY)),
        ("GET", "/app.git/info/refs", Need(Scope.DEPLOY)),
        ("POST", "/v1/jobs/continuous/mail/debug", Need(Scope.DEBUG)),
        ("GET", "/v1/jobs/continuous/mail/debug/tunnel", Need(Scope.DEBUG)),
        ("POST", "/v1/keys", Need(Scope.ADMIN)),
        ("GET", "/nothing", None),
        ("PATCH", "/v1/jobs", None),
    ],
)
def test_needs(method, path, wanted):
    """The rows that matter most; what has none is the master key's."""
    assert need(method, path) == wanted


def test_scopes_open_what_they_say():
    """Admin opens all but the master key's; one job's key that job, in any case."""
    for scope in Scope:
        assert Rights(OPENS[scope]).reaches(Need(scope))
        assert Rights(OPENS[scope]).reaches(None) is (scope is Scope.ALL)
    one = Rights.of(["job:Report:run"])
    assert one.reaches(Need(Scope.INVOKE, "rePORT", runs=True))
    assert not one.reaches(Need(Scope.INVOKE, "other", runs=True))
    assert not one.reaches(Need(Scope.READ))
    assert not Rights.of(["invoke"]).reaches(Need(Scope.READ))
    assert not Rights.of(["deploy"]).reaches(Need(Scope.DEBUG))
    assert not Rights.of(["operate"]).reaches(Need(Scope.DEPLOY))


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    platform.triggered.runs["report"] = [a_run(1)]
    return platform


@pytest.mark.real
async def test_every_route_is_closed_to_a_key_of_too_little(platform):
    """401 without a key, 403 with one that opens something else: at the listener, for every one."""
    weak = {
        scope: platform.keys.create_scoped_key(scope, [scope], NOW) for scope in ("invoke", "read")
    }
    async with management(platform, {}) as client:
        for method, path in every_route():
            if path in OPEN_PATHS:
                continue
            answer = await client.request(method, path, allow_redirects=False)
            assert answer.status == 401, (method, path)
            for scope, key in weak.items():
                wanted = need(method, path)
                if wanted is None or wanted.scope.value != scope:
                    headers = {"x-functions-key": key}
                    answer = await client.request(
                        method, path, headers=headers, allow_redirects=False
                    )
                    assert answer.status == 403, (method, path, scope)


@pytest.mark.real
async def test_no_handler_is_outside_the_walk(platform):
    """What the application routes is Kudu's entry, /v1, health, or a page that is named above."""
    known = {route.path for route in NATIVE_ROUTES} | set(OPEN_PATHS)
    known |= {"/", "/metrics", "/openapi.json"}
    paths = {route.resource.canonical for route in management_app(platform.bundle).router.routes()}
    assert {path for path in paths if not path.startswith(("/{head", "/{repository"))} == known


@pytest.mark.real
async def test_key_of_one_job_runs_and_watches_it(platform):
    """It starts the job and follows the run; another job and the deletion are refused."""
    key = platform.keys.create_scoped_key("hook", ["job:report:run"], NOW)
    async with management(platform, {"Authorization": f"Bearer {key}"}) as client:
        answer = await client.post("/api/triggeredwebjobs/Report/run")
        assert answer.status == 202
        watched = await client.get(URL(answer.headers["Location"]).path)
        assert (await watched.json())["status"] == "Initializing"
        assert (await client.get("/api/triggeredwebjobs/report")).status == 200
        for method, path in (
            ("POST", "/api/triggeredwebjobs/other/run"),
            ("DELETE", "/api/triggeredwebjobs/report"),
            ("GET", "/api/webjobs"),
            ("POST", "/api/continuouswebjobs/report/stop"),
            ("GET", "/v1/keys"),
        ):
            refused = await client.request(method, path)
            assert refused.status == 403, path
            assert "job:report:run" in (await refused.json(content_type=None))["detail"]


@pytest.mark.real
async def test_address_with_a_key_runs_one_job_and_nothing_else(platform):
    """?code= is for web hooks: a key of one job, for its run alone."""
    own = platform.keys.create_scoped_key("hook", ["job:report:run"], NOW)
    wide = platform.keys.create_scoped_key("wide", ["admin"], NOW)
    async with management(platform, {}) as client:
        path = "/api/triggeredwebjobs/report/run"
        assert (await client.post(f"{path}?arguments=a&code={own}")).status == 202
        assert (await client.post(f"{path}?code={wide}")).status == 401
        assert (await client.get(f"/api/triggeredwebjobs/report?code={own}")).status == 401
        other = "/api/triggeredwebjobs/other/run"
        assert (await client.post(f"{other}?code={own}")).status == 403
    assert platform.triggered.started[0][2] == "a"


@pytest.mark.real
async def test_keys_are_made_listed_and_revoked_by_the_api(platform):
    """201 with the value once; the list has none; a revoked key is 401 from the next request."""
    async with management(platform) as client:
        body = {"name": "ci", "scopes": ["deploy", "job:report:run"]}
        answer = await client.post("/v1/keys", json=body)
        made = await answer.json()
        assert (answer.status, made["scopes"]) == (201, body["scopes"])
        (listed,) = (await (await client.get("/v1/keys")).json())["items"]
        assert listed == {key: made[key] for key in ("name", "scopes", "created_at")}
        headers = {"x-functions-key": made["key"]}
        assert (await client.get("/v1/jobs", headers=headers)).status == 200
        assert (await client.get("/v1/keys", headers=headers)).status == 403
        assert (await client.post("/v1/keys", json=body)).status == 409
        assert (await client.post("/v1/keys", json={"name": "x", "scopes": "read"})).status == 400
        assert (await client.post("/v1/keys", json={"name": "x", "scopes": ["x"]})).status == 400
        assert (await client.delete("/v1/keys/ci")).status == 204
        assert (await client.delete("/v1/keys/ci")).status == 404
        assert (await client.get("/v1/jobs", headers=headers)).status == 401
