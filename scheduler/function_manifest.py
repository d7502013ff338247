"""function.json -> Function, or the list of what is wrong with it (functions.md 3, 7.1 and 8).

Reads one folder of an app through the app's file index. Never raises for bad input: a function
with an error is None, and the others do not notice. Knows nothing of releases or workers.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from scheduler.app_settings import is_true, lookup
from scheduler.file_index import Index
from scheduler.function_bindings import is_trigger, read_bindings
from scheduler.functions import (
    AuthLevel,
    Binding,
    Bundle,
    BundleKind,
    Function,
    HttpTrigger,
    OtherTrigger,
    Problem,
    TimerTrigger,
    Trigger,
    key,
)
from scheduler.host_manifest import HOST_FILE, HostManifest, read_document, read_zone
from scheduler.isolation import Level
from scheduler.isolation_fields import ISOLATION_NAMES, read_isolation, warn_idle
from scheduler.manifest_fields import LIMIT_NAMES, Fields, read_limits, shown
from scheduler.route_rules import route_problem
from scheduler.schedule import ScheduleError, parse_timer

FUNCTION_FILE = "function.json"
_NAME = re.compile(r"[a-z][a-z0-9_\-]{0,127}", re.IGNORECASE)
_METHOD = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*")
_TAAK_KEYS = ("environment", "time_zone", *LIMIT_NAMES, *ISOLATION_NAMES)
_ELSEWHERE = {
    "isolation": f"it holds for all functions; set it in {HOST_FILE}",
    **dict.fromkeys(("restart_backoff", "python"), "it is for jobs, in settings.job"),
}


@dataclass(frozen=True, slots=True)
class AppView:
    """What reading a function needs to see of its app."""

    root: Path
    index: Index
    manifest: HostManifest


def read_function(
    app: AppView, folder: str, bundle: Bundle, problems: list[Problem]
) -> Function | None:
    """Return the function that a folder defines; None, with problems added, if it is broken."""
    own: list[Problem] = []
    function = _read(app, folder, bundle, own)
    problems += own
    return function if all(problem.warning for problem in own) else None


def _read(app: AppView, folder: str, bundle: Bundle, problems: list[Problem]) -> Function | None:
    where = f"{folder}/{FUNCTION_FILE}"
    document = read_document(app.root, where, problems, owner=folder)
    if document is None:
        return None
    fields = Fields(document, document.value, problems, owner=folder)
    _check_name(folder, fields)
    bindings = read_bindings(fields, app.manifest.host.settings)
    taak = fields.inner("taak", loose=True)
    taak.warn_unknown(_TAAK_KEYS, _ELSEWHERE)
    zone = read_zone(taak, app.manifest.host.time_zone)
    found = _trigger(folder, fields, bindings, zone)
    if found is None:
        return None
    trigger_binding, trigger = found
    bundle = _isolated(bundle, taak)
    limits = read_limits(taak, app.manifest.limits)
    if bundle.isolation.sandbox is Level.STRICT:
        limits = replace(limits, recycle_calls=1)  # no call finds what another left
    return Function(
        name=folder,
        bundle=bundle,
        directory=folder,
        script_file=_script(app.index, folder, fields),
        entry_point=_entry_point(fields),
        trigger=trigger,
        trigger_name=trigger_binding.name,
        bindings=tuple(bindings),
        limits=limits,
        disabled=_disabled(folder, fields, app.manifest),
        environment=_environment(taak, app.manifest.environment),
        config=document.value if isinstance(document.value, dict) else {},
    )


def _isolated(bundle: Bundle, taak: Fields) -> Bundle:
    """Return the bundle as the function's own "taak" wants it; shared by all, it is the app's."""
    if bundle.kind is BundleKind.FUNCTION:
        isolation = read_isolation(taak, bundle.isolation)
        warn_idle(taak, isolation, program=False)
        return replace(bundle, isolation=isolation)
    for name in ISOLATION_NAMES:
        if taak.raw(name) is not None:
            told = 'is ignored: all functions share one sandbox ("isolation": "app"); set it in '
            taak.complain(f"{told}{HOST_FILE}", name, warning=True)
    return bundle


def _check_name(folder: str, fields: Fields) -> None:
    if not _NAME.fullmatch(folder):
        fields.complain(
            f"{folder!r} is no function name: begin with a letter, then at most 127 letters, "
            "digits, '-' or '_'; rename the folder"
        )
    elif folder.casefold() == "host":
        fields.complain("a function cannot be called 'host'; rename the folder")


def _environment(taak: Fields, shared: Mapping[str, str]) -> Mapping[str, str]:
    own = taak.texts("environment")
    return {**shared, **own} if own else shared


def _entry_point(fields: Fields) -> str:
    entry = fields.text("entryPoint") or "main"
    if not entry.isidentifier():
        fields.complain(f"must be the name of a Python function, not {shown(entry)}", "entryPoint")
    return entry


def _disabled(folder: str, fields: Fields, app: HostManifest) -> str:
    """Return why the function is switched off; each reason tells how to switch it on."""
    settings = app.host.settings
    for name in (f"AzureWebJobs.{folder}.Disabled", f"AzureWebJobs_{folder}_Disabled"):
        if is_true(lookup(settings, name)):
            return f"app setting {name} is true"
    if app.allowed is not None and key(folder) not in app.allowed:
        return 'host.json "functions" does not list it'
    value = fields.raw("disabled")
    if isinstance(value, str) and value.casefold() not in {"true", "false"}:
        name = value.strip("%")
        return f"app setting {name} is true" if is_true(lookup(settings, name)) else ""
    if fields.flag("disabled", default=False):
        return 'function.json says "disabled": true'
    return ""


def _trigger(
    folder: str, fields: Fields, bindings: list[Binding], zone: str
) -> tuple[Binding, Trigger] | None:
    triggers = [number for number, b in enumerate(bindings) if is_trigger(b.type)]
    if len(triggers) != 1:
        if bindings:
            told = (
                f"{len(triggers)} bindings are triggers" if triggers else "no binding is a trigger"
            )
            fields.complain(f"{told}; a function has exactly one", "bindings")
        return None
    binding = bindings[triggers[0]]
    place = fields.at(f"bindings[{triggers[0]}]", dict(binding.properties))
    kind = binding.type.casefold()
    if kind == "httptrigger":
        return binding, _http(folder, place)
    if kind == "timertrigger":
        timer = _timer(place, zone)
        return (binding, timer) if timer else None
    return binding, OtherTrigger(binding.type)


def _http(folder: str, fields: Fields) -> HttpTrigger:
    route = fields.text("route") or folder
    problem = route_problem(route)
    if problem:
        fields.complain(problem, "route")
    return HttpTrigger(route.strip("/"), _methods(fields), _auth_level(fields))


def _methods(fields: Fields) -> frozenset[str] | None:
    methods = fields.items("methods")
    for method in methods:
        if not (isinstance(method, str) and _METHOD.fullmatch(method)):
            fields.complain(
                f'must be names such as "get" and "post", not {shown(method)}', "methods"
            )
            return None
    return frozenset(method.upper() for method in methods) or None


def _auth_level(fields: Fields) -> AuthLevel:
    text = fields.text("authLevel") or AuthLevel.FUNCTION.value
    try:
        return AuthLevel(text.casefold())
    except ValueError:
        known = ", ".join(f'"{level.value}"' for level in AuthLevel)
        fields.complain(f"must be one of {known}, not {shown(text)}", "authLevel")
        return AuthLevel.ADMIN


def _timer(fields: Fields, zone: str) -> TimerTrigger | None:
    expression = fields.text("schedule").strip()
    if not expression:
        fields.complain('a schedule is needed, for example "0 */5 * * * *"', "schedule")
        return None
    try:
        schedule = parse_timer(expression, zone=zone)
    except ScheduleError as error:
        fields.complain(str(error), "schedule")
        return None
    return TimerTrigger(
        expression=expression,
        schedule=schedule,
        run_on_startup=fields.flag("runOnStartup", default=False),
        use_monitor=fields.flag("useMonitor", default=True) and not schedule.subminute,
    )


def _script(index: Index, folder: str, fields: Fields) -> str:
    """Return the path of the code, relative to the app."""
    named = fields.text("scriptFile")
    return _named_script(index, folder, named, fields) if named else _found(index, folder, fields)


def _named_script(index: Index, folder: str, named: str, fields: Fields) -> str:
    path = posixpath.normpath(posixpath.join(folder, named.replace("\\", "/")))
    if path.startswith(("../", "/")):
        fields.complain(f"{named!r} leads out of the app; move the file into it", "scriptFile")
    elif not path.endswith(".py"):
        fields.complain(f"only Python (.py) is served, not {named!r}", "scriptFile")
    elif path not in index.entries:
        fields.complain(f"there is no file {path!r} in the app", "scriptFile")
    return path


def _found(index: Index, folder: str, fields: Fields) -> str:
    """Find the script as upstream does: the only other file, else run.py, else __init__.py."""
    files = [name for name in index.files_in(folder) if name != FUNCTION_FILE]
    choices = (
        files if len(files) == 1 else [name for name in ("run.py", "__init__.py") if name in files]
    )
    if choices and choices[0].endswith(".py"):
        return f"{folder}/{choices[0]}"
    fields.complain(
        f"no script: put the code into {folder}/__init__.py, or name the file in function.json as "
        '"scriptFile"'
    )
    return ""
