from __future__ import annotations

import base64
import json

import pytest
from management_fakes import KEY, MASTER, FakePlatform, management

from gateway.auth import SESSION_COOKIE, function_key, presented_key
from gateway.scopes import Scope, need

pytestmark = pytest.mark.real


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    return FakePlatform(tmp_path)


def basic(text):
    """Return the header value of basic authentication."""
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def with_system_key(platform, scope):
    """Add a key of this scope to the home and return the header that presents it."""
    host = platform.keys.host_keys().wire()
    host["systemKeys"] = [{"name": "s", "value": "scoped", "taak": {"scope": scope}}]
    path = platform.home / "data" / "secrets" / "host.json"
    path.write_text(json.dumps(host))
    platform.keys._checked = float("-inf")
    return {"x-functions-key": "scoped"}


@pytest.mark.parametrize(
    ("headers", "query", "key"),
    [
        ({"x-functions-key": "h"}, {"code": "q"}, "h"),
        ({}, {"code": "q"}, "q"),
        ({"x-functions-key": ""}, {"code": "q"}, "q"),
        ({}, {}, ""),
    ],
)
def test_key_of_a_function_call(headers, query, key):
    """The header wins over `code`; neither is no key."""
    assert function_key(headers, query) == key


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"x-functions-key": "k", "Authorization": "Bearer other"}, "k"),
        ({"Authorization": "Bearer k"}, "k"),
        ({"Authorization": "bearer k "}, "k"),
        ({"Authorization": basic("anyone:k:with:colons")}, "k:with:colons"),
        ({"Authorization": basic("no colon")}, ""),
        ({"Authorization": "Basic not-base64!"}, ""),
        ({"Authorization": "Basic /w=="}, ""),
        ({"Authorization": "Digest k"}, ""),
        ({}, ""),
    ],
)
def test_key_of_a_management_request(headers, key):
    """Three headers carry a key; what cannot be read is no key."""
    assert presented_key(headers) == key


@pytest.mark.parametrize(
    "headers",
    [KEY, {"Authorization": f"Bearer {MASTER}"}, {"Authorization": basic(f"$u:{MASTER}")}],
)
async def test_master_key_opens_by_each_way(platform, headers):
    """The header of Functions, a bearer and basic authentication with any user all work."""
    async with management(platform, headers) as client:
        assert (await client.get("/v1/status")).status == 200
        assert (await client.get("/api/webjobs")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-functions-key": "wrong"},
        {"Authorization": basic("u:wrong")},
        {"x-functions-key": "k" * 5000},
    ],
)
async def test_refusal_says_where_the_key_is(platform, headers):
    """401 asks for basic authentication and its problem says how to find the key, not where."""
    async with management(platform, headers) as client:
        answer = await client.get("/v1/status")
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="Taak"'
        problem = await answer.json(content_type="application/problem+json")
        assert problem["code"] == "unauthorized"
        assert "TAAK_MASTER_KEY" in problem["hint"]
        assert str(platform.home) not in json.dumps(problem)


async def test_every_path_but_health_needs_a_key(platform):
    """Unknown paths are no exception: a stranger cannot even learn which exist."""
    async with management(platform, {}) as client:
        for path in ("/", "/metrics", "/openapi.json", "/v1/nothing", "/api/vfs/", "/other"):
            assert (await client.get(path)).status == 401, path
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).status == 200


async def test_readiness_tells_what_is_waited_for(platform):
    """/readyz is 503 with the reasons until there is none."""
    platform.not_ready = ["the first deployment is being built"]
    async with management(platform, {}) as client:
        answer = await client.get("/readyz")
        assert (answer.status, (await answer.json())["reasons"]) == (503, platform.not_ready)
        platform.not_ready = []
        assert (await (await client.get("/readyz")).json()) == {"ready": True, "reasons": []}


async def test_readiness_tells_what_troubles_a_platform_that_serves(platform):
    """A history that waits for the store stops no call: it is told beside the 200."""
    platform.history.trouble = "disk full"
    async with management(platform, {}) as client:
        answer = await client.get("/readyz")
        assert answer.status == 200
        (concern,) = (await answer.json())["concerns"]
        assert concern.startswith("the history waits for the store: disk full; 0 runs")


async def test_token_link_becomes_a_session(platform):
    """The link's token is traded for a cookie once; the second use is told, not served."""
    token = platform.keys.issue_token()
    async with management(platform, {}) as client:
        answer = await client.get(f"/?token={token}", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        cookie = answer.cookies[SESSION_COOKIE]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        headers = {"Cookie": f"{SESSION_COOKIE}={cookie.value}"}
        assert (await client.get("/v1/status", headers=headers)).status == 200
        again = await client.get(f"/?token={token}")
        assert again.status == 401
        assert "used already" in await again.text()


async def test_cookie_changes_things_only_from_our_own_origin(platform):
    """A foreign page, or one that hides its origin, cannot use the browser's session."""
    session = platform.keys.sessions.redeem(platform.keys.issue_token())
    cookie = {"Cookie": f"{SESSION_COOKIE}={session}"}
    async with management(platform, cookie) as client:
        own = str(client.make_url("")).rstrip("/")
        path = "/v1/deployments:reconcile"
        for origin in ("https://evil.example", "null", own.replace("http:", "https:")):
            answer = await client.post(path, headers={"Origin": origin})
            assert answer.status == 403, origin
        assert (await client.post(path)).status == 403
        assert platform.deployments.reasons == []
        assert (await client.post(path, headers={"Origin": own})).status == 200


async def test_a_web_socket_of_a_foreign_page_is_refused(platform):
    """A browser sends the cookie along to any port of this machine, and lets the page read it."""
    session = platform.keys.sessions.redeem(platform.keys.issue_token())
    cookie = {"Cookie": f"{SESSION_COOKIE}={session}"}
    wanted = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    async with management(platform, cookie) as client:
        own = str(client.make_url("")).rstrip("/")
        for origin, status in (("http://127.0.0.1:1", 403), (own, 404)):
            answer = await client.get(
                "/v1/jobs/continuous/nobody/debug/tunnel", headers={**wanted, "Origin": origin}
            )
            assert answer.status == status, origin


async def test_wrong_key_is_not_rescued_by_a_cookie(platform):
    """Who presents a key is judged by it."""
    session = platform.keys.sessions.redeem(platform.keys.issue_token())
    headers = {"Cookie": f"{SESSION_COOKIE}={session}", "x-functions-key": "wrong"}
    async with management(platform, headers) as client:
        assert (await client.get("/v1/status")).status == 401


async def test_made_up_cookie_opens_nothing(platform):
    """Only a session that was opened by a token counts."""
    async with management(platform, {"Cookie": f"{SESSION_COOKIE}=guess"}) as client:
        assert (await client.get("/v1/status")).status == 401


async def test_read_scope_looks_and_does_not_touch(platform):
    """A key of the scope read sees state and job logs; files, uploads and starts are refused."""
    platform.deploy_samples()
    (platform.home / "data" / "jobs").mkdir()
    async with management(platform, with_system_key(platform, "read")) as client:
        for path in ("/v1/jobs", "/api/webjobs", "/metrics", "/api/vfs/data/jobs/", "/"):
            assert (await client.get(path)).status == 200, path
        for path in ("/api/vfs/site/wwwroot/", "/api/vfs/data/", "/vfs/data/jobsx/"):
            assert (await client.get(path)).status == 403, path
        assert (await client.post("/api/triggeredwebjobs/report/run")).status == 403
        assert (await client.put("/api/vfs/data/jobs/x", data=b"x")).status == 403
        problem = await client.post("/v1/jobs/triggered/report/run")
        assert (await problem.json(content_type=None))["code"] == "out-of-scope"


async def test_operate_scope_runs_and_does_not_deploy(platform):
    """A key of the scope operate starts and stops; it cannot change what is deployed."""
    platform.deploy_samples()
    async with management(platform, with_system_key(platform, "operate")) as client:
        assert (await client.post("/v1/jobs/triggered/report/run")).status == 202
        assert (await client.post("/api/triggeredwebjobs/report/run")).status == 202
        assert (await client.post("/jobs/continuous/mail/stop")).status == 200
        assert (await client.post("/v1/deployments:reconcile")).status == 403
        assert (await client.put("/api/triggeredwebjobs/x", data=b"x")).status == 403
        assert (await client.delete("/api/triggeredwebjobs/report")).status == 403
        answer = await client.put("/api/triggeredwebjobs/report/settings", data=b"{}")
        assert answer.status == 403


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/jobs", Scope.READ),
        ("POST", "/v1/jobs/continuous/mail/start", Scope.OPERATE),
        ("GET", "/v1/jobs/continuous/mail/debug", Scope.READ),
        ("POST", "/v1/jobs/continuous/mail/debug", Scope.DEBUG),
        ("POST", "/v1/jobs/continuous/mail/debug/tokens", Scope.DEBUG),
        ("GET", "/v1/jobs/continuous/mail/debug/tunnel", Scope.DEBUG),
        ("POST", "/v1/jobs/continuous/debug/start", Scope.OPERATE),
        ("GET", "/api/continuouswebjobs/mail", Scope.READ),
        ("GET", "/api/continuouswebjobs/mail/passthrough", Scope.INVOKE),
        ("GET", "/API/ContinuousWebJobs/mail/Passthrough/x", Scope.INVOKE),
        ("GET", "/jobs/continuous/mail/passthrough/x/y", Scope.INVOKE),
        ("GET", "/api/continuousjobs/passthrough", Scope.READ),
    ],
)
def test_what_a_request_needs_depends_on_what_it_does(method, path, scope):
    """A GET that opens a debugger, or reaches into a job, is no mere look."""
    wanted = need(method, path)
    assert wanted is not None
    assert wanted.scope is scope
