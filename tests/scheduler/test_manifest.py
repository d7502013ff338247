"""A whole app: bundles and their digests, packages, shadowed names, what is not served yet."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from scheduler import manifest
from scheduler.file_index import with_digests
from scheduler.file_scan import scan
from scheduler.functions import BundleKind
from scheduler.manifest import read_again, read_app
from scheduler.reading import Source

HTTP = {"type": "httpTrigger", "direction": "in", "name": "req"}
FUNCTION = json.dumps({"bindings": [HTTP]})
HOST = '{"version": "2.0"}'


@pytest.fixture
def app(tmp_path):
    """Return how to read an app after writing files into it."""

    def read(*functions, files=(), settings=None, **texts):
        for name in functions:
            write(f"{name}/function.json", FUNCTION)
            write(f"{name}/__init__.py", "def main(req): ...")
        for path in files:
            write(path, "")
        for path, text in texts.items():
            write(path.replace("__", "/").replace("_json", ".json"), text)
        return read_app(tmp_path, tmp_path, settings=settings or {})

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return read


def digests(definition):
    """Return the bundle digest of each function and job."""
    return {item.name: item.bundle.digest for item in (*definition.functions, *definition.jobs)}


def changed(before, after):
    """Return the names whose bundle differs."""
    old, new = digests(before), digests(after)
    return {name for name in old if old[name] != new.get(name)}


def test_empty_folder_is_an_app(tmp_path):
    """Nothing in it, nothing wrong with it."""
    definition = read_app(tmp_path, tmp_path, settings={})
    assert (definition.functions, definition.jobs, definition.problems) == ((), (), ())


def test_functions_come_in_order_of_their_names(app):
    """Routes are tried in this order: without case."""
    assert [f.name for f in app("b", "C", "a").functions] == ["a", "b", "C"]


def test_a_function_is_a_bundle_with_the_shared_code(app):
    """Its own folder and the shared ones count; other functions and jobs do not."""
    before = app("a", "b", files=["shared/x.py", "App_Data/jobs/triggered/j/run.sh"])
    assert changed(before, app(files=["a/more.py"])) == {"a"}
    before = app()
    assert changed(before, app(files=["App_Data/jobs/triggered/j/more.sh"])) == {"j"}
    before = app()
    assert changed(before, app(files=["shared/y.py"])) == {"a", "b"}
    before = app()
    assert changed(before, app(files=["top.py"])) == {"a", "b"}
    assert {f.bundle.kind for f in before.functions} == {BundleKind.FUNCTION}


def test_settings_change_every_bundle(app):
    """The environment is part of what code can see."""
    before = app("a", files=["jobs/continuous/j/run.sh"])
    assert changed(before, app(settings={"A": "1"})) == {"a", "j"}
    before = app()
    assert changed(before, app(host_json='{"version": "2.0", "taak": {"environment": {"E": "1"}}}'))


def test_settings_that_are_no_code_keep_the_bundles(app):
    """A new route prefix or limit restarts nothing."""
    before = app("a", "b", host_json=HOST)
    after = app(
        host_json='{"version": "2.0", "extensions": {"http": {"routePrefix": ""}}, '
        '"taak": {"max_workers": 2}}'
    )
    assert changed(before, after) == set()
    assert after.host.route_prefix == ""
    assert before.digest != after.digest


def test_broken_function_is_no_shared_code(app):
    """A typing error in one function.json leaves the other bundles alone."""
    before = app("a", "b")
    assert changed(before, app(b__function_json="{")) == {"b"}


def test_disable_mark_does_not_change_a_jobs_bundle(app):
    """Only the definition says that it is switched off."""
    before = app(files=["jobs/continuous/j/run.sh"])
    after = app(files=["jobs/continuous/j/disable.job"])
    assert changed(before, after) == set()
    assert before.jobs != after.jobs


def test_one_bundle_for_the_app(app):
    """The isolation "app" puts all functions together."""
    text = '{"version": "2.0", "taak": {"isolation": "app"}}'
    before = app("a", "b", host_json=text)
    assert len({id(f.bundle) for f in before.functions}) == 1
    assert before.functions[0].bundle.kind is BundleKind.APP
    assert changed(before, app(files=["a/more.py"])) == {"a", "b"}


@pytest.mark.parametrize(
    ("path", "package_paths", "own"),
    [
        ("shared/azure.txt", (), False),
        (".python_packages/lib/site-packages/requests/__init__.py",
         (".python_packages/lib/site-packages",), False),
        (".python_packages/lib/site-packages/azure/storage/__init__.py",
         (".python_packages/lib/site-packages",), True),
        (".python_packages/lib/python3.11/site-packages/werkzeug/__init__.py",
         (".python_packages/lib/python3.11/site-packages",), True),
        (".venv/lib/python3.12/site-packages/markupsafe/__init__.py",
         (".venv/lib/python3.12/site-packages",), True),
        ("antenv/lib/python3.12/site-packages/x.py",
         ("antenv/lib/python3.12/site-packages",), False),
        ("a/.python_packages/lib/site-packages/azure/functions/__init__.py",
         ("a/.python_packages/lib/site-packages",), True),
        ("a/werkzeug.py", (), True),
        ("azure/__init__.py", (), True),
        ("b/werkzeug.py", (), False),
        ("other/.venv/lib/python3.12/site-packages/azure/x.py", (), False),
    ],
)  # fmt: skip
def test_packages_that_the_app_brings(app, path, package_paths, own):
    """They are found, and meet ours never: own_packages says so."""
    bundle = app("a", "b", files=[path]).functions[0].bundle
    assert bundle.package_paths == package_paths
    assert bundle.own_packages is own


def test_packages_of_the_function_win_over_the_apps(app):
    """The function's own folder comes first."""
    start = ".python_packages/lib/site-packages"
    bundle = app("a", files=[f"{start}/x.py", f"a/{start}/x.py"]).functions[0].bundle
    assert bundle.package_paths == (f"a/{start}", start)


def test_shadowed_standard_library(app):
    """A top-level file or folder that could never be imported is warned about."""
    definition = app(
        "typing",
        files=["json.py", "logging/__init__.py", "asyncio/readme.md", "queue.py", "a/io.py"],
    )
    assert [p.where for p in definition.problems] == ["json.py", "logging"]
    assert all(p.warning for p in definition.problems)
    assert "'import json' will not find it; rename it" in definition.problems[0].message


def test_v2_app_is_told_not_to_be_served_yet(app):
    """function_app.py wins over function.json, so nothing is half served."""
    definition = app("a", files=["function_app.py", "jobs/triggered/j/run.sh"])
    assert definition.functions == ()
    assert [j.name for j in definition.jobs] == ["j"]
    assert "v2 programming model" in definition.problems[0].message
    renamed = app(settings={"PYTHON_SCRIPT_FILE_NAME": "other.py"})
    assert [f.name for f in renamed.functions] == ["a"]


def test_broken_host_json_leaves_the_jobs(app):
    """Functions need it, jobs do not."""
    definition = app("a", files=["jobs/triggered/j/run.sh"], host_json="{}")
    assert definition.functions == ()
    assert [j.name for j in definition.jobs] == ["j"]
    assert 'write "version": "2.0"' in definition.problems[0].message


def test_what_is_taken_over_is_what_a_first_reading_says(tmp_path):
    """After any edit, broken ones too, an earlier reading changes nothing but the work."""

    def file(path, text=""):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    def function(name, **more):
        file(f"{name}/__init__.py", f"# {more}")
        file(f"{name}/function.json", json.dumps({"bindings": [HTTP], **more}))

    def reading(earlier):
        index = with_digests(scan(tmp_path))
        source = Source(
            root=tmp_path, live_root=tmp_path, settings={}, extra_job_roots=(), index=index
        )
        return read_again(source, earlier)

    for name in ("a", "b", "c"):
        function(name)
    file("odd/function.json", json.dumps({"bindings": [], "taak": {"what": 1}}))
    file("jobs/triggered/j/run.sh")
    file("jobs/triggered/j/settings.job", json.dumps({"schedule": 5}))
    file("jobs/continuous/k/run.sh")
    latest = reading(None)
    for edit in (
        lambda: file("b/extra.py"),
        lambda: function("c", taak={"timeoutS": "?"}),
        lambda: file("jobs/continuous/k/disable.job"),
        lambda: file("jobs/continuous/k/settings.job", "{"),
        lambda: function("d", scriptFile="../lib.py"),
        lambda: file("lib.py"),
        (tmp_path / "lib.py").unlink,
        lambda: file("host.json", json.dumps({"version": "2.0", "functions": ["b"]})),
        lambda: function("B"),
        lambda: file("host.json", "{"),
        lambda: file("host.json", json.dumps({"version": "2.0", "taak": {"isolation": "app"}})),
        lambda: file("host.json", json.dumps({"version": "2.0"})),
        lambda: shutil.rmtree(tmp_path / "a"),
    ):
        edit()
        known = {id(item) for item in (*latest.definition.functions, *latest.definition.jobs)}
        latest = reading(latest)
        assert latest.definition == reading(None).definition
    items = [*latest.definition.functions, *latest.definition.jobs]
    assert {getattr(i, "name", "") for i in items if id(i) not in known} == {"j", "k"}


def test_only_what_changed_is_read_again(tmp_path, monkeypatch):
    """Manifests of others are not even opened."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "function.json").write_text(json.dumps({"bindings": [HTTP]}))
    source = Source(
        root=tmp_path,
        live_root=tmp_path,
        settings={},
        extra_job_roots=(),
        index=with_digests(scan(tmp_path)),
    )
    first = read_again(source, None)
    (tmp_path / "b/__init__.py").write_text("x = 1")
    read = []
    plain = manifest.read_function
    monkeypatch.setattr(
        manifest,
        "read_function",
        lambda app, folder, *more: read.append(folder) or plain(app, folder, *more),
    )
    second = read_again(replace(source, index=with_digests(scan(tmp_path))), first)
    assert read == ["b"]
    assert second.definition.functions[0] is first.definition.functions[0]


def told(definition):
    """Return all problems as their lines, and check that they only warn."""
    assert all(problem.warning for problem in definition.problems)
    return sorted(map(str, definition.problems))


def with_taak(**keys):
    """Return a function.json with keys under "taak", each on a line of its own."""
    return json.dumps({"bindings": [HTTP], "taak": keys}, indent=0)


@pytest.mark.parametrize(
    ("keys", "place", "reason"),
    [
        ({"ports": [5432]}, "taak.ports", "network"),
        ({"network": "outbound", "sandbox": "trusted"}, "taak.network", "trusted"),
        ({"network": "outbound", "sandbox": "strict"}, "taak.network", "strict"),
        ({"cpu_s": 5}, "taak.cpu_s", "timeout_s"),
        ({"isolation": "app"}, "taak.isolation", "host.json"),
        ({"restart_backoff": True}, "taak.restart_backoff", "settings.job"),
        ({"memory_mb": 64}, "taak.memory_mb", "did you mean 'memory_mib'?"),
    ],
)
def test_a_key_without_effect_is_told(app, keys, place, reason):
    """With file, line and field; the function is served all the same."""
    definition = app("f", f__function_json=with_taak(**keys))
    [line] = told(definition)
    where, number, rest = line.split(":", 2)
    assert (where, int(number) > 1) == ("f/function.json", True)
    assert rest.startswith(f" {place}: ")
    assert reason in rest
    assert [function.name for function in definition.functions] == ["f"]


def test_keys_of_functions_are_told_in_a_job(app):
    """A job has no workers, and a sandbox of its own anyway."""
    settings = {"taak": {"max_workers": 3, "isolation": "app", "ports": [1]}}
    definition = app(
        **{
            "jobs__triggered__j__run.sh": "",
            "jobs__triggered__j__settings.job": json.dumps(settings),
        }
    )
    first, second, third = told(definition)
    assert "taak.isolation: has no effect here: each job" in first
    assert "taak.max_workers: has no effect here: it is for functions" in second
    assert 'taak.ports: has no effect: without "network": "outbound"' in third


def test_a_key_of_the_app_has_effect_if_it_has_so_for_one(app):
    """Ports for all functions, and one function with a network."""
    host = '{"version": "2.0", "taak": {"ports": [5432]}}'
    [line] = told(app("f", "g", host_json=host))
    assert line.startswith("host.json:1: taak.ports: has no effect")
    assert not told(app(host_json=host, f__function_json=with_taak(network="outbound")))


def test_host_json_under_a_level_that_ignores_it(app):
    """Trusted code has the machine's network whatever the app says of it."""
    host = '{"version": "2.0", "taak": {"sandbox": "trusted", "network": "outbound"}}'
    [line] = told(app("f", host_json=host))
    assert "taak.network: has no effect" in line


def test_a_folder_that_is_a_link_is_listed_with_the_reason(app, tmp_path):
    """A function and a job, also by a link to a link; other links are the app's own business."""
    app("shared/base", files=("jobs/triggered/real/run.sh", "docs/x"))
    (tmp_path / "hello").symlink_to("shared/base")
    (tmp_path / "again").symlink_to("hello")
    (tmp_path / "papers").symlink_to("docs")
    (tmp_path / "jobs/triggered/copy").symlink_to("real")
    (tmp_path / "jobs/triggered/loop").symlink_to("loop")
    definition = app()
    found = {problem.owner: problem for problem in definition.problems if not problem.warning}
    assert set(found) == {"hello", "again", "triggered/copy"}
    assert "symbolic link to 'shared/base'" in found["again"].message
    assert found["triggered/copy"].where == "jobs/triggered/copy"
    assert [job.name for job in definition.jobs] == ["real"]
