"""§1: where jobs are, which script is taken, the private copy, the log, names."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from needs import need

from conformance.client import LINE, Jobs
from conformance.conftest import Workshop

pytestmark = [pytest.mark.real, pytest.mark.core]

WHERE = 'echo "$(pwd)|$WEBJOBS_PATH|$(basename "$0")"'
#: files of a job -> what is run of them
CHOICES = {
    "any-run-wins": (["run.py", "go.cmd", "a.sh"], "run.py"),
    "order-among-runs": (["run.py", "run.sh"], "run.sh"),
    "order-among-others": (["a.py", "z.sh"], "z.sh"),
    "first-by-name": (["b.sh", "A.sh", "c.sh"], "A.sh"),
    "without-case": (["RUN.SH", "a.sh"], "RUN.SH"),
    "batch-first": (["run.cmd", "run.sh"], "run.cmd"),
    "python-before-php": (["a.php", "b.py"], "b.py"),
    "no-project-json": (["project.json", "x.sh"], "x.sh"),
}
LINES = r"""
import os, sys
os.write(1, b"one\ntwo\r\nthree\rfour\n")
os.write(1, b"\xff\xfe broken\n")
os.write(2, b"trouble\n")
os.write(1, b"last without end")
"""
TOUCHES = """
ls
echo "round $(ls | grep -c extra)"
touch extra
mkdir -p empty
"""
CHANGES = "echo changed; echo '# more' >> run.sh"


@pytest.fixture(scope="module")
def jobs(workshop: Workshop) -> Jobs:
    """One platform on jobs of every layout."""
    for name, (files, _) in CHOICES.items():
        for file in files:
            text = "@echo off\necho ran" if file.endswith(".cmd") else "print('ran')"
            workshop.triggered(name, file, "echo ran" if file.lower().endswith(".sh") else text)
    wrapped = workshop.triggered("wrapped", "readme", "")
    (wrapped / "readme").unlink()
    (wrapped / "one" / "two").mkdir(parents=True)
    (wrapped / "one" / "two" / "run.sh").write_text(WHERE)
    (wrapped / "one" / "two" / "settings.job").write_text('{"mine": 1}')
    stopped = workshop.triggered("outer-settings", "settings.job", "{}")
    (stopped / "inner").mkdir()
    (stopped / "inner" / "run.sh").write_text("echo ran")
    workshop.triggered("nothing", "readme.txt", "no script")
    workshop.triggered("missing-interpreter", "run.ps1", "'x'")
    (workshop.triggered("passes-over", "run.ps1", "'x'") / "other.sh").write_text("echo ran")
    workshop.triggered("copied", "run.sh", WHERE)
    workshop.triggered("placed", "run.sh", WHERE, is_in_place=True)
    workshop.triggered("scripted", "run.js", "console.log(process.cwd())")
    workshop.triggered("copied-js", "run.js", "console.log(process.cwd())", is_in_place=False)
    workshop.triggered("extra", "run.sh", TOUCHES)
    workshop.triggered("changes", "run.sh", CHANGES)
    workshop.triggered("lines", "run.py", LINES)
    workshop.triggered("with space", "run.sh", "echo spaced")
    workshop.triggered("EXT(JOB)", "run.sh", "echo extension")
    workshop.triggered("twin", "run.sh", "echo triggered twin")
    workshop.continuous("twin", "run.sh", "echo continuous twin; sleep 300")
    workshop.triggered("marked", "run.sh", "echo runs", is_in_place=True)
    (workshop.site / "App_Data/jobs/triggered/marked/disable.job").touch()
    second = workshop.home / "site/jobs/triggered"
    for name, text in (("second", "echo second"), ("copied", "echo hidden")):
        (second / name).mkdir(parents=True)
        (second / name / "run.sh").write_text(text)
    return workshop.open()


@pytest.mark.parametrize("name", CHOICES)
def test_the_entry_script(jobs: Jobs, name: str) -> None:
    """§1.3: any run.* beats any other name, then the table's order, then the alphabet's."""
    assert jobs.triggered(name)["run_command"] == CHOICES[name][1]


def test_a_lone_folder_is_looked_through(jobs: Jobs) -> None:
    """§1.2: as deep as it goes; settings.job is read there, and the script starts there."""
    job = jobs.triggered("wrapped")
    assert (job["run_command"], job["settings"]) == ("one/two/run.sh", {"mine": 1})
    where, path, script = jobs.run("wrapped")[1][3].partition("] ")[2].split("|")
    assert (where, script) == (f"{path}/one/two", "run.sh")


def test_a_second_entry_stops_the_descent(jobs: Jobs) -> None:
    """§1.2: a settings.job beside the folder hides what is in it; the reason is shown (§8)."""
    for name in ("outer-settings", "nothing"):
        assert jobs.platform.kudu("GET", f"/api/triggeredwebjobs/{name}").status == 404
        shown = jobs.platform.v1(f"/jobs/triggered/{name}")
        assert shown["state"] == "error"
        assert "no runnable script" in shown["error"]


@pytest.mark.skipif(shutil.which("pwsh") is not None, reason="PowerShell is installed here")
def test_what_nothing_runs_is_passed_over(jobs: Jobs) -> None:
    """§1.3: an interpreter that is not there is skipped, unless nothing else is left."""
    assert jobs.triggered("passes-over")["run_command"] == "other.sh"
    status, log = jobs.run("missing-interpreter")
    assert (status, "pwsh" in log[-1], log[-1][:10]) == ("Failed", True, "SYS ERR ] ")


def test_the_log_names_the_script_and_its_host(jobs: Jobs) -> None:
    """§1.7: `Run script 'F' with script host - 'H'`, F without its folder."""
    told = {
        "wrapped": "'run.sh' with script host - 'BashScriptHost'",
        "any-run-wins": "'run.py' with script host - 'PythonScriptHost'",
        "batch-first": "'run.cmd' with script host - 'WindowsScriptHost'",
    }
    for name, words in told.items():
        assert f"SYS INFO] Run script {words}" in jobs.run(name)[1]


def test_every_line_has_kudus_format(jobs: Jobs) -> None:
    """§1.7, §1.3: time in UTC, six characters of the instance, level, CRLF; lone CR ends a line."""
    run = jobs.ended(jobs.start("lines"))
    raw = (jobs.data("triggered", "lines") / run["id"] / "output_log.txt").read_bytes()
    assert raw.endswith(b"\r\n")
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    found = [LINE.fullmatch(line) for line in raw.decode().removesuffix("\r\n").split("\r\n")]
    assert all(found)
    lines = [match.groups() for match in found if match]
    assert {instance for _, instance, _, _ in lines} == {"abcdef"}
    at = datetime.strptime(lines[0][0], "%m/%d/%Y %H:%M:%S").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=2)
    out = [text for _, _, level, text in lines if level == "INFO"]
    assert out == ["one", "two", "three", "four", "\ufffd\ufffd broken", "last without end"]
    assert [text for _, _, level, text in lines if level == "ERR "] == ["trouble"]


def test_a_copy_is_private(jobs: Jobs) -> None:
    """§1.4, §1.1: the whole job directory, in TEMP/jobs/TYPE/NAME/RANDOM with an 8.3 name."""
    where, path, _ = jobs.run("copied")[1][3].partition("] ")[2].split("|")
    assert where == path
    pattern = re.escape(f"{jobs.platform.home}/tmp/jobs/triggered/copied/") + r"\w{8}\.\w{3}"
    assert re.fullmatch(pattern, path)


def test_in_place_if_it_is_asked_for(jobs: Jobs) -> None:
    """§1.4: the job directory itself; disable.job means nothing to a triggered job (§1.2)."""
    where, path, _ = jobs.run("placed")[1][3].partition("] ")[2].split("|")
    assert where == path == str(jobs.folder("triggered", "placed"))
    assert jobs.run("marked")[0] == "Success"


def test_javascript_is_in_place_unless_told_otherwise(jobs: Jobs) -> None:
    """§1.3, §2: is_in_place is true for .js, and for .js only."""
    need("node")
    assert jobs.run("scripted")[1][3] == f"INFO] {jobs.folder('triggered', 'scripted')}"
    assert "/tmp/jobs/triggered/copied-js/" in jobs.run("copied-js")[1][3]


def test_a_copy_is_kept_until_it_differs(jobs: Jobs) -> None:
    """§1.4: extra files and empty folders in the copy do not count; changed ones are named."""
    assert "INFO] round 0" in jobs.run("extra")[1]
    log = jobs.run("extra")[1]
    assert "INFO] round 1" in log
    assert not any("change detected" in line for line in log)
    jobs.run("changes")
    told = "Job directory change detected: Job file 'run.sh' timestamp differs"
    assert any(told in line for line in jobs.run("changes")[1])


def test_the_primary_root_wins(jobs: Jobs) -> None:
    """§1.1: SITE/jobs is always looked at too; of two with one name the primary's is the job."""
    assert "INFO] second" in jobs.run("second")[1]
    assert "INFO] hidden" not in jobs.run("copied")[1]
    names = [job["name"] for job in jobs.kudu("/api/triggeredwebjobs")]
    assert (names.count("copied"), names.count("second")) == (1, 1)


def test_names_compare_without_case_and_may_be_odd(jobs: Jobs) -> None:
    """§1.8: any single path segment is a name to read; the spelling of the folder is shown."""
    assert jobs.triggered("WRAPPED")["name"] == "wrapped"
    assert jobs.triggered("with space")["name"] == "with space"
    assert jobs.run("with space")[0] == "Success"
    assert jobs.triggered("ext(job)")["name"] == "EXT(JOB)"
    for bad in ("..", "%2e%2e", "a%2Fb"):
        assert jobs.platform.kudu("GET", f"/api/triggeredwebjobs/{bad}").status in {400, 404}


def test_one_name_of_both_kinds_is_two_jobs(jobs: Jobs) -> None:
    """§1.1: they know nothing of each other."""
    assert "INFO] triggered twin" in jobs.run("twin")[1]
    assert "INFO] continuous twin" in jobs.says("twin", "INFO] continuous twin")
    assert jobs.data("triggered", "twin") != jobs.data("continuous", "twin")


def test_new_names_have_to_be_plain(jobs: Jobs) -> None:
    """§1.8 [OURS]: letters, digits, - and _ on creation; 400 names the rule."""
    headers = {"Content-Disposition": "attachment; filename=run.sh"}
    for bad in ("-first", "a%20b", "dot.dot"):
        path = f"/api/triggeredwebjobs/{bad}"
        answer = jobs.platform.manage("PUT", path, "echo x", headers)
        assert (answer.status, "no job name" in answer.text) == (400, True)


def test_mtimes_survive_into_the_copy(jobs: Jobs) -> None:
    """§1.4: the copy has the source's times, so that the next run finds nothing changed."""
    body = BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("run.sh", "stat -c %Y data.txt")
        archive.writestr("data.txt", "x")
    headers = {
        "Content-Type": "application/zip",
        "Content-Disposition": "attachment; filename=a.zip",
    }
    path = "/api/triggeredwebjobs/dated"
    assert jobs.platform.manage("PUT", path, body.getvalue(), headers).status == 200
    for _ in range(2):
        log = jobs.run("dated")[1]
        assert not any("change detected" in line for line in log)
    source = jobs.folder("triggered", "dated") / "data.txt"
    assert f"INFO] {int(source.stat().st_mtime)}" in log


def test_the_root_can_be_set(bench: Workshop) -> None:
    """§1.1: WEBJOBS_ROOT_PATH replaces App_Data/jobs, slashes trimmed, %VAR% expanded."""
    bench.triggered("old", "run.sh", "echo old")
    folder = bench.site / "custom" / "jobs" / "triggered" / "moved"
    folder.mkdir(parents=True)
    (folder / "run.sh").write_text("echo moved")
    jobs = bench.open(env={"WEBJOBS_ROOT_PATH": "/%PLACE%/jobs/", "APPSETTING_PLACE": "custom"})
    assert [job["name"] for job in jobs.kudu("/api/triggeredwebjobs")] == ["moved"]
    assert jobs.run("moved")[0] == "Success"


def test_a_status_file_is_one_line_without_nulls(jobs: Jobs) -> None:
    """§1.5: PascalCase, what is unset is left out, EndTime only at the end."""
    run = jobs.ended(jobs.start("copied"))
    text = (jobs.data("triggered", "copied") / run["id"] / "status").read_text()
    assert "\n" not in text
    status = json.loads(text)
    assert list(status) == ["Trigger", "Status", "StartTime", "EndTime"]
    assert status["Status"] == "Success"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,7}Z", status["EndTime"])
