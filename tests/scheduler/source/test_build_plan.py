"""Which steps a tree asks for, and what a .deployment file says."""

from __future__ import annotations

import pytest

from scheduler.file_index import Entry, Index
from scheduler.source.build_plan import BuildPlanError, Tool, custom, steps

JOB = "App_Data/jobs/triggered/report"


def tree(*paths: str) -> Index:
    """Return an index of empty files."""
    entries = {path: Entry(path, f"/{path}", 0, 1, 1, 1, 0o644) for path in paths}
    return Index(entries, frozenset(), 1)


def planned(*paths: str, functions=("hello",), jobs=(JOB,)):
    """Return (folder, command, asked by, python) of each step."""
    found = steps(
        tree(*paths), list(functions), list(jobs), job_python=lambda: "/job", own_python="/own"
    )
    return [
        (step.folder, f"{step.tool.value} {step.arguments[0]}", step.asked_by, step.python)
        for step in found
    ]


def test_nothing_is_asked_for():
    """A tree without manifests has no steps; a pyproject.toml without a lock is for tools."""
    assert planned("hello/function.json", "pyproject.toml", "other/requirements.txt") == []


def test_each_function_and_job_may_have_its_own():
    """Packages of functions are for the platform's Python, those of jobs for theirs."""
    found = planned(
        "requirements.txt", "hello/requirements.txt", f"{JOB}/requirements.txt",
        f"{JOB}/package.json",
    )  # fmt: skip
    assert found == [
        ("", "uv pip", "requirements.txt", "/own"),
        ("hello", "uv pip", "hello/requirements.txt", "/own"),
        (JOB, "uv pip", f"{JOB}/requirements.txt", "/job"),
        (JOB, "npm install", f"{JOB}/package.json", ""),
    ]


def test_an_app_of_jobs_only_is_built_for_their_python():
    """There is nobody else to import what is at its root."""
    assert planned("requirements.txt", functions=())[0][3] == "/job"


def test_a_lock_is_taken_to_the_letter():
    """It is npm ci then, and uv's lock by way of what it exports."""
    found = planned("package.json", "package-lock.json", "pyproject.toml", "uv.lock")
    assert [step[1] for step in found] == ["uv export", "uv pip", "npm ci"]


def test_requirements_win_over_a_lock():
    """As on Azure, where requirements.txt is what is installed."""
    assert [s[1] for s in planned("requirements.txt", "pyproject.toml", "uv.lock")] == ["uv pip"]


def test_what_is_kept_depends_on_its_inputs_only():
    """Without a lock npm and composer are asked each time."""
    found = {
        (step.tool, bool(step.inputs))
        for step in steps(
            tree("package.json", "composer.json", "composer.lock"), [], [], job_python=str
        )
    }
    assert found == {(Tool.NPM, False), (Tool.COMPOSER, True)}


def test_the_deployment_file():
    """Its command and project, which app settings outdo."""
    text = "[config]\ncommand = bash deploy.sh\nproject = src\\app\n"
    said = custom(text, {})
    assert (said.command, said.project) == ("bash deploy.sh", "src/app")
    said = custom(text, {"PROJECT": "other", "COMMAND": "make"})
    assert (said.command, said.project) == ("make", "other")
    assert custom(None, {}).command == ""
    assert custom("[config]\nproject = .\n", {}).project == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no section", "INI"),
        ("[config]\nproject = ../else\n", "leads out"),
        ("[config]\nproject = a/b.csproj\n", "publish"),
    ],
)
def test_what_a_deployment_file_may_not_say(text, told):
    """It is refused with the file's name and the way out."""
    with pytest.raises(BuildPlanError, match=told) as refused:
        custom(text, {})
    assert refused.value.problem.where == ".deployment"
