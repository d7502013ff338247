"""The platform's own log, as text and as JSON lines."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from gateway.logs import set_up

LOGGERS = ("", "asyncio", "aiohttp")


@contextlib.contextmanager
def logging_as(log_format: str) -> Iterator[Callable[[], str]]:
    """Set the log up on a stderr like the real one; give what reads it. All is put back."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    raw = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        # Only for the length of the block: pytest changes both between a test's phases.
        text = io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", write_through=True)
        patch.setattr(sys, "stderr", text)
        set_up(log_format)
        try:
            yield lambda: raw.getvalue().decode()
        finally:
            root.handlers[:] = handlers
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def test_json_is_one_object_a_line() -> None:
    """Time in UTC, level, logger and text; line ends stay inside, letters stay readable."""
    with logging_as("json") as told:
        began = datetime.now(UTC).replace(microsecond=0)
        logging.getLogger("taak.jobs").warning("job %s:\n%s", "näme", "two")
        (line,) = told().splitlines()
        facts = json.loads(line)
        at = datetime.fromisoformat(facts.pop("ts"))
        assert at.utcoffset() is not None
        assert at >= began
        assert facts == {"level": "WARNING", "logger": "taak.jobs", "msg": "job näme:\ntwo"}
        assert "näme" in line


def test_json_holds_the_traceback_in_the_same_line() -> None:
    """A collector gets event and reason together."""
    with logging_as("json") as told:
        try:
            raise KeyError("lost")
        except KeyError:
            logging.getLogger("taak").exception("it broke")
        (line,) = told().splitlines()
        facts = json.loads(line)
        assert facts["msg"] == "it broke"
        assert facts["exception"].startswith("Traceback")
        assert facts["exception"].endswith("KeyError: 'lost'")


def test_json_bears_what_is_no_text() -> None:
    """A name with an undecodable byte is logged, and the line is still JSON."""
    with logging_as("json") as told:
        logging.getLogger("taak").error("file %s", "a\udcff")
        assert json.loads(told())["msg"] == "file a\udcff"


def test_text_is_for_people() -> None:
    """Time of day, level, logger, text."""
    with logging_as("text") as told:
        logging.getLogger("taak.store").error("no room on %s", "/disk")
        line = told()
        datetime.strptime(line[:8], "%H:%M:%S")  # noqa: DTZ007 - a time of day has no zone
        assert line[8:] == " ERROR   taak.store: no room on /disk\n"


def test_setting_up_again_replaces() -> None:
    """Each event appears once, in the format that was asked for last."""
    with logging_as("text") as told:
        set_up("json")
        logging.getLogger("taak").info("once")
        assert json.loads(told())["msg"] == "once"


def test_only_the_platform_is_talkative() -> None:
    """Our information shows; that of the libraries, and everybody's debugging, does not."""
    with logging_as("json") as told:
        for name in ("taak", "asyncio", "aiohttp.access"):
            logging.getLogger(name).info("info of %s", name)
            logging.getLogger(name).debug("debug of %s", name)
            logging.getLogger(name).warning("warning of %s", name)
        messages = [json.loads(line)["msg"] for line in told().splitlines()]
        assert messages == [
            "info of taak",
            "warning of taak",
            "warning of asyncio",
            "warning of aiohttp.access",
        ]
