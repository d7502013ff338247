"""Warm dispatch: HTTP to an isolated worker and back, against a bare aiohttp handler beside it.

`keyed` is the figure of the goals: routing, function key, limits, time-out, metrics and record are
on. `strict` has `"prefetch": 0` and one worker: one call in its hands at a time.
"""

from __future__ import annotations

from findings import Findings
from load import Target
from scene import Platform, bare_server, function_key, http_function, platform_on, workshop
from subject import Subject, cell_figures, visit_all

COROUTINE = "async def main(req):\n    return 'hello'\n"
AZURE = (
    "import azure.functions as func\n\n\n"
    "def main(req: func.HttpRequest) -> func.HttpResponse:\n"
    "    return func.HttpResponse('hello')\n"
)
KIB = 1024


def measure(findings: Findings) -> None:
    """Measure at 1, 16 and 64 connections, with and without a body."""
    rounds = 2 if findings.quick else 5
    with workshop() as folder, bare_server() as bare:
        site = folder / "site"
        http_function(site, "keyed", level="function")
        http_function(site, "anonymous")
        http_function(site, "coroutine", COROUTINE)
        http_function(site, "azure", AZURE)
        http_function(site, "strict", limits={"prefetch": 0, "max_workers": 1})
        with platform_on(folder) as platform:
            key = function_key(folder / "home")
            findings.remark("sandbox", _sandbox(platform))

            def cell(
                name: str, connections: int, *names: str, body: int = 0, pinned: bool = False
            ) -> None:
                subjects = [Subject("bare", bare.pid, Target(bare.url, key, body))]
                subjects += [_subject(platform, name, key, body) for name in names]
                seen = visit_all(subjects, connections, rounds, pinned=pinned)
                findings.add(cell_figures(f"dispatch.{name}", seen))

            cell("c1", 1, "keyed")
            cell("pinned_c1", 1, "keyed", pinned=True)
            cell("c16", 16, "keyed", "strict")
            cell("c64", 64, "keyed", "anonymous", "coroutine", "azure")
            cell("post_c64", 64, "keyed", body=KIB)


def _subject(platform: Platform, name: str, key: dict[str, str], body: int) -> Subject:
    url = f"{platform.data_url}/api/{name}"
    return Subject(name, platform.pid, Target(url, {} if name == "anonymous" else key, body))


def _sandbox(platform: Platform) -> str:
    """Return what stood around the function, in the platform's own words."""
    function = platform.function("keyed")
    report = function["sandbox"] if function else {}
    return ", ".join(f"{name} {value}" for name, value in sorted(report.items())) or "unknown"
