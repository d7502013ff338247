"""Which variables reach user code: what Azure defines and what an operator marks, nothing else."""

from __future__ import annotations

import pytest

from gateway.environment import app_settings


@pytest.mark.parametrize(
    "name",
    [
        "AzureWebJobsStorage",
        "AzureWebJobs.hello.Disabled",
        "AzureFunctionsJobHost__logging__logLevel",
        "AZURE_FUNCTIONS_ENVIRONMENT",
        "FUNCTIONS_WORKER_PROCESS_COUNT",
        "WEBJOBS_RESTART_TIME",
        "WEBSITE_TIME_ZONE",
        "SCM_COMMAND_IDLE_TIMEOUT",
        "CUSTOMCONNSTR_db",
        "SQLCONNSTR_db",
        "SQLAZURECONNSTR_db",
        "MYSQLCONNSTR_db",
        "POSTGRESQLCONNSTR_db",
        "ConnectionStrings:db",
        "ConnectionStrings__db",
        "PYTHON_ENABLE_WORKER_EXTENSIONS",
        "PYTHON_THREADPOOL_THREAD_COUNT",
    ],
)
def test_what_azure_defines_is_an_app_setting(name: str) -> None:
    """Under its own name, unchanged."""
    assert app_settings({name: "x y"}) == {name: "x y"}


@pytest.mark.parametrize(
    "name",
    [
        "TAAK_MASTER_KEY",
        "PATH",
        "HOME",
        "LD_PRELOAD",
        "PYTHONPATH",
        "NOTIFY_SOCKET",
        "AWS_SECRET_ACCESS_KEY",
        "AZURE_CLIENT_SECRET",
        "azurewebjobsstorage",
        "MY_APPSETTING_X",
        "X_WEBSITE_SITE_NAME",
        "ConnectionStrings",
    ],
)
def test_what_is_ours_stays_with_us(name: str) -> None:
    """Our key, our search path, the service's secrets: none of them reaches user code."""
    assert app_settings({name: "secret"}) == {}


def test_a_marked_variable_is_given_without_its_mark() -> None:
    """`APPSETTING_X` is X for the app; the mark itself is not a setting."""
    assert app_settings({"APPSETTING_X": "1", "APPSETTING_PATH": "/app", "APPSETTING_": "no"}) == {
        "X": "1",
        "PATH": "/app",
    }


@pytest.mark.parametrize("turn", [1, -1])
def test_a_marked_variable_wins(turn: int) -> None:
    """Over the plain one of the same name, in whatever order they stand."""
    both = [("WEBSITE_TIME_ZONE", "plain"), ("APPSETTING_WEBSITE_TIME_ZONE", "marked")]
    assert app_settings(dict(both[::turn])) == {"WEBSITE_TIME_ZONE": "marked"}


def test_only_one_mark_is_taken_off() -> None:
    """A name that holds the mark twice keeps the second."""
    assert app_settings({"APPSETTING_APPSETTING_X": "1"}) == {"APPSETTING_X": "1"}
