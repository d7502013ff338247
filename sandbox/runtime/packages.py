"""azure-functions for every function, at no cost to it, and never in the way of the app's own.

Owns the finder through which user code reaches the platform's copies of azure-functions, werkzeug
and markupsafe, and nothing else of the platform's packages: the site directories themselves are
never on sys.path. Knows nothing of apps; a launcher calls it once, before any fork.

The imports below are of the same kind: what nearly every function imports is loaded before the
fork, so that a file of the user's which shadows it later cannot break the runtime or the library.
"""

from __future__ import annotations

import asyncio  # noqa: F401
import concurrent.futures.thread  # noqa: F401
import contextlib
import decimal  # noqa: F401
import encodings.idna  # noqa: F401
import http.client
import http.cookies  # noqa: F401
import importlib
import json  # noqa: F401
import logging
import os
import pathlib  # noqa: F401
import sys
import urllib.request  # noqa: F401
import uuid  # noqa: F401
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from . import objects
from .shown import DISTRIBUTIONS, OFFERED

PRELOADED = (
    "azure.functions",
    "azure.functions.http",
    "werkzeug.datastructures",
    "werkzeug.formparser",
    "werkzeug.http",
)


class Fallback(MetaPathFinder):
    """Finds the library in the platform's site directories, when nothing else has found it.

    Last on sys.meta_path: a copy that the app brings always wins, also a part of it, such as
    werkzeug alone, or `azure.storage` in an `azure` namespace without functions.
    """

    def __init__(self, site_dirs: Iterable[str]) -> None:
        self._site_dirs = list(site_dirs)

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the platform's copy of an offered package is; None for all else."""
        del path
        if fullname == "azure":
            # Empty: whatever else the platform has under azure/ stays out of reach.
            spec = ModuleSpec("azure", None, is_package=True)
            spec.submodule_search_locations = []
            return spec
        if fullname == "azure.functions":
            places = [os.path.join(folder, "azure") for folder in self._site_dirs]
            return PathFinder.find_spec(fullname, places, target)
        if fullname in OFFERED:
            return PathFinder.find_spec(fullname, self._site_dirs, target)
        return None  # submodules are found through the __path__ of the packages above

    def find_distributions(self, context: Any = None) -> Iterable[Any]:
        """Let importlib.metadata tell the versions of the offered packages when asked by name."""
        # No import here: whoever asks has loaded it, and a user's file could stand in its place.
        metadata = sys.modules.get("importlib.metadata")
        name = (getattr(context, "name", None) or "").lower().replace("_", "-")
        if metadata is None or name not in DISTRIBUTIONS:
            return []
        wanted = metadata.DistributionFinder.Context(name=name, path=self._site_dirs)
        return list(metadata.MetadataPathFinder.find_distributions(wanted))


def offer(site_dirs: list[str]) -> None:
    """Make the platform's copies importable where the app has none of its own."""
    sys.meta_path.append(Fallback(site_dirs))


def keep_last() -> None:
    """Move the fallback behind the finders that the app's environment has added."""
    sys.meta_path.sort(key=lambda finder: isinstance(finder, Fallback))


def preload(site_dirs: list[str]) -> bool:
    """Import azure-functions from the platform's copy; False if the platform has none."""
    offer(site_dirs)
    try:
        for name in PRELOADED:
            importlib.import_module(name)
    except ImportError:
        _forget(PRELOADED)
        return False
    return True


def warm() -> None:
    """Walk the cold path of a function once, so that its forks find every page and import there."""
    scope: dict[str, Any] = {}
    exec(compile(_SAMPLE, "<warm>", "exec"), scope)  # noqa: S102  our own text
    if "azure.functions" in sys.modules:
        for kind, event in (("httpTrigger", _REQUEST), ("timerTrigger", _TICK)):
            entry = objects.entry(_function(kind), scope["main"])
            entry.call(event, ("", "", "", None))
            objects.entry(_function(kind), scope["fails"]).call(event, ("", "", "", None))
    with contextlib.suppress(ValueError):
        logging.getLogger("taak.warm").makeRecord("", 0, "", 0, "%s", ("x",), None).getMessage()


def _forget(names: Iterable[str]) -> None:
    """Take half-loaded packages out again: a later import must start anew."""
    tops = {name.partition(".")[0] for name in names} | set(OFFERED)
    for name in [n for n in sys.modules if n.partition(".")[0] in tops]:
        del sys.modules[name]


def _function(kind: str) -> dict[str, Any]:
    bindings = [{"name": "event", "type": kind, "direction": "in", "data_type": ""}]
    if kind == "httpTrigger":
        bindings.append({"name": "$return", "type": "http", "direction": "out", "data_type": ""})
    return {
        "name": "warm",
        "trigger_type": kind.lower(),
        "trigger_name": "event",
        "bindings": bindings,
        "function_directory": "/",
    }


_SAMPLE = """
import datetime
import json
import logging

def main(event, context):
    datetime.datetime.strptime("2000", "%Y")
    if hasattr(event, "headers"):
        import azure.functions as func
        try:
            event.get_json()
        except ValueError:
            pass
        event.headers.get("a"), event.params.get("a"), event.form, event.method, event.url
        return func.HttpResponse(json.dumps({"a": 1}), status_code=201, headers={"a": "b"})

def fails(event):
    raise ValueError("warm")
"""
_REQUEST = ["GET", "http://localhost/", [["Host", "localhost"]], [["a", "b"]], [["c", "d"]], b"{}"]
_TICK = ["timertrigger", "json", '{"IsPastDue": false, "ScheduleStatus": null}', []]
