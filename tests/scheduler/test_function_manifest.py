"""function.json -> Function: the rules of the Functions host, and what is said of each breach."""

from __future__ import annotations

import json

import pytest

from scheduler.functions import AuthLevel, HttpTrigger, OtherTrigger, TimerTrigger
from scheduler.manifest import read_app

HTTP = {"type": "httpTrigger", "direction": "in", "name": "req"}
OUT = {"type": "http", "direction": "out", "name": "$return"}
TIMER = {"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "0 */5 * * * *"}


@pytest.fixture
def app(tmp_path):
    """Return how to read an app from its folders' manifests and its app settings."""

    def read(functions, *, code="__init__.py", **settings):
        for folder, manifest in functions.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            text = manifest if isinstance(manifest, str) else json.dumps(manifest)
            (tmp_path / folder / "function.json").write_text(text)
            if code:
                (tmp_path / folder / code).write_text("def main(req): ...")
        return read_app(tmp_path, tmp_path, settings=settings)

    return read


def one(definition):
    """Return the only function; the app must be without errors."""
    assert [str(p) for p in definition.problems if not p.warning] == []
    (function,) = definition.functions
    return function


def only_error(definition):
    """Return the only error; there must be no function."""
    assert definition.functions == ()
    (problem,) = [p for p in definition.problems if not p.warning]
    return str(problem)


def bound(binding, **more):
    """Return a function.json with one binding."""
    return {"bindings": [binding], **more}


def test_http_function_with_defaults(app):
    """Route, methods, level, script and entry have the host's defaults."""
    function = one(app({"Hello": {"bindings": [HTTP, OUT]}}))
    assert function.trigger == HttpTrigger("Hello", None, AuthLevel.FUNCTION)
    assert function.trigger_name == "req"
    assert function.script_file == "Hello/__init__.py"
    assert function.entry_point == "main"
    assert function.directory == "Hello"
    assert [b.name for b in function.bindings] == ["req", "$return"]
    assert function.disabled == ""


def test_http_function_in_full(app):
    """Names and words compare without case, the file is read leniently."""
    text = """\ufeff{
      // upstream's own samples look like this
      'Bindings': [
        {"TYPE": "HTTPTRIGGER", "Direction": "IN", "name": "req", "AuthLevel": "ANONYMOUS",
         "methods": ["get", "Post"], "route": "items/{id:int?}",},
      ],
    }"""
    function = one(app({"hello": text}))
    assert function.trigger == HttpTrigger(
        "items/{id:int?}", frozenset({"GET", "POST"}), AuthLevel.ANONYMOUS
    )
    assert function.bindings[0].properties["authLevel"] == "ANONYMOUS"


def test_timer(app):
    """The schedule is parsed in the app's zone; settings are resolved in it."""
    function = one(
        app(
            {
                "t": bound(
                    {**TIMER, "schedule": "%WHEN%", "runOnStartup": True, "useMonitor": "false"}
                )
            },
            WHEN="0 30 9 * * *",
            WEBSITE_TIME_ZONE="Europe/Berlin",
        )
    )
    assert isinstance(function.trigger, TimerTrigger)
    assert function.trigger.expression == "0 30 9 * * *"
    assert function.trigger.schedule.zone == "Europe/Berlin"
    assert function.trigger.run_on_startup
    assert not function.trigger.use_monitor
    assert function.config["bindings"][0]["schedule"] == "%WHEN%"


def test_monitor_is_off_for_schedules_below_a_minute(app):
    """UseMonitor is forced off when a timer fires more often than once a minute."""
    fast = one(app({"t": bound({**TIMER, "schedule": "*/10 * * * * *"})}))
    assert isinstance(fast.trigger, TimerTrigger)
    assert not fast.trigger.use_monitor
    slow = one(app({"t": bound(TIMER)}))
    assert isinstance(slow.trigger, TimerTrigger)
    assert slow.trigger.use_monitor


def test_manual_trigger(app):
    """It can only be fired through the admin API."""
    function = one(app({"m": bound({"type": "manualTrigger", "name": "input"})}))
    assert function.trigger == OtherTrigger("manualTrigger")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "f/function.json:1: not valid JSON at column 1: the '{' here is never closed"),
        ({}, "bindings: there must be at least one binding, the trigger"),
        ({"bindings": []}, "bindings: there must be at least one binding"),
        ({"bindings": {}}, "bindings: must be a list […], not {}"),
        ({"bindings": ["x"]}, 'bindings[0]: must be an object {…}, not "x"'),
        (bound(OUT), "bindings: no binding is a trigger; a function has exactly one"),
        ({"bindings": [HTTP, TIMER]}, "bindings: 2 bindings are triggers"),
        ({"bindings": [HTTP, {**OUT, "name": "req"}]}, "the name 'req' is there twice"),
        (bound({**HTTP, "name": "1st"}), "bindings[0].name: must be a letter followed by"),
        (bound({**HTTP, "name": "$return"}), '"$return" must have "direction": "out"'),
        (bound({**HTTP, "direction": "inout"}), 'must be "in" or "out", not "inout"'),
        (bound({**HTTP, "direction": "out"}), 'a trigger must have "direction": "in"'),
        (bound({"name": "x", "direction": "in"}), 'a "type" is needed'),
        (
            bound({"type": "queueTrigger", "name": "m", "queueName": "q"}),
            "triggers that are: httpTrigger, timerTrigger, manualTrigger, warmupTrigger",
        ),
        (
            {"bindings": [HTTP, {"type": "blob", "direction": "out", "name": "b"}]},
            "bindings[1].type: bindings of type 'blob' are not served",
        ),
        (bound({**HTTP, "authLevel": "user"}), '"function", "admin", not "user"'),
        (bound({**HTTP, "methods": ["get", 1]}), "bindings[0].methods: must be names"),
        (bound({**HTTP, "route": "Admin-only"}), "begins with 'admin', which belongs to"),
        (bound({**HTTP, "route": "/runtimes/x"}), "begins with 'runtime'"),
        (bound({**HTTP, "route": "a/{id"}), "has a brace without its partner"),
        (bound({**HTTP, "route": "{a}/{A}"}), "the parameter 'A' is there twice"),
        (bound({**HTTP, "route": "{*all}/x"}), "a catch-all must be the end of the route"),
        (bound({**HTTP, "route": "{a:odd}"}), "unknown constraint 'odd'"),
        (bound({**HTTP, "route": "a b"}), "holds ' ', which no path has"),
        (bound({**HTTP, "route": "a//b"}), "has an empty segment"),
        (bound({**HTTP, "route": "%R%"}), "refers to the app setting 'R', which is not set"),
        (bound({**TIMER, "schedule": ""}), "bindings[0].schedule: a schedule is needed"),
        (bound({**TIMER, "schedule": "now and then"}), "bindings[0].schedule: "),
        (bound({**TIMER, "schedule": 5}), "bindings[0].schedule: must be a text in quotes, not 5"),
        (bound(HTTP, entryPoint="a.b"), "entryPoint: must be the name of a Python function"),
        (bound(HTTP, scriptFile="gone.py"), "scriptFile: there is no file 'f/gone.py' in the app"),
        (bound(HTTP, scriptFile="../../x.py"), "'../../x.py' leads out of the app"),
        (bound(HTTP, scriptFile="app.js"), "only Python (.py) is served, not 'app.js'"),
        (bound(HTTP, taak={"concurrency": "all"}), "taak.concurrency: must be a number"),
    ],
)  # fmt: skip
def test_errors(app, manifest, message):
    """Each breach puts the function in error, with place, value and remedy."""
    errors = [str(p) for p in app({"f": manifest}).problems if not p.warning]
    assert any(message in error for error in errors), errors
    assert app({"f": manifest}).functions == ()
    assert {p.owner for p in app({"f": manifest}).problems} == {"f"}


def test_error_carries_the_line(app):
    """The problem points at the line of the field."""
    text = '{\n "bindings": [\n  {"type": "timerTrigger", "name": "t",\n   "schedule": "x"}]}'
    assert only_error(app({"f": text})).startswith("f/function.json:4: bindings[0].schedule: ")


@pytest.mark.parametrize("name", ["1st", "has space", "a.b", "ü", "host"])
def test_names_that_are_refused(app, name):
    """The host's rule for names, and the one reserved word."""
    manifest = bound({"type": "manualTrigger", "name": "m"})
    assert "rename the folder" in only_error(app({name: manifest}))


def test_underscore_in_a_binding_name_is_accepted(app):
    """Better than upstream, which refuses it."""
    assert one(app({"f": bound({**HTTP, "name": "my_req"})})).trigger_name == "my_req"


def test_one_bad_function_does_not_stop_the_others(app):
    """The good ones are there, the problem names the bad one."""
    definition = app({"good": bound(HTTP), "bad": "{"})
    assert [f.name for f in definition.functions] == ["good"]
    assert [p.owner for p in definition.problems] == ["bad"]


def test_identical_routes_conflict_for_the_later_by_name(app):
    """Parameter names and case do not make routes different, disjoint methods do."""
    definition = app(
        {
            "zulu": bound({**HTTP, "route": "items/{id}", "methods": ["get"]}),
            "alpha": bound({**HTTP, "route": "Items/{key}", "methods": ["get", "put"]}),
            "mike": bound({**HTTP, "route": "items/{id}", "methods": ["delete"]}),
            "any": bound({**HTTP, "route": "other"}),
            "some": bound({**HTTP, "route": "other", "methods": ["get"]}),
        }
    )
    assert [f.name for f in definition.functions] == ["alpha", "any", "mike"]
    assert [(p.owner, p.message.split(":")[0]) for p in definition.problems] == [
        ("some", "conflicts with function 'any'"),
        ("zulu", "conflicts with function 'alpha'"),
    ]


def test_names_that_differ_only_in_case_conflict(app):
    """Function names compare without case everywhere."""
    definition = app({"Hello": bound(HTTP), "hello": bound({**HTTP, "route": "x"})})
    assert [f.name for f in definition.functions] == ["Hello"]
    assert "names compare without case" in definition.problems[0].message


def test_at_most_one_warm_up(app):
    """The second warmupTrigger by name is in error."""
    warm = bound({"type": "warmupTrigger", "name": "w"})
    definition = app({"b": warm, "a": warm})
    assert [f.name for f in definition.functions] == ["a"]
    assert "at most one warmupTrigger" in definition.problems[0].message


@pytest.mark.parametrize(
    ("manifest", "settings", "reason"),
    [
        ({"disabled": True}, {}, 'function.json says "disabled": true'),
        ({"disabled": "OFF"}, {"OFF": "1"}, "app setting OFF is true"),
        ({"disabled": "%OFF%"}, {"OFF": "True"}, "app setting OFF is true"),
        ({"disabled": "OFF"}, {"OFF": "0"}, ""),
        ({"disabled": "OFF"}, {}, ""),
        ({"disabled": False}, {}, ""),
        ({}, {"AzureWebJobs.f.Disabled": "true"}, "app setting AzureWebJobs.f.Disabled is true"),
        ({}, {"AZUREWEBJOBS_F_DISABLED": "1"}, "app setting AzureWebJobs_f_Disabled is true"),
        (
            {},
            {"AzureFunctionsJobHost__functions__0": "other"},
            'host.json "functions" does not list it',
        ),
    ],
)
def test_disabled(app, manifest, settings, reason):
    """A disabled function is there, with the reason."""
    assert one(app({"f": bound(HTTP, **manifest)}, **settings)).disabled == reason


@pytest.mark.parametrize(
    ("files", "named", "script"),
    [
        (["only.py"], None, "f/only.py"),
        (["a.py", "run.py", "__init__.py"], None, "f/run.py"),
        (["a.py", "__init__.py"], None, "f/__init__.py"),
        (["a.py", "b.py"], "b.py", "f/b.py"),
        (["a.py", "sub/m.py"], "sub/m.py", "f/sub/m.py"),
        (["a.py", "sub/m.py"], ".\\sub\\m.py", "f/sub/m.py"),
        (["a.py", "../shared/m.py"], "../shared/m.py", "shared/m.py"),
    ],
)
def test_script_file(app, tmp_path, files, named, script):
    """The script is the named one, the only other file, run.py or __init__.py."""
    for name in files:
        path = tmp_path / "f" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    manifest = bound(HTTP, scriptFile=named) if named else bound(HTTP)
    assert one(app({"f": manifest}, code=None)).script_file == script


@pytest.mark.parametrize("files", [[], ["readme.md"], ["a.py", "b.py"]])
def test_no_script(app, tmp_path, files):
    """Without a script that counts, the message says where to put one."""
    (tmp_path / "f").mkdir()
    for name in files:
        (tmp_path / "f" / name).write_text("")
    assert "put the code into f/__init__.py" in only_error(app({"f": bound(HTTP)}, code=None))


def test_taak_key(app):
    """Limits and environment of one function stand over the app's."""
    manifest = bound(HTTP, taak={"timeout_s": 5, "maxWorkers": 2, "environment": {"A": "own"}})
    function = one(app({"f": manifest}, A="app", B="app"))
    assert function.limits.timeout_s == 5.0
    assert function.limits.max_workers == 2
    assert function.environment == {"A": "own", "B": "app"}


def test_unknown_taak_key_is_a_warning(app):
    """The function serves all the same."""
    definition = app({"f": bound(HTTP, taak={"time_out_s": 1, "maxworkrs": 2})})
    one(definition)
    assert all(p.warning and p.owner == "f" for p in definition.problems)
    assert "did you mean 'max_workers'?" in definition.problems[-1].message
