"""The page at `/`: functions and jobs at a glance, made on the server, without a script.

It shows what `/v1` tells and changes nothing. Opening the printed link trades its one-time token
for a session cookie.
"""

from __future__ import annotations

from html import escape
from typing import Any

from aiohttp import web

from gateway.auth import SESSION_COOKIE
from gateway.native.functions import function_list
from gateway.native.jobs import job_list
from gateway.platform import PLATFORM, Platform
from gateway.sessions import SESSION_LIFE_S
from scheduler.deployment import DeploymentState

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address of this page may hold a token
    "X-Content-Type-Options": "nosniff",
}
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--dim:#888;--good:#1a7f37;--bad:#c62828;--busy:#0969da}
@media(prefers-color-scheme:dark){:root{--good:#4ac26b;--bad:#ff7b72;--busy:#58a6ff}}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
p{margin:.25rem 0;color:var(--dim)}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
th{font-weight:600;color:var(--dim);font-size:.85rem}
td .busy,time{white-space:nowrap}p.bad{white-space:pre-wrap}
code{font-size:.9em}.good{color:var(--good)}.bad{color:var(--bad)}.busy{color:var(--busy)}
"""
#: state -> (mark, class): never colour alone.
_MARKS = {
    "ready": ("✓", "good"),
    "success": ("✓", "good"),
    "running": ("▶", "busy"),
    "error": ("✗", "bad"),
    "failed": ("✗", "bad"),
    "aborted": ("✗", "bad"),
    "timed-out": ("✗", "bad"),
    "out-of-memory": ("✗", "bad"),
}


async def front_page(request: web.Request) -> web.Response:
    """Answer GET /."""
    platform = request.app[PLATFORM]
    token = request.query.get("token")
    if token is not None:
        return _trade(platform, token)
    functions = await function_list(platform)
    jobs = await job_list(platform)
    refusal = await _refusal(platform)
    return _page(
        platform, [_about(platform), refusal, _debugging(jobs), _functions(functions), _jobs(jobs)]
    )


def _trade(platform: Platform, token: str) -> web.Response:
    session = platform.keys.sessions.redeem(token)
    if session is None:
        words = (
            "<p class=bad>This link was used already or is too old.</p>"
            "<p>Reload <a href=/>this page</a> with any user name and the master key as password,"
            " or start the platform again for a new link.</p>"
        )
        return _page(platform, [words], status=401)
    response = web.Response(status=303, headers={**_HEADERS, "Location": "/"})
    response.set_cookie(
        SESSION_COOKIE, session, max_age=int(SESSION_LIFE_S), httponly=True, samesite="Strict"
    )
    return response


def _page(platform: Platform, parts: list[str], status: int = 200) -> web.Response:
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>Taak · {escape(platform.instance)}</title><style>{_STYLE}</style>"
        f"<h1>Taak · {escape(platform.instance)}</h1>{''.join(parts)}</html>"
    )
    return web.Response(status=status, text=text, content_type="text/html", headers=_HEADERS)


def _about(platform: Platform) -> str:
    reasons = platform.ready()
    state = _state("error", f"not ready: {'; '.join(reasons)}") if reasons else _state("ready")
    return (
        f"<p>{state} · {escape(platform.version)} · <code>{escape(str(platform.site))}</code> ·"
        f" {_link(platform.data_url)} · <a href=/openapi.json>API</a> ·"
        " <a href=/metrics>metrics</a></p>"
    )


async def _refusal(platform: Platform) -> str:
    """Return why the site's newest state does not serve, nothing if it does."""
    newest = await platform.deployments.history(1)
    if not newest or newest[0].state is not DeploymentState.REFUSED:
        return ""
    errors = [problem for problem in newest[0].problems if not problem.warning]
    reasons = "".join(f"<br>{escape(str(problem))}" for problem in errors)
    return (
        "<p class=bad>✗ The newest change of the site was refused; the last good one serves."
        f"{reasons}</p>"
    )


def _debugging(jobs: list[dict[str, Any]]) -> str:
    """Return a line for each job that runs under its debugger."""
    return "".join(
        f"<p class=busy>▶ {escape(job['name'])} is being debugged ({escape(told['debugger'])},"
        f" {escape(told['state'])}) until {_time([told['ends']])}</p>"
        for job in jobs
        if (told := job["debugging"])
    )


def _functions(items: list[dict[str, Any]]) -> str:
    rows = [
        [
            escape(item["name"]),
            escape(item["trigger"] or ""),
            _where(item),
            _state(item["state"], item["reason"]),
            _time(item["next"]),
            escape(f"{item['counts']['calls']} ({item['counts']['failures']} failed)"),
            escape(f"{item['workers']['busy']} of {item['workers']['total']} busy"),
        ]
        for item in items
    ]
    heads = ("Function", "Trigger", "Where or when", "State", "Next", "Calls", "Workers")
    return _table("Functions", heads, rows, "Copy a folder with a function.json into the site.")


def _jobs(items: list[dict[str, Any]]) -> str:
    rows = []
    for item in items:
        latest = item["latest_run"]
        rows.append(
            [
                escape(item["name"]),
                escape(item["kind"]),
                _state(item["state"], item["error"] or ""),
                f"<code>{escape(str(item['schedule'] or ''))}</code>",
                _time(item["next"]),
                f"{_state(latest['state'], latest['reason'])} {_time([latest['created_at']])}"
                if latest
                else "",
            ]
        )
    heads = ("Job", "Kind", "State", "Schedule", "Next", "Latest run")
    hint = "Copy a folder with a run.sh or run.py to App_Data/jobs/triggered/NAME."
    return _table("Jobs", heads, rows, hint)


def _table(title: str, heads: tuple[str, ...], rows: list[list[str]], hint: str) -> str:
    if not rows:
        return f"<h2>{title}</h2><p>None yet. {escape(hint)}</p>"
    head = "".join(f"<th>{name}" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}" for cell in row) for row in rows)
    return f"<h2>{title}</h2><div class=wide><table><tr>{head}{body}</table></div>"


def _where(item: dict[str, Any]) -> str:
    if item["url"]:
        methods = ", ".join(item["methods"] or [])
        return f"{escape(methods)} {_link(item['url'])}"
    return f"<code>{escape(item['schedule'] or '')}</code>"


def _link(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        return escape(url)
    return f'<a href="{escape(url)}">{escape(url)}</a>'


def _state(state: str, reason: str = "") -> str:
    mark, kind = _MARKS.get(state.lower(), ("·", ""))
    told = f": {escape(reason)}" if reason else ""
    return f"<span class={kind or 'plain'}>{mark} {escape(state)}{told}</span>"


def _time(times: list[str]) -> str:
    if not times:
        return ""
    plain = times[0].partition(".")[0].replace("T", " ").removesuffix("Z")
    return f"<time>{escape(plain)}Z</time>"
