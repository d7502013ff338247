"""The environment of a function's processes, built from nothing (functions.md 12).

Four names of the platform's own environment and what apps read about their host; the app's
settings are laid over it by whoever starts the sandbox.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

_INHERITED = ("LANG", "LC_ALL", "PATH", "TZ")
#: Libraries for numbers start threads when they are imported, as many as there are processors. A
#: process with threads cannot be forked, so every new worker would import them again; and workers
#: are many, so that their threads would only be in each other's way. The app's word counts.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def function_environment(
    instance: str, site_name: str, data_url: str, inherited: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the variables that every function sees."""
    return {
        "PATH": os.defpath,
        **{name: inherited[name] for name in _INHERITED if name in inherited},
        "HOME": "/tmp",  # noqa: S108  a place that exists; the sandbox makes it a private one
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(_ONE_THREAD, "1"),
        "AZURE_FUNCTIONS_ENVIRONMENT": "Production",
        "FUNCTIONS_EXTENSION_VERSION": "~4",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "FUNCTIONS_WORKER_RUNTIME_VERSION": ".".join(platform.python_version_tuple()[:2]),
        "WEBSITE_HOSTNAME": data_url.partition("://")[2],
        "WEBSITE_INSTANCE_ID": instance,
        "WEBSITE_SITE_NAME": site_name,
    }
