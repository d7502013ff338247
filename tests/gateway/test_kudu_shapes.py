from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from management_fakes import a_job, a_run

from gateway.kudu.etags import history_etag, jobs_etag
from gateway.kudu.shapes import (
    RUN_WORDS,
    Base,
    ContinuousFacts,
    continuous_shape,
    date,
    run_shape,
    swagger,
    time_span,
    to_json,
    triggered_shape,
)
from scheduler.functions import JobKind
from scheduler.run import RunState
from scheduler.schedule import parse_job

BASE = Base("https://h")
SITE = Path("/site")
NOW = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(0), "00:00:00"),
        (timedelta(seconds=2.376543), "00:00:02.3765430"),
        (timedelta(hours=23, minutes=59, seconds=59), "23:59:59"),
        (timedelta(days=1), "1.00:00:00"),
        (timedelta(days=12, hours=3, microseconds=5), "12.03:00:00.0000050"),
        (timedelta(seconds=-90), "-00:01:30"),
    ],
)
def test_time_span(span, text):
    """Durations are .NET TimeSpans: [d.]hh:mm:ss[.fffffff]."""
    assert time_span(span) == text


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (None, "0001-01-01T00:00:00"),
        (datetime(2026, 1, 5, 10, tzinfo=UTC), "2026-01-05T10:00:00Z"),
        (datetime(2026, 1, 5, 10, 0, 2, 500000, tzinfo=UTC), "2026-01-05T10:00:02.5Z"),
        (datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC), "2026-01-05T10:00:00.123456Z"),
    ],
)
def test_date(instant, text):
    """Dates are UTC with a Z and no idle zeros; an unset one is .NET's first day."""
    assert date(instant) == text


def test_every_state_has_a_word_that_kudu_knows():
    """No state of ours reaches a client as a word that it has never seen."""
    assert set(RUN_WORDS) == set(RunState)
    known = {"Initializing", "Running", "Success", "Failed", "Aborted"}
    assert set(RUN_WORDS.values()) <= known
    assert RUN_WORDS[RunState.TIMED_OUT] == "Failed"
    assert RUN_WORDS[RunState.CANCELLED] == "Aborted"


def test_triggered_job_to_the_letter():
    """Fields, order, URLs and words are those of webjobs.md 6.5."""
    run = a_run(
        1,
        public_id="202601051000001234",
        trigger="Schedule - 0 0,15,30,45 * * * *",
        started_at=datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC),
        ended_at=datetime(2026, 1, 5, 10, 0, 2, 500000, tzinfo=UTC),
    )
    job = a_job(
        SITE, "report", script="run.py", settings={"schedule": "0 */15 * * * *"},
        schedule=parse_job("0 */15 * * * *"),
    )  # fmt: skip
    assert to_json(triggered_shape(BASE, job, run_shape(BASE, job, run, now=NOW))) == (
        '{"latest_run":{"id":"202601051000001234","name":"202601051000001234","status":"Success",'
        '"start_time":"2026-01-05T10:00:00.123456Z","end_time":"2026-01-05T10:00:02.5Z",'
        '"duration":"00:00:02.3765440",'
        '"output_url":"https://h/vfs/data/jobs/triggered/report/202601051000001234/output_log.txt",'
        '"error_url":null,'
        '"url":"https://h/api/triggeredwebjobs/report/history/202601051000001234",'
        '"job_name":"report","trigger":"Schedule - 0 0,15,30,45 * * * *"},'
        '"history_url":"https://h/api/triggeredwebjobs/report/history",'
        '"scheduler_logs_url":"https://h/vfs/data/jobs/triggered/report/job_scheduler.log",'
        '"name":"report","run_command":"run.py","url":"https://h/api/triggeredwebjobs/report",'
        '"extra_info_url":"https://h/azurejobs/#/jobs/triggered/report","type":"triggered",'
        '"error":null,"using_sdk":false,"settings":{"schedule":"0 */15 * * * *"}}'
    )


def test_continuous_job_to_the_letter():
    """Fields, order, URLs and words are those of webjobs.md 6.5."""
    job = a_job(SITE, "mail", JobKind.CONTINUOUS, settings={"is_singleton": True})
    facts = ContinuousFacts("Running", "a1b2c3 - Running\r\n")
    assert to_json(continuous_shape(BASE, job, facts)) == (
        '{"status":"Running","detailed_status":"a1b2c3 - Running\\r\\n",'
        '"log_url":"https://h/vfs/data/jobs/continuous/mail/job_log.txt","name":"mail",'
        '"run_command":"run.sh","url":"https://h/api/continuouswebjobs/mail",'
        '"extra_info_url":"https://h/azurejobs/#/jobs/continuous/mail","type":"continuous",'
        '"error":null,"using_sdk":false,"settings":{"is_singleton":true}}'
    )


def test_run_in_progress():
    """An unfinished run has no end date, and a duration up to now."""
    run = a_run(1, state=RunState.RUNNING, ended_at=None)
    shape = run_shape(BASE, a_job(SITE, "report"), run, now=NOW)
    assert shape["status"] == "Running"
    assert shape["end_time"] == "0001-01-01T00:00:00"
    assert shape["duration"] == "01:00:00"


def test_run_that_never_started_counts_from_its_acceptance():
    """Before the process runs the start is the moment of acceptance."""
    run = a_run(1, state=RunState.INITIALIZING, started_at=None, ended_at=None)
    shape = run_shape(BASE, a_job(SITE, "report"), run, now=NOW)
    assert shape["start_time"] == "2026-01-05T11:00:00Z"


def test_letters_beyond_ascii_stay(tmp_path):
    """JSON has plain letters; URLs are escaped."""
    shape = triggered_shape(BASE, a_job(tmp_path, "é b"), None)
    assert '"name":"é b"' in to_json(shape)
    assert shape["url"] == "https://h/api/triggeredwebjobs/%C3%A9%20b"
    assert shape["latest_run"] is None


def test_swagger_to_the_letter():
    """The Swagger document is Kudu's, placeholder included."""
    assert json.loads(to_json(swagger([a_job(SITE, "N")]))) == {
        "swagger": "2.0",
        "info": {"version": "v1", "title": "WebJobs"},
        "host": "placeHolder",
        "schemes": ["https"],
        "paths": {
            "/api/triggeredjobs/N/run": {
                "post": {
                    "deprecated": False,
                    "operationId": "N",
                    "consumes": [],
                    "produces": [],
                    "responses": {
                        "200": {"description": "Success"},
                        "default": {"description": "Success"},
                    },
                    "parameters": [
                        {
                            "name": "arguments",
                            "in": "query",
                            "description": "Web Job Arguments",
                            "required": False,
                            "type": "string",
                        }
                    ],
                }
            }
        },
    }


def test_tag_of_a_list_heeds_state_and_not_settings():
    """A running run changes a list's tag, settings do not; the tag is a quoted text."""
    job = a_job(SITE, "report")
    run = a_run(1, state=RunState.RUNNING, ended_at=None)
    early = triggered_shape(BASE, job, run_shape(BASE, job, run, now=NOW))
    late = triggered_shape(BASE, job, run_shape(BASE, job, run, now=NOW + timedelta(seconds=1)))
    assert jobs_etag([early]) != jobs_etag([late])
    assert jobs_etag([early]) == jobs_etag([{**early, "settings": {"x": 1}}])
    assert jobs_etag([]).startswith('"')
    assert jobs_etag([]).endswith('"')


def test_tag_of_a_history_is_its_newest_runs():
    """Only id, status and end of the newest run count; an empty history has a tag of its own."""
    job = a_job(SITE, "report")
    runs = [run_shape(BASE, job, a_run(number), now=NOW) for number in (2, 1)]
    assert history_etag(runs) == history_etag(runs[:1])
    assert history_etag(runs) != history_etag(runs[1:])
    assert history_etag([]) != jobs_etag([])


def test_half_a_surrogate_pair_does_not_stop_an_answer():
    """JSON of a client can hold one, UTF-8 cannot."""
    assert to_json({"a": "\ud800é"}).encode() == '{"a":"?é"}'.encode()
