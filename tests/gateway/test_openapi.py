from __future__ import annotations

import re
from typing import Any

import pytest
from management_fakes import START, FakePlatform, a_run, management

from gateway.management import management_app
from gateway.native.openapi import ROUTES, document
from gateway.native.schemas import SCHEMAS
from scheduler.deployment import Deployment, DeploymentState

pytestmark = pytest.mark.real

TYPES: dict[str, Any] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict,
    "array": list, "null": type(None),
}  # fmt: skip

BODIES = {"/v1/keys": {"name": "ci", "scopes": ["read"]}}


@pytest.fixture
def platform(tmp_path):
    """Return a platform of fakes with one function and job of each kind."""
    platform = FakePlatform(tmp_path)
    platform.deploy_samples()
    platform.store.runs = [a_run(1)]
    platform.triggered.runs["report"] = [a_run(1)]
    platform.store.recorded = [
        Deployment(id="d1", state=DeploymentState.LIVE, reason="start", started_at=START)
    ]
    return platform


def check(value: Any, schema: dict[str, Any], where: str) -> None:
    """Assert that a value has the schema's shape: types, enums, and exactly its properties."""
    if "$ref" in schema:
        return check(value, SCHEMAS[schema["$ref"].rpartition("/")[2]], where)
    if "oneOf" in schema:
        one = schema["oneOf"][1 if value is None else 0]
        return check(value, one, where)
    if "enum" in schema:
        assert value in schema["enum"], where
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        allowed = tuple(kind for name in kinds for kind in _kinds(name))
        assert isinstance(value, allowed), f"{where}: {value!r} is not {kinds}"
        assert "boolean" in kinds or not isinstance(value, bool), where
    if isinstance(value, list):
        for place, item in enumerate(value):
            check(item, schema["items"], f"{where}[{place}]")
    if "properties" in schema:
        assert set(schema["required"]) <= set(value) <= set(schema["properties"]), where
        for name, item in value.items():
            check(item, schema["properties"][name], f"{where}.{name}")
    return None


def _kinds(name: str) -> tuple[type, ...]:
    kind = TYPES[name]
    return kind if isinstance(kind, tuple) else (kind,)


def test_every_route_is_in_the_document_and_the_other_way_round(tmp_path):
    """The router and the document know exactly the same /v1 routes."""
    app = management_app(FakePlatform(tmp_path).bundle)
    registered = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource and route.resource.canonical.startswith("/v1/")
    }
    paths = document(ROUTES, version="0")["paths"]
    documented = {(verb, path) for path, verbs in paths.items() for verb in verbs}
    assert registered == documented
    assert ("get", "/v1/runs/{id}/log") in documented


def test_document_is_sound():
    """Every reference resolves, path parameters are declared, operation ids are unique."""
    told = document(ROUTES, version="0.1.0")
    assert told["openapi"] == "3.1.0"
    references = set(re.findall(r"'#/components/schemas/(\w+)'", str(told)))
    assert references <= set(SCHEMAS)
    assert set(SCHEMAS) - references == set(), "a schema that nothing uses"
    ids = []
    for path, verbs in told["paths"].items():
        for operation in verbs.values():
            ids.append(operation["operationId"])
            declared = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path)), path
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "route",
    # Ended runs cannot be cancelled; the answer's shape is that of GET /v1/runs/{id}.
    [route for route in ROUTES if route.answer and not route.path.endswith("/cancel")],
    ids=lambda route: f"{route.method} {route.path}",
)
async def test_answers_have_the_shape_that_is_documented(platform, route):
    """What a route really answers fits its schema: no field missing, none unknown."""
    kind = "continuous" if "/continuous/" in route.path else "triggered"
    name = {"triggered": "report", "continuous": "mail"}[kind]
    if "functions" in route.path:
        name = "hello"
    path = route.path.replace("{name}", name).replace("{kind}", kind)
    path = path.replace("{id}", "d1" if "deployments" in path else "1")
    if path.endswith(":preview"):
        path += "?expression=0 0 3 * * *"
    async with management(platform) as client:
        body = BODIES.get(path) if route.method == "POST" else None
        answer = await client.request(route.method, path, json=body)
        assert answer.status == route.status, await answer.text()
        check(await answer.json(), SCHEMAS[route.answer], route.path)


async def test_document_is_served_at_both_addresses(platform):
    """/openapi.json and /v1/openapi.json are the same document."""
    async with management(platform) as client:
        first = await (await client.get("/openapi.json")).json()
        assert first == await (await client.get("/v1/openapi.json")).json()
        assert first["info"]["version"] == "0.1.0"


async def test_problems_have_the_documented_shape(platform):
    """A failure is a Problem."""
    async with management(platform) as client:
        answer = await client.get("/v1/functions/nobody")
        check(await answer.json(content_type=None), SCHEMAS["Problem"], "problem")
