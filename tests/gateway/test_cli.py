"""The command line against a made-up management listener: what it asks, shows, and exits with."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.cli import app
from gateway.cli.client import ServerEvent, parse_events
from gateway.cli.exits import CliError, ExitCode
from gateway.cli.logs import follow_events
from gateway.cli.start import plain_options
from gateway.config import SETTINGS

pytestmark = pytest.mark.real

HELLO = {
    "name": "hello",
    "trigger": "http",
    "methods": ["GET"],
    "url": "http://127.0.0.1:7071/api/hello",
    "state": "ready",
    "counts": {"calls": 3},
    "workers": {"total": 1},
    "problems": [{"where": "hello/function.json", "line": 3, "field": "route", "message": "odd"}],
}
REPORT = {"name": "report", "kind": "triggered", "state": "ready", "schedule": "0 0 6 * * *"}
RUN = {"id": 7, "kind": "triggered", "name": "report", "state": "success", "exit_code": 0}


@dataclass
class FakePlatform:
    """A management listener: answers are set by the test, requests are kept."""

    url: str = ""
    answers: dict[str, tuple[int, object]] = field(default_factory=dict)
    requests: list[tuple[str, dict, object]] = field(default_factory=list)

    def answer(self, call: str, body: object = None, *, status: int = 200) -> None:
        """Set the answer of "METHOD /path"; bytes go out as they are, the rest as JSON."""
        self.answers[call] = (status, {} if body is None else body)

    def asked(self) -> list[str]:
        """Return what was called, with the query."""
        return [call for call, _, _ in self.requests]


def handler(fake: FakePlatform) -> type[BaseHTTPRequestHandler]:
    """Return the request handler of the fake."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            sent = json.loads(self.rfile.read(length)) if length else None
            call = f"{self.command} {self.path}"
            fake.requests.append((call, dict(self.headers), sent))
            status, body = fake.answers.get(call.partition("?")[0], (404, {"detail": "no such"}))
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    return Handler


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakePlatform]:
    """A fake platform, named by TAAK_HOST; no home and no other setting of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in ("TAAK_HOME", "TAAK_KEY", "TAAK_MASTER_KEY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    fake = FakePlatform()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(fake))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("TAAK_HOST", fake.url)
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def taak(capsys: pytest.CaptureFixture[str]):
    """`taak("list", "--json")` runs one command line and returns code, out and err."""

    def run(*arguments: str) -> SimpleNamespace:
        code = app.run_command_line(arguments)
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err, json=lambda: json.loads(out))

    return run


class TestFinding:
    """Which platform is meant."""

    def test_flag_beats_environment(self, fake, taak, monkeypatch):
        """--host and --key win over TAAK_HOST and TAAK_KEY."""
        fake.answer("GET /v1/status", {"state": "ready"})
        monkeypatch.setenv("TAAK_HOST", "http://127.0.0.1:1")
        monkeypatch.setenv("TAAK_KEY", "from-environment")
        assert taak("status", "--host", fake.url, "--key", "from-flag").code == 0
        assert fake.requests[0][1]["x-functions-key"] == "from-flag"

    def test_the_running_platform_of_the_home(self, fake, taak, monkeypatch, tmp_path):
        """run.json gives the URL, the secrets file the key; nothing else need be said."""
        monkeypatch.delenv("TAAK_HOST")
        home = tmp_path / "home"
        (home / "data/secrets").mkdir(parents=True)
        (home / "run.json").write_text(json.dumps({"management_url": fake.url, "pid": 1}))
        secret = {"masterKey": {"name": "_master", "value": "of-the-home", "encrypted": False}}
        (home / "data/secrets/host.json").write_text(json.dumps(secret))
        fake.answer("GET /v1/status", {"state": "ready"})
        assert taak("status", "--home", str(home)).code == 0
        assert fake.requests[0][1]["x-functions-key"] == "of-the-home"

    def test_a_listening_address_in_TAAK_HOST_is_not_ours(self, taak, monkeypatch, tmp_path):  # noqa: N802
        """TAAK_HOST=0.0.0.0 is for `taak run`; the verbs go on to the home and the default."""
        monkeypatch.setenv("TAAK_HOST", "0.0.0.0")
        (tmp_path / "run.json").write_text('{"management_url": "http://127.0.0.1:9"}')
        done = taak("list", "--home", str(tmp_path))
        assert "http://127.0.0.1:9" in done.err

    def test_nobody_there(self, taak, monkeypatch, tmp_path):
        """No platform: exit 7, where it was looked for, and what to do."""
        monkeypatch.delenv("TAAK_HOST", raising=False)
        (tmp_path / "run.json").write_text('{"management_url": "http://127.0.0.1:9"}')
        done = taak("list", "--home", str(tmp_path))
        assert done.code == ExitCode.UNREACHABLE
        assert "run.json" in done.err
        assert "taak run" in done.err

    def test_not_a_url(self, taak):
        """A host that cannot be one is a usage error."""
        assert taak("list", "--host", "ftp://x").code == ExitCode.USAGE


class TestExitCodes:
    """The numbers are an interface."""

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, 2),
            (401, 6),
            (403, 6),
            (404, 4),
            (409, 5),
            (422, 3),
            (429, 7),
            (500, 1),
            (503, 7),
            (504, 9),
        ],
    )
    def test_a_refusal(self, fake, taak, status, code):
        """Each HTTP status has one exit code; the problem's detail and hint are shown."""
        problem = {"title": "t", "detail": "what was wrong", "hint": "how to fix", "code": "c"}
        fake.answer("GET /v1/status", problem, status=status)
        done = taak("status")
        assert done.code == code
        assert "what was wrong" in done.err
        assert "how to fix" in done.err
        assert done.out == ""

    def test_errors_as_json(self, fake, taak):
        """With --json the error is a document too, on standard error."""
        fake.answer("GET /v1/status", {"detail": "d", "code": "c"}, status=409)
        error = json.loads(taak("status", "--json").err)["error"]
        assert error["exit_code"] == 5
        assert error["name"] == "conflict"
        assert error["message"] == "d"

    def test_the_published_numbers(self):
        """They never change."""
        assert [int(code) for code in ExitCode] == [*range(11), 130]

    def test_usage(self, taak):
        """An unknown verb and an unknown option are 2."""
        assert taak("lst").code == ExitCode.USAGE
        assert taak("status", "--nope").code == ExitCode.USAGE

    def test_not_the_management_listener(self, fake, taak):
        """An answer that is no JSON is told as what it most likely is."""
        fake.answer("GET /v1/status", b"<html>")
        done = taak("status")
        assert done.code == ExitCode.UNEXPECTED
        assert "7072" in done.err


class TestShapes:
    """Tables, JSON, names."""

    @pytest.fixture(autouse=True)
    def _deployed(self, fake):
        fake.answer("GET /v1/functions", {"items": [HELLO]})
        fake.answer("GET /v1/jobs", {"items": [REPORT]})

    def test_for_people(self, taak):
        """Names, addresses, states and problems with file and line; no colour without a tty."""
        out = taak("list").out
        assert re.search(r"hello +http +GET http://127.0.0.1:7071/api/hello +ready", out)
        assert re.search(r"report +triggered +ready +0 0 6", out)
        assert "hello/function.json:3: route: odd" in out
        assert "\x1b" not in out

    def test_for_programs(self, taak):
        """--json is one document with all that the platform said."""
        assert taak("list", "--json").json() == {"functions": [HELLO], "jobs": [REPORT]}

    def test_for_shells(self, taak):
        """--quiet is one name a line."""
        assert taak("list", "-q").out == "hello\nreport\n"

    def test_every_verb_takes_the_global_options(self, taak):
        """--help of each verb names --json, --quiet, --no-color, --host and --key."""
        for verb in app.VERBS.keys() - {"run", "schedule"}:
            text = taak(verb, "--help").out
            for option in ("--json", "--quiet", "--no-color", "--host", "--key", "--home"):
                assert option in text, f"{verb} {option}"

    def test_run_loads_no_table_and_no_client(self):
        """`taak run` costs little: the other verbs stay unread."""
        assert [c.name for c in app.build(["run"]).registered_commands] == ["run"]
        assert len(app.build(["--help"]).registered_commands) > 10


class TestInvoke:
    def test_the_body_goes_to_stdout_alone(self, fake, taak):
        """So that the answer can be piped; ending and status go to standard error."""
        answer = {"invocation_id": "i", "ending": "succeeded", "status": 200, "body": "Hello!\n"}
        fake.answer("POST /v1/functions/hello/invoke", answer)
        done = taak("invoke", "hello", "-X", "POST", "-d", "{}", "--query", "a=b=c", "-H", "X-A: 1")
        assert (done.code, done.out) == (0, "Hello!\n")
        assert "succeeded" in done.err
        sent = fake.requests[0][2]
        assert (sent["method"], sent["body"], sent["input"]) == ("POST", "{}", "{}")
        assert (sent["query"], sent["headers"]) == ({"a": "b=c"}, {"X-A": "1"})

    def test_a_failed_function(self, fake, taak):
        """Exit 8 with its error and traceback."""
        answer = {"ending": "failed", "status": 500, "error": "ValueError: boom", "detail": "Trace"}
        fake.answer("POST /v1/functions/hello/invoke", answer)
        done = taak("invoke", "hello")
        assert done.code == ExitCode.RUN_FAILED
        assert "ValueError: boom" in done.err
        assert "Trace" in done.err

    @pytest.mark.parametrize(
        "arguments", [("-H", "nocolon"), ("--query", "=x"), ("-d", "x", "-f", "y"), ("-f", "nope")]
    )
    def test_bad_arguments(self, taak, fake, arguments):
        """Told before anything is called."""
        assert taak("invoke", "hello", *arguments).code == ExitCode.USAGE
        assert fake.asked() == []


class TestJobs:
    def test_trigger_with_arguments(self, fake, taak):
        """What follows -- reaches the job, quoted as a shell would need it."""
        fake.answer("GET /v1/jobs/triggered/report", REPORT)
        fake.answer("POST /v1/jobs/triggered/report/run", {**RUN, "state": "queued"}, status=202)
        done = taak("trigger", "report", "--", "--days", "7 8")
        assert (done.code, done.out) == (0, "report: run 7 queued\n")
        assert fake.requests[-1][2] == {"arguments": "--days '7 8'"}

    def test_wait_for_a_failure(self, fake, taak):
        """--wait asks until the end: exit 8, or the job's own code with --propagate."""
        fake.answer("GET /v1/jobs/triggered/report", REPORT)
        fake.answer("POST /v1/jobs/triggered/report/run", RUN, status=202)
        fake.answer("GET /v1/runs/7", {**RUN, "state": "failed", "exit_code": 3})
        assert taak("trigger", "report", "--wait").code == ExitCode.RUN_FAILED
        assert taak("trigger", "report", "--propagate").code == 3

    def test_waiting_is_bounded(self, fake, taak):
        """--timeout: exit 9 while it still runs."""
        fake.answer("GET /v1/jobs/triggered/report", REPORT)
        fake.answer("POST /v1/jobs/triggered/report/run", RUN, status=202)
        fake.answer("GET /v1/runs/7", {**RUN, "state": "running"})
        assert taak("trigger", "report", "--wait", "--timeout", "0.01").code == ExitCode.TIMED_OUT

    def test_trigger_fires_a_timer(self, fake, taak):
        """A function of that name is fired when no triggered job has it."""
        fake.answer("GET /v1/functions/cleanup", {"name": "cleanup"})
        fake.answer("POST /v1/functions/cleanup/invoke", {"ending": "succeeded"})
        assert taak("trigger", "cleanup").code == 0

    @pytest.mark.parametrize(("pid", "verb"), [(4711, "restart"), (None, "start")])
    def test_trigger_of_a_continuous_job(self, fake, taak, pid, verb):
        """It is told what it is, how it is, and which verb helps."""
        job = {"name": "mail", "kind": "continuous", "state": "Running", "pid": pid}
        fake.answer("GET /v1/jobs/continuous/mail", job)
        done = taak("trigger", "mail")
        assert done.code == ExitCode.CONFLICT
        assert "'mail' is a continuous job (Running)" in done.err
        assert f"taak {verb} mail" in done.err

    def test_trigger_nothing(self, fake, taak):
        """Exit 4 with the way to find the name."""
        done = taak("trigger", "nobody")
        assert done.code == ExitCode.NOT_FOUND
        assert "taak list" in done.err

    @pytest.mark.parametrize("verb", ["start", "stop", "restart"])
    def test_switches(self, fake, taak, verb):
        """One call, and the state that the platform answers with."""
        fake.answer(f"POST /v1/jobs/continuous/beat/{verb}", {"name": "beat", "state": "Running"})
        assert taak(verb, "beat").out == "beat: Running\n"

    def test_a_conflict(self, fake, taak):
        """A run that is active already: exit 5."""
        fake.answer("GET /v1/jobs/triggered/report", REPORT)
        fake.answer("POST /v1/jobs/triggered/report/run", {"detail": "is running"}, status=409)
        assert taak("trigger", "report").code == ExitCode.CONFLICT


class TestRunsAndDeployments:
    def test_filters_and_pages(self, fake, taak):
        """Filters go into the query, and pages are followed up to the limit."""
        fake.answer("GET /v1/runs", {"items": [RUN], "cursor": 7})
        assert taak("runs", "--name", "report", "--limit", "2", "-q").out == "7\n7\n"
        assert fake.asked()[0] == "GET /v1/runs?name=report&limit=2"
        assert fake.asked()[1] == "GET /v1/runs?name=report&limit=1&cursor=7"

    def test_one_run(self, fake, taak):
        """show, log and cancel of a run."""
        fake.answer("GET /v1/runs/7", RUN)
        fake.answer("GET /v1/runs/7/log", b"line\n")
        fake.answer("POST /v1/runs/7/cancel", {**RUN, "state": "cancelled"})
        assert taak("runs", "show", "7", "--json").json() == RUN
        assert taak("runs", "log", "7").out == "line\n"
        assert taak("runs", "cancel", "7").out == "run 7: cancelled\n"

    def test_a_refused_deployment(self, fake, taak):
        """Exit 3 with file and line of every problem."""
        problem = {"where": "x/function.json", "line": 2, "field": "", "message": "broken"}
        refused = {"id": "d1", "state": "refused", "problems": [problem]}
        fake.answer("POST /v1/deployments:reconcile", refused)
        done = taak("deployments", "reconcile")
        assert done.code == ExitCode.INVALID
        assert "x/function.json:2: broken" in done.out

    def test_refusals_are_told(self, fake, taak):
        """The list says below why a deployment was refused."""
        problem = {"where": "x/function.json", "line": 2, "field": "", "message": "broken"}
        refused = {"id": "d1", "state": "refused", "problems": [problem]}
        fake.answer("GET /v1/deployments", {"items": [refused]})
        done = taak("deployments")
        assert "(1 problem)" in done.out
        assert "d1 was refused:\n  x/function.json:2: broken" in done.out

    def test_the_list(self, fake, taak):
        """Changes stand with their sign."""
        item = {"id": "d1", "state": "live", "added": ["a"], "removed": ["b"]}
        fake.answer("GET /v1/deployments", {"items": [item]})
        assert "+a -b" in taak("deployments").out

    def test_what_limps_is_told_of_the_one_that_serves(self, fake, taak):
        """With file, line and field; an older one has nothing to say any more."""
        problem = {"where": "f/function.json", "line": 3, "field": "taak.ports", "warning": True,
                   "message": "has no effect: x"}  # fmt: skip
        live = {"id": "d2", "state": "live", "problems": [problem]}
        old = {"id": "d1", "state": "live", "problems": [{**problem, "where": "old"}]}
        fake.answer("GET /v1/deployments", {"items": [live, old]})
        out = taak("deployments").out
        assert "d2 serves, but:\n  f/function.json:3: warning: taak.ports: has no effect: x" in out
        assert "old" not in out


class TestLogs:
    def test_a_function_s_lines(self, fake, taak):
        """Instant, invocation, level and text."""
        line = {"at": "2026-01-02T03:04:05.6+00:00", "invocation_id": "abcdef-123", "level": "INFO"}
        fake.answer("GET /v1/functions/hello", HELLO)
        fake.answer("GET /v1/functions/hello/logs", {"items": [{**line, "text": "hi"}]})
        assert taak("logs", "hello", "-n", "5").out.startswith(
            "2026-01-02 03:04:05Z  abcdef-1  INFO"
        )
        assert fake.asked()[-1].endswith("logs?tail=5")

    def test_a_job_s_text(self, fake, taak):
        """The log as it is; the job's kind is found by asking."""
        fake.answer("GET /v1/jobs/triggered/report", REPORT)
        fake.answer("GET /v1/jobs/triggered/report/log", b"one\ntwo\n")
        assert taak("logs", "report").out == "one\ntwo\n"

    def test_what_is_wanted_of_a_log(self, fake, taak):
        """Streams, texts and times go into the query; a run is asked by its number."""
        fake.answer("GET /v1/jobs/triggered/report", REPORT)
        fake.answer("GET /v1/jobs/triggered/report/log", b"one\n")
        fake.answer("GET /v1/runs/7/log", b"two\n")
        assert taak("logs", "report", "--stderr", "--grep", "a b", "--tail", "3").out == "one\n"
        assert fake.asked()[-1].endswith("log?stream=stderr&q=a+b&tail=3")
        assert taak("logs", "report", "--run", "7", "--regex", "x$").out == "two\n"
        assert fake.asked()[-1] == "GET /v1/runs/7/log?regex=x%24"
        taak("runs", "log", "7", "--since", "2026-01-02T03:04:05Z", "--stream", "system")
        assert fake.asked()[-1] == (
            "GET /v1/runs/7/log?since=2026-01-02T03%3A04%3A05Z&stream=system"
        )
        taak("logs", "report", "--since", "2h")
        assert "since=20" in fake.asked()[-1]
        assert "tail" not in fake.asked()[-1]

    def test_a_log_as_json(self, fake, taak):
        """One list of lines with their facts, also if there are none."""
        fake.answer(
            "GET /v1/runs/7/log",
            b'{"seq": 1}\n{"seq": 2}\n{"end": {"complete": false, "reason": "late"}}\n',
        )
        assert taak("runs", "log", "7", "--json").json() == [{"seq": 1}, {"seq": 2}]
        assert fake.asked()[-1] == "GET /v1/runs/7/log?format=json"
        fake.answer("GET /v1/runs/8/log", b"")
        assert taak("runs", "log", "8", "--json").json() == []

    def test_a_function_s_lines_are_not_searched(self, fake, taak):
        """What does nothing is refused rather than ignored."""
        fake.answer("GET /v1/functions/hello", HELLO)
        assert taak("logs", "hello", "--grep", "x").code == ExitCode.USAGE

    def test_following_ends_with_the_stream(self, fake, taak):
        """An `end` event ends the command; comments and ids are not shown."""
        fake.answer("GET /v1/jobs/continuous/beat", {"name": "beat"})
        stream = b": hello\nid: 4\ndata: one\n\nid: 9\ndata: two\ndata: three\n\n"
        stream += b"data: \n\nevent: end\n\n"
        fake.answer("GET /v1/jobs/continuous/beat/log", stream)
        assert taak("logs", "beat", "-f").out == "one\ntwo\nthree\n\n"

    def test_following_survives_a_restart(self):
        """It comes back behind the last id, and gives up when the platform stays away."""
        asked, now = [], iter(range(0, 10_000, 25))

        def events(path: str, query: dict, *, last_id: str) -> Iterator[ServerEvent]:
            asked.append((query.get("tail"), last_id))
            if len(asked) == 1:
                yield ServerEvent("message", "one", "4")
            raise CliError("gone", ExitCode.UNREACHABLE)

        session = SimpleNamespace(client=SimpleNamespace(events=events))
        told = follow_events(
            session, "/x", {"tail": 5}, pause=lambda _: None, clock=lambda: next(now)
        )
        assert next(told).data == "one"
        with pytest.raises(CliError):
            next(told)
        assert asked[:2] == [(5, ""), (0, "4")]
        assert len(asked) > 2

    def test_a_platform_that_starts_knows_no_job_yet(self):
        """Following goes on when it does."""
        answers = iter([ExitCode.UNREACHABLE, ExitCode.NOT_FOUND])
        asked: list[str] = []

        def events(path: str, query: dict, *, last_id: str) -> Iterator[ServerEvent]:
            asked.append(last_id)
            if len(asked) in {2, 3}:
                raise CliError("not yet", next(answers))
            yield ServerEvent("message", "line", str(len(asked)))

        session = SimpleNamespace(client=SimpleNamespace(events=events))
        told = follow_events(session, "/x", {}, pause=lambda _: None, clock=lambda: 0.0)
        assert [next(told).id, next(told).id] == ["1", "4"]
        assert asked == ["", "1", "1", "1"]

    def test_nobody_to_follow(self):
        """A platform that was never there is told at once, not waited for."""

        def events(*_: object, **__: object) -> Iterator[ServerEvent]:
            raise CliError("gone", ExitCode.UNREACHABLE)
            yield

        session = SimpleNamespace(client=SimpleNamespace(events=events))
        with pytest.raises(CliError):
            next(follow_events(session, "/x", {}, pause=pytest.fail))

    def test_the_stream_s_grammar(self):
        """Events end at blank lines; the last id stays, unfinished events are dropped."""
        lines = [
            b"id: 1\n",
            b"data: a\r\n",
            b"\n",
            b"\n",
            b": c\n",
            b"event: x\n",
            b"data\n",
            b"\n",
        ]
        told = list(parse_events(iter([*lines, b"data: cut"])))
        assert told == [ServerEvent("message", "a", "1"), ServerEvent("x", "", "1")]


class TestKeysOfManagement:
    def test_a_key_is_made_and_shown_once(self, taak, fake):
        """The value is in the answer alone; -q prints it for scripts; scopes may be repeated."""
        made = {"name": "ci", "scopes": ["deploy", "job:x:run"], "created_at": "", "key": "v" * 54}
        fake.answer("POST /v1/keys", made, status=201)
        wanted = ("keys", "create", "ci", "--scope", "deploy", "--scope", "job:x:run")
        assert "v" * 54 in taak(*wanted).out
        assert taak(*wanted, "-q").out == "v" * 54 + "\n"
        assert fake.requests[0][2] == {"name": "ci", "scopes": ["deploy", "job:x:run"]}

    def test_a_key_is_revoked(self, taak, fake):
        """By name; one that is not there is exit 4; a verb that is none, or no name, exit 2."""
        fake.answer("DELETE /v1/keys/ci", b"", status=204)
        assert taak("keys", "revoke", "ci").code == ExitCode.OK
        assert taak("keys", "revoke", "other").code == ExitCode.NOT_FOUND
        assert taak("keys", "revoke").code == ExitCode.USAGE
        assert taak("keys", "burn", "ci").code == ExitCode.USAGE

    def test_the_list_names_them_without_values(self, taak, tmp_path):
        """Only digests are kept, and those are not shown either."""
        folder = tmp_path / "data/secrets"
        folder.mkdir(parents=True)
        (folder / "host.json").write_text(json.dumps({"masterKey": {"value": "m" * 40}}))
        kept = {"name": "ci", "scopes": ["deploy"], "sha256": "d" * 64, "created_at": "now"}
        (folder / "taak.keys.json").write_text(json.dumps({"keys": [kept]}))
        out = taak("keys", "--show", "--home", str(tmp_path)).out
        assert "ci" in out
        assert "deploy" in out
        assert "d" * 64 not in out


class TestWithoutAPlatform:
    def test_keys_are_masked(self, taak, tmp_path):
        """Values only when asked for; --master prints it alone, for scripts."""
        folder = tmp_path / "data/secrets"
        folder.mkdir(parents=True)
        key = {"name": "_master", "value": "m" * 40, "encrypted": False}
        (folder / "host.json").write_text(json.dumps({"masterKey": key, "functionKeys": []}))
        (folder / "hello.json").write_text(json.dumps({"keys": [{**key, "name": "default"}]}))
        assert "m" * 40 not in taak("keys", "--home", str(tmp_path)).out
        assert "m" * 40 in taak("keys", "--show", "--home", str(tmp_path)).out
        assert taak("keys", "--master", "--home", str(tmp_path)).out == "m" * 40 + "\n"
        assert (
            taak("keys", "-q", "--home", str(tmp_path)).out.splitlines()[1]
            == "function hello/default"
        )

    def test_keys_without_a_home(self, taak, tmp_path):
        """Exit 4: the platform has never run there."""
        assert taak("keys", "--home", str(tmp_path / "none")).code == ExitCode.NOT_FOUND

    def test_run_tells_all_mistakes(self, taak, tmp_path, monkeypatch):
        """Exit 3 before anything is started."""
        monkeypatch.chdir(tmp_path)
        done = taak("run", "--port", "x", "--drain-s", "y")
        assert done.code == ExitCode.INVALID
        assert "--port='x'" in done.err
        assert "--drain-s='y'" in done.err

    @pytest.mark.parametrize(
        ("words", "options"),
        [
            ((), {}),
            (("app", "--port", "0"), {"site": "app", "port": "0"}),
            (("--home=h=1", "app"), {"home": "h=1", "site": "app"}),
            (("--config", "x.toml"), {"config": "x.toml"}),
            (("--help",), None),
            (("--port",), None),
            (("--port", "--home"), None),
            (("--port=1", "--port=2"), None),
            (("a", "b"), None),
            (("--master-key", "k"), None),
            (("-x",), None),
        ],
    )
    def test_a_plain_start_needs_no_parser(self, words, options):
        """Plain options are read at once; whatever needs explaining goes to the full parser."""
        assert plain_options(words) == options

    def test_both_parsers_know_the_same_options(self, taak):
        """Each flag of the settings' table stands in `taak run --help`."""
        text = taak("run", "--help").out
        for setting in SETTINGS:
            assert (setting.flag in text) is not setting.secret

    def test_run_usage(self, taak):
        """The full parser explains: exit 2."""
        assert taak("run", "--prot", "1").code == ExitCode.USAGE

    def test_schedule_explain(self, taak):
        """The meaning of an expression, offline; a wrong one is exit 3."""
        done = taak("schedule", "explain", "0 0 6 * * *", "-n", "2", "--json")
        assert len(done.json()["next"]) == 2
        assert taak("schedule", "explain", "0 0 6 * *  x y").code == ExitCode.INVALID

    def test_validate(self, taak, tmp_path):
        """Every mistake with file and line, exit 3; a sound app is exit 0."""
        function = tmp_path / "hello"
        function.mkdir()
        (function / "__init__.py").write_text("def main(req): return 'x'\n")
        trigger = {"type": "httpTrigger", "direction": "in", "name": "req"}
        (function / "function.json").write_text(json.dumps({"bindings": [trigger]}))
        assert taak("validate", str(tmp_path), "--json").json()["functions"] == ["hello"]
        (function / "function.json").write_text('{\n  "bindings": [}\n')
        done = taak("validate", str(tmp_path))
        assert done.code == ExitCode.INVALID
        assert "hello/function.json:2" in done.out
        assert taak("validate", str(tmp_path / "nowhere")).code == ExitCode.NOT_FOUND

    def test_schedule_next(self, taak, fake):
        """The platform's own instants, computed on when more are wanted; exit 4 without one."""
        times = {"next": ["2026-01-01T06:00:00+00:00"], "time_zone": "UTC", "canonical": "c"}
        item = {"name": "report", "kind": "triggered", "expression": "0 0 6 * * *", **times}
        fake.answer("GET /v1/schedules", {"items": [item]})
        assert "Thu 2026-01-01 06:00:00 UTC" in taak("schedule", "next", "REPORT", "-n", "1").out
        assert len(taak("schedule", "next", "report", "-n", "3", "-q").out.splitlines()) == 3
        done = taak("schedule", "next", "hello")
        assert done.code == ExitCode.NOT_FOUND
        assert "report" in done.err

    def test_version(self, taak):
        """The version, without a platform."""
        assert taak("version", "--json").json().keys() == {"taak", "python"}

    def test_doctor_without_a_platform(self, taak, tmp_path, monkeypatch):
        """The machine is checked, and that none runs is only a note."""
        monkeypatch.setenv("TAAK_HOST", "http://127.0.0.1:9")
        checks = taak("doctor", "--json", "--home", str(tmp_path)).json()["checks"]
        assert {"python", "disk", "inotify", "platform"} <= {check["name"] for check in checks}
