"""What settings.job may say under "taak" about runs: read, bounded, and told with its line."""

from __future__ import annotations

import pytest

from scheduler.job_policy import JobPolicy, Misfire, OnBusy, Overlap
from scheduler.job_policy_fields import read_policy
from scheduler.lenient_json import parse
from scheduler.manifest_fields import Fields


def read(text: str, *, triggered: bool = True) -> tuple[JobPolicy, list[str]]:
    """Return the policy that a settings.job gives, and what is said about it."""
    document = parse(text, "nightly/settings.job")
    problems = []
    fields = Fields(document, document.value, problems).inner("taak", loose=True)
    return read_policy(fields, triggered=triggered), [str(problem) for problem in problems]


def test_nothing_said_is_as_on_azure():
    """One run, refused when busy, ticks skipped, Kudu's catch-up, no time limit."""
    policy, problems = read("{}")
    assert (policy, problems) == (JobPolicy(), [])
    assert not policy.queues


def test_everything_can_be_said():
    """In the words of the README, and with capitals in the middle as well."""
    policy, problems = read(
        """{"taak": {"concurrency": 3, "onBusy": "queue", "queue_depth": 7, "overlap": "Queue",
            "misfire": "all", "misfire_limit": 5, "timeout_s": 1.5}}"""
    )
    assert problems == []
    assert policy == JobPolicy(
        concurrency=3,
        on_busy=OnBusy.QUEUE,
        queue_depth=7,
        overlap=Overlap.QUEUE,
        misfire=Misfire.ALL,
        misfire_limit=5,
        timeout_s=1.5,
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('"concurrency": 0', "from 1 to 64, not 0"),
        ('"concurrency": 65', "from 1 to 64, not 65"),
        ('"concurrency": 1.5', "a whole number"),
        ('"queue_depth": 1001', "from 1 to 1000"),
        ('"misfire_limit": 101', "from 1 to 100"),
        ('"on_busy": "wait"', 'one of "reject", "queue", not "wait"'),
        ('"overlap": true', 'one of "skip", "queue", not true'),
        ('"misfire": "twice"', '"recent", "skip", "once", "all"'),
        ('"timeout_s": 0', "more than 0"),
        ('"timeout_s": 1e12', "at most 31536000 seconds"),
        ('"timeout_s": "soon"', "number"),
    ],
)
def test_what_is_out_of_bounds_is_told_with_its_line(value, words):
    """And the default stands in for it."""
    policy, problems = read(f'{{\n  "taak": {{\n    {value}\n  }}\n}}')
    assert policy == JobPolicy()
    assert len(problems) == 1, "one mistake is told once"
    assert words in problems[0]
    assert "nightly/settings.job:3" in problems[0]


def test_a_continuous_job_has_no_runs_to_count():
    """The keys are ignored, and it is said."""
    policy, problems = read('{"taak": {"concurrency": 3}}', triggered=False)
    assert policy == JobPolicy()
    assert "triggered jobs only" in problems[0]
