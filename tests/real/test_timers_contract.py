"""Timers of functions as an app sees them, on a real platform (functions.md 8, sandbox.md D4).

Downtime is made by putting a timer's saved status back, while the platform is down, to what it
would be had the platform gone down hours ago: the same file, without the hours.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from real import apps
from real.apps import Notebook
from real.platform import Platform

pytestmark = [pytest.mark.real]

#: Notes when it begins and when it ends.
NOTES = """
import json, time

def main(timer):
    tell("begin", timer.past_due, timer.schedule_status)
    time.sleep(SECONDS)
    tell("end")
    LAST

def tell(*what):
    note(json.dumps(["NAME", time.time(), *what]))
"""
#: Once an hour, half an hour away from now: no test meets a tick that it has not asked for.
MINUTE = (datetime.now(UTC) + timedelta(minutes=30)).minute
HOURLY = f"0 {MINUTE} * * * *"


class Notes:
    """What a timer function has noted."""

    def __init__(
        self, notebook: Notebook, site: Path, name: str, schedule: str, **trigger: Any
    ) -> None:
        self._notebook, self._name = notebook, name
        code = NOTES.replace("SECONDS", str(trigger.pop("seconds", 0))).replace("NAME", name)
        code = notebook.code + code.replace("LAST", trigger.pop("last", "pass"))
        apps.timer(site, name, code, schedule, notebook.taak, **trigger)

    def all(self, what: str) -> list[list[Any]]:
        """Return the notes of one kind."""
        notes = map(json.loads, list(self._notebook.notes))
        return [note for name, *note in notes if name == self._name and note[1] == what]

    def begun(self) -> int:
        """Return how often it has begun."""
        return len(self.all("begin"))


def query(platform: Platform, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask the store of a platform that is down, or change it."""
    with closing(sqlite3.connect(platform.home / "taak.db")) as db, db:
        return db.execute(sql, values).fetchall()


def let_hours_pass(platform: Platform, name: str, hours: int = 3) -> datetime:
    """Make the status of an hourly timer that of a platform that went down long ago.

    Returns the tick that is due since.
    """
    last = datetime.now(UTC) - timedelta(hours=hours)
    due = last.replace(minute=MINUTE, second=0, microsecond=0)
    due += timedelta(hours=due <= last)
    status = {
        "Last": "0001-01-01T00:00:00",
        "Next": due.isoformat(),
        "LastUpdated": last.isoformat(),
        "Done": "0001-01-01T00:00:00",
    }
    sql = "INSERT OR REPLACE INTO config (key, value, rev) VALUES (?, ?, 1)"
    query(platform, sql, f"timer/{name}", json.dumps(status))
    return due


def runs_of(platform: Platform, name: str) -> list[dict[str, Any]]:
    """Return a function's runs, oldest first."""
    found = platform.v1(f"/runs?kind=function&name={name}&limit=200")["items"]
    return sorted(found, key=lambda run: run["id"])


def test_schedules_of_all_kinds(site: Path, notebook: Notebook, start_platform: Any) -> None:
    """functions.md 8: six and five fields, spans, settings, a zone; what is wrong says why."""
    (site / "host.json").write_text('{"version": "2.0"}')
    values = {"EVERY_SECOND": "* * * * * *", "WEBSITE_TIME_ZONE": "W. Europe Standard Time"}
    local = {"IsEncrypted": False, "Values": values}
    (site / "local.settings.json").write_text(json.dumps(local))
    setting = Notes(notebook, site, "setting", "%EVERY_SECOND%")
    for name, text in {
        "six": "0 30 9 * * Mon-Fri", "five": "30 9 * * *", "span": "02:00:00", "four": "* * * *",
        "unset": "%NOBODY%",
    }.items():  # fmt: skip
        Notes(notebook, site, name, text)
    platform = start_platform()
    shown = {each["name"]: each for each in platform.v1("/functions")["items"]}
    assert shown["six"]["canonical"] == "0 30 9 * * 1-5"
    assert shown["five"]["canonical"] == "0 30 9 * * *"
    assert shown["five"]["time_zone"] == "Europe/Berlin"
    assert shown["five"]["next"][0][11:] in {"08:30:00Z", "07:30:00Z"}
    assert shown["span"]["state"] == "ready"
    assert [shown[name]["state"] for name in ("four", "unset")] == ["error", "error"]
    assert "4 fields" in shown["four"]["reason"]
    assert "NOBODY" in shown["unset"]["reason"]
    platform.wait_until(lambda: setting.begun() >= 2, what="the setting's timer fires")


def test_runs_never_overlap_and_a_failure_stops_nothing(
    site: Path, notebook: Notebook, start_platform: Any
) -> None:
    """functions.md 8: longer than its interval means at once and not twice; next tick as usual."""
    long = Notes(notebook, site, "long", "* * * * * *", seconds=1.3)
    raises = Notes(notebook, site, "raises", "* * * * * *", last="raise ValueError('boom')")
    platform = start_platform()
    platform.wait_until(lambda: long.begun() >= 3 and raises.begun() >= 3, what="three runs each")
    begins, ends = long.all("begin"), long.all("end")
    for end, begin in zip(ends, begins[1:], strict=False):
        assert 0 <= begin[0] - end[0] < 0.5
    assert not any(begin[2] for begin in begins)
    failed = runs_of(platform, "raises")[0]
    assert (failed["state"], failed["reason"], failed["trigger"]) == (
        "failed", "ValueError: boom", "timer"
    )  # fmt: skip


@pytest.mark.core
def test_what_was_missed_is_made_good_once(
    site: Path, notebook: Notebook, start_platform: Any
) -> None:
    """functions.md 8, sandbox.md D4: one run with IsPastDue, whatever was missed; else none."""
    late = Notes(notebook, site, "late", HOURLY)
    eager = Notes(notebook, site, "eager", HOURLY, runOnStartup=True)
    careless = Notes(notebook, site, "careless", HOURLY, useMonitor=False)
    platform = start_platform()
    platform.wait_until(lambda: len(eager.all("end")) == 1, what="runOnStartup")
    platform.wait_until(lambda: runs_of(platform, "eager")[0]["state"] == "success", what="its end")
    platform.kill()
    due = let_hours_pass(platform, "late")
    let_hours_pass(platform, "eager")
    platform.start()
    platform.wait_until(lambda: len(late.all("end")) == 1, what="the run that is past due")
    platform.wait_until(lambda: len(eager.all("end")) == 2, what="past due before runOnStartup")
    platform.wait_until(lambda: runs_of(platform, "late")[-1]["state"] == "success", what="its end")
    platform.restart()
    platform.wait_until(lambda: len(eager.all("end")) == 3, what="runOnStartup again")
    assert [note[2] for note in late.all("begin")] == [True]
    assert late.all("begin")[0][3]["Next"] == due.isoformat()
    assert [note[2] for note in eager.all("begin")] == [False, True, False]
    assert careless.begun() == 0
    platform.stop()
    fired = "SELECT count(*) FROM ticks WHERE timer_id = 'function/late' AND outcome = 'fired'"
    assert query(platform, fired) == [(1,)]


@pytest.mark.core
def test_a_tick_that_a_kill_cut_off_is_seen_and_run_again(
    site: Path, notebook: Notebook, start_platform: Any
) -> None:
    """sandbox.md D2, D3, D4: recorded once, begun at least once, the cut run closed as aborted."""
    notes = Notes(notebook, site, "cut", HOURLY, seconds=1)
    blind = Notes(notebook, site, "blind", "* * * * * *", seconds=60)
    platform = start_platform()
    platform.kill()
    let_hours_pass(platform, "cut")
    platform.start()
    platform.wait_until(lambda: notes.begun() == 1 and blind.begun() >= 1, what="runs to cut off")
    assert {run["state"] for run in runs_of(platform, "cut")} == {"running"}
    platform.restart(kill=True)
    platform.wait_until(lambda: len(notes.all("end")) == 1, what="the second attempt")
    platform.wait_until(lambda: runs_of(platform, "cut")[-1]["state"] == "success", what="its end")
    assert [note[2] for note in notes.all("begin")] == [True, True]
    told = [(run["state"], run["attempt"], run["reason"]) for run in runs_of(platform, "cut")]
    assert told == [("aborted", 1, "host_restart"), ("success", 2, "")]
    # A timer without a monitor makes nothing good, but what became of its run is there to see.
    states = [run["state"] for run in runs_of(platform, "blind")]
    assert set(states[:-1]) == {"aborted"}
    platform.restart(kill=True)
    assert notes.begun() == 2
    platform.kill()
    found = query(platform, "SELECT outcome FROM ticks WHERE timer_id = 'function/cut'")
    assert found.count(("fired",)) == 1


def test_an_orderly_stop_waits_for_a_run_and_records_it(
    site: Path, notebook: Notebook, start_platform: Any
) -> None:
    """sandbox.md D10: timers first, then what runs ends; nothing is cut off or comes again."""
    notes = Notes(notebook, site, "tick", "* * * * * *", seconds=1)
    platform = start_platform()
    platform.wait_until(lambda: notes.begun() == 1, what="a run")
    assert platform.stop() == 0
    assert len(notes.all("end")) == notes.begun() == 1
    platform.start()
    assert runs_of(platform, "tick")[0]["state"] == "success"
    ends = platform.v1("/runs?kind=function&state=aborted")["items"]
    assert ends == []
