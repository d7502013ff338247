"""host.json, local.settings.json and what overrides them: the settings of a whole app.

functions.md 5 and 6 are the contract. Reads two files and a mapping of app settings; never the
environment of the platform itself. What is wrong is collected as problems.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from scheduler.app_settings import lookup
from scheduler.functions import HostSettings, Limits, Problem
from scheduler.isolation import Isolation
from scheduler.isolation_fields import ISOLATION_NAMES, read_isolation, warn_idle
from scheduler.lenient_json import Document, LenientJsonError, parse
from scheduler.log_fields import read_log_limits
from scheduler.log_limits import LogLimits
from scheduler.manifest_fields import LIMIT_NAMES, Fields, read_limits, shown
from scheduler.schedule import IntervalSchedule, ScheduleError, parse_timer, zone_name

HOST_FILE = "host.json"
SETTINGS_FILE = "local.settings.json"
_OVERRIDE = "azurefunctionsjobhost"
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONNECTION_HEADERS = frozenset(
    {
        "connection", "content-length", "date", "keep-alive", "te", "trailer", "transfer-encoding",
        "upgrade",
    }
)  # fmt: skip
_TAAK_KEYS = ("isolation", "environment", "time_zone", "logs", *LIMIT_NAMES, *ISOLATION_NAMES)
_ELSEWHERE = dict.fromkeys(
    ("restart_backoff", "python", "debug"), "it is for jobs, in settings.job"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostManifest:
    """What the app as a whole says; `usable` is False when host.json has an error."""

    host: HostSettings = field(default_factory=HostSettings)
    limits: Limits = field(default_factory=Limits)
    isolation: Isolation = field(default_factory=Isolation)
    one_bundle: bool = False  # "isolation": "app"
    environment: Mapping[str, str] = field(default_factory=dict)  # of every function and job
    allowed: frozenset[str] | None = None  # names in host.json "functions", casefolded
    problems: tuple[Problem, ...] = ()
    idle: Mapping[str, Problem] = field(
        default_factory=dict
    )  # keys without effect in the app's own

    @property
    def usable(self) -> bool:
        """Tell whether functions may be served under these settings."""
        return all(problem.warning for problem in self.problems)


def read_host(root: Path, settings: Mapping[str, str]) -> HostManifest:
    """Read the app's settings; the given app settings win over local.settings.json."""
    problems: list[Problem] = []
    settings = {**_local_settings(root, problems), **settings}
    document = read_document(root, HOST_FILE, problems) or Document({"version": "2.0"}, HOST_FILE)
    values = document.value
    if isinstance(values, dict):
        values = _overridden(values, settings)
    return _host(Fields(document, values, problems), settings, problems)


def read_document(
    root: Path, path: str, problems: list[Problem], *, owner: str = ""
) -> Document | None:
    """Return the JSON in a file; None if it is absent, or bad, which is noted."""
    try:
        return parse((root / path).read_text("utf-8-sig"), path)
    except FileNotFoundError:
        return None
    except LenientJsonError as error:
        problems.append(replace(error.problem, owner=owner))
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 at byte {error.start}; save the file as UTF-8"
        problems.append(Problem(path, message, owner=owner))
    return None


def _host(fields: Fields, settings: Mapping[str, str], problems: list[Problem]) -> HostManifest:
    version = fields.raw("version")
    if str(version) != "2.0":
        told = "is missing" if version is None else f"is {shown(version)}"
        fields.complain(f'{told}; write "version": "2.0"', "version")
    taak = fields.inner("taak", loose=True)
    taak.warn_unknown(_TAAK_KEYS, _ELSEWHERE)
    http = fields.inner("extensions").inner("http")
    isolation = read_isolation(taak, Isolation())
    warnings: list[Problem] = []
    view = fields.noting(warnings).inner("taak", loose=True)
    idle = warn_idle(view, isolation, program=True)
    limits = replace(Limits(), timeout_s=_function_timeout(fields))
    return HostManifest(
        host=HostSettings(
            route_prefix=http.text("routePrefix", "api").strip("/"),
            custom_headers=_custom_headers(http),
            max_outstanding_requests=_bound(http, "maxOutstandingRequests"),
            settings=settings,
            time_zone=read_zone(taak, _zone(settings, problems)),
            logs=read_log_limits(taak, LogLimits(), whole_app=True),
        ),
        limits=read_limits(taak, limits),
        isolation=isolation,
        one_bundle=_isolation(taak) == "app",
        environment={**settings, **taak.texts("environment")},
        allowed=_allowed(fields),
        problems=tuple(problems),
        idle=dict(zip(idle, warnings, strict=False)),  # no name if it is no object
    )


def _custom_headers(http: Fields) -> dict[str, str]:
    """Return the headers of every answer; one that would break an answer is a mistake."""
    good: dict[str, str] = {}
    for name, value in http.texts("customHeaders").items():
        place = f"customHeaders.{name}"
        if not _HEADER_NAME.fullmatch(name):
            http.complain(f"{shown(name)} is no name of a header; give letters, digits, '-'", place)
        elif name.lower() in _CONNECTION_HEADERS:
            http.complain(
                "belongs to the connection and is set by the platform; leave it out", place
            )
        elif _CONTROL.search(value):
            http.complain("holds a line break or another control character; write one line", place)
        else:
            good[name] = value
    return good


def _function_timeout(fields: Fields) -> float | None:
    """Return functionTimeout in seconds, None for -1; the product's default if it is absent."""
    text = str(fields.raw("functionTimeout") or "")
    if not text:
        return Limits().timeout_s
    if text == "-1":
        return None
    try:
        schedule = parse_timer(text)
    except ScheduleError:
        schedule = None
    if isinstance(schedule, IntervalSchedule) and schedule.span.total_seconds() >= 1:
        return schedule.span.total_seconds()
    fields.complain(
        f'must be a time of at least one second such as "00:05:00", or "-1" for no limit, '
        f"not {shown(text)}",
        "functionTimeout",
    )
    return Limits().timeout_s


def _bound(http: Fields, name: str) -> int | None:
    """Return a bound; -1, or nothing, is none."""
    bound = http.whole(name, -1, at_least=-1)
    return None if bound == -1 else bound


def _isolation(taak: Fields) -> str:
    isolation = taak.text("isolation", "function").casefold()
    if isolation not in {"function", "app"}:
        taak.complain(f'must be "function" or "app", not {shown(isolation)}', "isolation")
    return isolation


def _allowed(fields: Fields) -> frozenset[str] | None:
    if fields.raw("functions") is None:
        return None
    return frozenset(str(name).casefold() for name in fields.items("functions"))


def _zone(settings: Mapping[str, str], problems: list[Problem]) -> str:
    """Return the zone of the app settings; one that we cannot read leaves UTC, with a warning."""
    for name in ("WEBSITE_TIME_ZONE", "TZ"):
        text = lookup(settings, name)
        if not text:
            continue
        try:
            return zone_name(text)
        except ScheduleError as error:
            message = f"app setting {name}: {error}; schedules are read in UTC"
            problems.append(Problem(SETTINGS_FILE, message, warning=True))
    return "UTC"


def read_zone(taak: Fields, default: str) -> str:
    """Return the "time_zone" of a "taak" object as an IANA name."""
    text = taak.text("time_zone")
    if not text:
        return default
    try:
        return zone_name(text)
    except ScheduleError as error:
        taak.complain(str(error), "time_zone")
        return default


def _local_settings(root: Path, problems: list[Problem]) -> dict[str, str]:
    document = read_document(root, SETTINGS_FILE, problems)
    if document is None:
        return {}
    fields = Fields(document, document.value, problems)
    if fields.flag("IsEncrypted", default=False):
        fields.complain(
            'the values are encrypted and cannot be read; run "func settings decrypt"',
            "IsEncrypted",
        )
        return {}
    return {**fields.texts("Values"), **_connection_strings(fields)}


def _connection_strings(fields: Fields) -> dict[str, str]:
    """Return `ConnectionStrings:NAME` settings; a value may be a text or an object around it."""
    found = {}
    strings = fields.inner("ConnectionStrings")
    for name in strings.names():
        value = strings.raw(name)
        text = strings.inner(name).text("ConnectionString") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[f"ConnectionStrings:{name}"] = text
    return found


def _overridden(values: dict[str, Any], settings: Mapping[str, str]) -> dict[str, Any]:
    """Return host.json with `AzureFunctionsJobHost__a__b` settings laid over it."""
    values = copy.deepcopy(values)
    for name, text in settings.items():
        first, *steps = name.replace(":", "__").split("__")
        if first.casefold() == _OVERRIDE and steps and all(steps):
            _lay(values, steps, text)
    return values


def _lay(values: dict[str, Any], steps: list[str], text: str) -> None:
    for step, following in pairwise(steps):
        inner = values.setdefault(_spelled(values, step), [] if following.isdigit() else {})
        if isinstance(inner, list):
            _lay_item(inner, following, text)
            return
        if not isinstance(inner, dict):
            return  # the complaint about the wrong type comes from the reader
        values = inner
    values[_spelled(values, steps[-1])] = text


def _lay_item(items: list[Any], step: str, text: str) -> None:
    """Set one item of a list: `functions__0`."""
    if step.isdigit() and int(step) <= len(items):
        items[int(step) : int(step) + 1] = [text]


def _spelled(values: dict[str, Any], name: str) -> str:
    return next((key for key in values if key.casefold() == name.casefold()), name)
