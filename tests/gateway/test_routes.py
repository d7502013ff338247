"""Route templates: what matches, which values come out, who wins (functions.md 7.1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.routes import RouteTable
from scheduler.functions import AuthLevel, Bundle, BundleKind, Function, HttpTrigger, Limits

BUNDLE = Bundle("app", BundleKind.APP, "d", Path("/"))


def table(*routes: tuple[str, str, str], prefix: str = "api", disabled: str = "") -> RouteTable:
    """Return a table of (function name, route, methods) rows; "" is every method."""
    functions = [
        Function(
            name=name,
            bundle=BUNDLE,
            directory=name,
            script_file="",
            entry_point="main",
            trigger=HttpTrigger(route, frozenset(methods.split()) or None, AuthLevel.ANONYMOUS),
            trigger_name="req",
            bindings=(),
            limits=Limits(),
            disabled=disabled,
        )
        for name, route, methods in routes
    ]
    return RouteTable(functions, prefix)


def params(route: str, path: str, *, prefix: str = "api") -> dict[str, str] | None:
    """Return the parameters that a path gives for one route, None when it does not match."""
    match = table(("f", route, ""), prefix=prefix).find("GET", path)
    return None if match is None else dict(match.params)


@pytest.mark.parametrize(
    ("route", "path", "expected"),
    [
        ("hello", "/api/hello", {}),
        ("hello", "/API/HeLLo/", {}),
        ("hello", "/api/hello/x", None),
        ("hello", "/api//hello", None),
        ("hello", "/hello", None),
        ("a/{x}", "/api/a/B", {"x": "B"}),
        ("a/{x}", "/api/a/", None),
        ("a/{x}", "/api/a/b%20c+d", {"x": "b c+d"}),
        ("a/{x}", "/api/a/%E4%B8%AD", {"x": "\u4e2d"}),
        ("a/{x?}", "/api/a", {}),
        ("a/{x?}", "/api/a/b/", {"x": "b"}),
        ("a/{x=five}", "/api/a", {"x": "five"}),
        ("a/{x=five}", "/api/a/six", {"x": "six"}),
        ("v{n:int}/x", "/api/v3/x", {"n": "3"}),
        ("{{x}}", "/api/{x}", {}),
    ],
)
def test_templates(route: str, path: str, expected: dict[str, str] | None):
    """Literals match without case, values keep theirs and are decoded, a last slash is nothing."""
    assert params(route, path) == expected


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/api/files", None),
        ("/api/files/", None),
        ("/api/files/a/b", "a/b"),
        ("/api/files/a/b/", "a/b/"),
        ("/api/files//a", "/a"),
        ("/api/files/a%2Fb", "a/b"),
    ],
)
def test_a_catch_all_keeps_its_slashes(path: str, rest: str | None):
    """A catch-all matches nothing at all, and every slash after its own, the last one included."""
    assert params("files/{*rest}", path) == ({} if rest is None else {"rest": rest})


def test_a_value_is_decoded_once():
    """%252F is the text "%2F", never a slash: decoding twice opens what a proxy has checked."""
    assert params("files/{name}", "/api/files/a%252Fb") == {"name": "a%2Fb"}
    assert params("files/{name}", "/api/files/a%2Fb") == {"name": "a/b"}
    assert params("a%2Fb", "/api/a%2Fb") is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/files/x/../y", {"rest": "y"}),
        ("/api/files/./x/.", {"rest": "x/"}),
        ("/api/files/%2e%2E/files/x", {"rest": "x"}),
        ("/api/files/../../../etc/passwd", None),
        ("/api/files/..%2f..%2fsecret", None),
        ("/api/files/a%2F..%2fb", {"rest": "b"}),
        ("/api/files/.hidden/..x", {"rest": ".hidden/..x"}),
    ],
)
def test_dot_segments_are_gone_before_routing(path: str, expected: dict[str, str] | None):
    """A "." or ".." segment never climbs out of the route, also when it is percent-encoded."""
    assert params("files/{*rest}", path) == expected


@pytest.mark.parametrize(
    ("route", "path", "expected"),
    [
        ("{a}.{b}", "/api/x.y", {"a": "x", "b": "y"}),
        ("{a}.{b}", "/api/x.tar.gz", {"a": "x.tar", "b": "gz"}),
        ("{a}.{b}", "/api/x", None),
        ("{a}-{b}-{c}", "/api/1-2-3-4", {"a": "1-2", "b": "3", "c": "4"}),
        ("{name}.{ext?}", "/api/report", {"name": "report"}),
        ("{name}.{ext?}", "/api/report.txt", {"name": "report", "ext": "txt"}),
        ("{name}.{ext?}", "/api/my.report.txt", {"name": "my.report", "ext": "txt"}),
    ],
)
def test_mixed_segments(route: str, path: str, expected: dict[str, str] | None):
    """Literals inside a segment are found from the right; an optional end takes its dot along."""
    assert params(route, path) == expected


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("int", ["0", "-5", "2147483647"], ["x", "2147483648", "1.5", "1_0"]),
        ("long", ["9223372036854775807"], ["9223372036854775808"]),
        ("double", ["1", "-1.5", ".5", "1e9"], ["nan", "inf", "1_0", "x"]),
        ("float", ["1.5"], ["1,5"]),
        ("decimal", ["1.50"], ["1e5", "nan", "snan"]),
        ("bool", ["true", "FALSE"], ["1", "yes"]),
        ("alpha", ["abcXYZ"], ["a1", "\u00e9"]),
        ("guid", ["6F9619FF-8B86-D011-B42D-00CF4FC964FF", "6f9619ff8b86d011b42d00cf4fc964ff"],
         ["urn:uuid:6F9619FF-8B86-D011-B42D-00CF4FC964FF", "6F9619FF-8B86"]),
        ("datetime", ["2016-12-31", "2016-12-31 7:32pm", "2016-12-31T10:20:30"], ["soon", "12"]),
        ("length(3)", ["abc"], ["ab", "abcd"]),
        ("length(2,3)", ["ab", "abc"], ["a", "abcd"]),
        ("minlength(2)", ["ab"], ["a"]),
        ("maxlength(2)", ["ab"], ["abc"]),
        ("min(3)", ["3", "10"], ["2", "x"]),
        ("max(3)", ["3", "-1"], ["4"]),
        ("range(1,3)", ["1", "3"], ["0", "4"]),
        (r"regex(^\d{{3}}$)", ["123"], ["12", "1234"]),
        ("int:min(1)", ["1"], ["0", "x"]),
    ],
)  # fmt: skip
def test_constraints(rule: str, good: list[str], bad: list[str]):
    """A failing constraint is no match; the forms are those of .NET's parsers, not of Python's."""
    route = "c/{x:" + rule + "}"
    for text in good:
        assert params(route, f"/api/c/{text.replace(' ', '%20')}") == {"x": text}, text
    for text in bad:
        assert params(route, f"/api/c/{text}") is None, text


def test_an_optional_value_is_only_checked_when_it_is_there():
    """`{id:int?}` matches without an id, and not with a wrong one."""
    assert params("a/{id:int?}", "/api/a") == {}
    assert params("a/{id:int?}", "/api/a/x") is None


def test_methods_are_part_of_the_route():
    """Two functions share a route by method; another method is no match, HEAD included."""
    routes = table(("one", "r", "GET"), ("two", "r", "POST PUT"), ("three", "r/{x}", "GET"))
    assert routes.find("GET", "/api/r").function.name == "one"
    assert routes.find("PUT", "/api/r").function.name == "two"
    assert routes.find("DELETE", "/api/r") is None
    assert routes.find("HEAD", "/api/r/x") is None


def test_the_more_literal_route_wins():
    """`users/me` wins over `users/{id}`, and that over a catch-all, whatever the names."""
    routes = table(("z", "users/me", ""), ("b", "users/{id}", ""), ("a", "{*rest}", ""))
    assert routes.find("GET", "/api/users/me").function.name == "z"
    assert routes.find("GET", "/api/users/7").function.name == "b"
    assert routes.find("GET", "/api/other").function.name == "a"


def test_an_empty_prefix_and_a_catch_all_own_everything():
    """With routePrefix "" a catch-all owns "/" too; a switched-off function owns nothing."""
    routes = table(("all", "{*rest}", "GET"), prefix="")
    assert routes.owns("/")
    assert dict(routes.find("GET", "/a/b/").params) == {"rest": "a/b/"}
    off = table(("all", "{*rest}", ""), disabled="why not")
    assert off.find("GET", "/api/a") is None
    assert not off.owns("/api/a")
