"""host.json, local.settings.json and overrides, as the Functions host reads them."""

from __future__ import annotations

import pytest

from scheduler.functions import Limits
from scheduler.host_manifest import read_host


@pytest.fixture
def host(tmp_path):
    """Return how to read an app's settings from its files and given settings."""

    def read(text=None, local=None, **settings):
        if text is not None:
            (tmp_path / "host.json").write_text(text)
        if local is not None:
            (tmp_path / "local.settings.json").write_text(local)
        return read_host(tmp_path, settings)

    return read


def told(manifest):
    """Return the problems as lines."""
    return [str(problem) for problem in manifest.problems]


def test_no_files_mean_defaults(host):
    """An app without host.json is an app."""
    manifest = host()
    assert manifest.usable
    assert not manifest.problems
    assert manifest.host.route_prefix == "api"
    assert manifest.host.time_zone == "UTC"
    assert manifest.limits == Limits()
    assert not manifest.one_bundle
    assert manifest.allowed is None


def test_everything_it_says(host):
    """Names compare without case; the file may have comments."""
    manifest = host(
        """{ // ours
        "Version": "2.0", "FunctionTimeout": "00:05:00", "functions": ["Hello"],
        "extensions": {"HTTP": {"routePrefix": "/v1/", "maxOutstandingRequests": 20,
                                "customHeaders": {"X-A": "b"}}},
        "taak": {"isolation": "app", "maxWorkers": 3, "idle_s": 5, "min_workers": 0,
                 "environment": {"A": "1", "N": 2, "T": true}, "time_zone": "Europe/Amsterdam"},
        }"""
    )
    assert told(manifest) == []
    assert manifest.limits == Limits(timeout_s=300.0, max_workers=3, idle_s=5.0, min_workers=0)
    assert manifest.host.route_prefix == "v1"
    assert manifest.host.max_outstanding_requests == 20
    assert manifest.host.custom_headers == {"X-A": "b"}
    assert manifest.host.time_zone == "Europe/Amsterdam"
    assert manifest.one_bundle
    assert manifest.allowed == {"hello"}
    assert manifest.environment == {"A": "1", "N": "2", "T": "true"}


@pytest.mark.parametrize(
    ("header", "line"),
    [
        (r'"X-A": "a\r\nEvil: 1"', "customHeaders.X-A: holds a line break"),
        (r'"X-A": "a\u0000"', "customHeaders.X-A: holds a line break"),
        ('"X A": "b"', "is no name of a header"),
        ('"": "b"', "is no name of a header"),
        ('"Content-Length": 3', "belongs to the connection"),
        ('"transfer-encoding": "chunked"', "belongs to the connection"),
    ],
)
def test_custom_headers_that_would_break_an_answer(host, header, line):
    """A header that no answer may hold is a mistake of host.json, and is not sent."""
    text = f'{{"version": "2.0", "extensions": {{"http": {{"customHeaders": {{{header}}}}}}}}}'
    manifest = host(text)
    assert line in "\n".join(told(manifest))
    assert manifest.host.custom_headers == {}
    assert not manifest.usable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{}", 'host.json:1: version: is missing; write "version": "2.0"'),
        ('{"version": "1.0"}', 'host.json:1: version: is "1.0"; write "version": "2.0"'),
        ("[]", "host.json:1: must be an object {…}, not []"),
        ('{"version": "2.0"', "the '{' here is never closed; add '}'"),
        (
            '{"version": "2.0",\n"functionTimeout": "soon"}',
            'host.json:2: functionTimeout: must be a time of at least one second such as "00:',
        ),
        ('{"version": "2.0", "functionTimeout": "00:00:00"}', "at least one second"),
        (
            '{"version":"2.0","taak":{"isolation":"none"}}',
            'taak.isolation: must be "function" or "app", not "none"',
        ),
        (
            '{"version":"2.0","taak":{"max_workers":0}}',
            "taak.max_workers: must be a number of at least 1, not 0",
        ),
        (
            '{"version":"2.0","taak":{"maxWorkers":1.5}}',
            "taak.maxWorkers: must be a whole number, not 1.5",
        ),
        (
            '{"version":"2.0","taak":{"min_workers":5,"max_workers":2}}',
            "min_workers 5 is more than max_workers 2",
        ),
        ('{"version":"2.0","taak":{"time_zone":"Mars"}}', "taak.time_zone: "),
        (
            '{"version":"2.0","extensions":{"http":{"maxOutstandingRequests":"many"}}}',
            'extensions.http.maxOutstandingRequests: must be a number of at least -1, not "many"',
        ),
        ('{"version":"2.0","extensions":{"http":[]}}', "extensions.http: must be an object"),
    ],
)  # fmt: skip
def test_errors_name_field_value_and_remedy(host, text, line):
    """A wrong host.json makes the app's functions unusable and says why."""
    manifest = host(text)
    assert not manifest.usable
    assert any(line in told for told in told(manifest)), told(manifest)


def test_unknown_taak_keys_are_warnings(host):
    """A typing error under our own key is pointed out, with the nearest name."""
    manifest = host('{"version": "2.0",\n "taak": {\n "maxWorker": 3, "zzz": 1}}')
    assert manifest.usable
    assert min(told(manifest)) == (
        "host.json:3: taak.maxWorker: unknown key, ignored; did you mean 'max_workers'?"
    )
    assert "known: isolation, environment" in sorted(told(manifest))[1]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("-1", None), ("00:00:01", 1.0), ("01:00:00", 3600.0), ("1.00:00:00", 86400.0)],
)
def test_function_timeout(host, text, seconds):
    """A .NET TimeSpan; -1 is no limit."""
    manifest = host(f'{{"version": "2.0", "functionTimeout": "{text}"}}')
    assert told(manifest) == []
    assert manifest.limits.timeout_s == seconds


def test_timeout_under_taak(host):
    """The function's own key takes seconds, and -1 for no limit."""
    assert host('{"version":"2.0","taak":{"timeout_s":2.5}}').limits.timeout_s == 2.5
    assert host('{"version":"2.0","taak":{"timeoutS":-1}}').limits.timeout_s is None


def test_overrides_from_app_settings(host):
    """AzureFunctionsJobHost__a__b lays a value over host.json, without case."""
    manifest = host(
        '{"version": "2.0", "Extensions": {"http": {"routePrefix": "api"}}, "functions": ["a"]}',
        AzureFunctionsJobHost__extensions__Http__routePrefix="",
        AzureFunctionsJobHost__extensions__http__maxOutstandingRequests="7",
        azurefunctionsjobhost__functions__1="b",
        AzureFunctionsJobHost__taak__max_workers="2",
    )
    assert told(manifest) == []
    assert manifest.host.route_prefix == ""
    assert manifest.host.max_outstanding_requests == 7
    assert manifest.allowed == {"a", "b"}
    assert manifest.limits.max_workers == 2


def test_override_of_a_list_that_is_not_there(host):
    """An index makes a list, a name makes an object."""
    assert host(AzureFunctionsJobHost__functions__0="x").allowed == {"x"}


def test_local_settings(host):
    """Values and connection strings are app settings; the environment wins over both."""
    manifest = host(
        local="""{"Values": {"A": "file", "B": "file", "N": 1},
        "ConnectionStrings": {"Db": "x=y", "Sql": {"ConnectionString": "z", "Other": ""}}}""",
        A="given",
    )
    assert told(manifest) == []
    assert manifest.host.settings == {
        "A": "given",
        "B": "file",
        "N": "1",
        "ConnectionStrings:Db": "x=y",
        "ConnectionStrings:Sql": "z",
    }
    assert manifest.environment == manifest.host.settings


def test_encrypted_local_settings_are_an_error(host):
    """They are of no use here, and silence would be worse."""
    manifest = host(local='{"IsEncrypted": true, "Values": {"A": "b"}}')
    assert not manifest.usable
    assert "func settings decrypt" in told(manifest)[0]


def test_value_that_is_no_text(host):
    """A nested value is named with its path."""
    manifest = host(local='{"Values": {\n"A": {"b": 1}}}')
    assert told(manifest) == [
        'local.settings.json:2: Values.A: must be a text in quotes, not {"b": 1}'
    ]


def test_time_zone_from_settings(host):
    """WEBSITE_TIME_ZONE takes Windows names; one that is unknown leaves UTC with a warning."""
    assert host(WEBSITE_TIME_ZONE="W. Europe Standard Time").host.time_zone == "Europe/Berlin"
    assert host(TZ="America/New_York").host.time_zone == "America/New_York"
    wrong = host(WEBSITE_TIME_ZONE="Nowhere")
    assert wrong.host.time_zone == "UTC"
    assert wrong.usable
    assert "WEBSITE_TIME_ZONE" in told(wrong)[0]


def test_file_that_is_not_utf8(host, tmp_path):
    """Told with the byte, not as a traceback."""
    (tmp_path / "host.json").write_bytes(b'{"version": "\xff"}')
    assert told(host()) == ["host.json: is not UTF-8 at byte 13; save the file as UTF-8"]
