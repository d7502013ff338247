"""Which variables of the platform's environment are app settings.

User code is given nothing of our environment but what is meant for it: names that the Azure
documents define, and whatever an operator marks by Azure's own prefix `APPSETTING_`. All else
(tokens of the service manager, our master key) stays with us (sandbox.md, T1). Everything in
`local.settings.json` reaches the app as well, under whatever name.
"""

from __future__ import annotations

from collections.abc import Mapping

_MARK = "APPSETTING_"
_PREFIXES = (
    "AzureWebJobs", "AzureFunctionsJobHost__", "AZURE_FUNCTIONS_", "FUNCTIONS_", "WEBJOBS_",
    "WEBSITE_", "SCM_", "CUSTOMCONNSTR_", "SQLCONNSTR_", "SQLAZURECONNSTR_", "MYSQLCONNSTR_",
    "POSTGRESQLCONNSTR_", "ConnectionStrings:", "ConnectionStrings__", "PYTHON_ENABLE_",
    "PYTHON_THREADPOOL_",
)  # fmt: skip


def app_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the app settings of an environment, marked names without their mark."""
    known = {name: value for name, value in environ.items() if name.startswith(_PREFIXES)}
    marked = {
        name.removeprefix(_MARK): value
        for name, value in environ.items()
        if name.startswith(_MARK) and name != _MARK
    }
    return {**known, **marked}
