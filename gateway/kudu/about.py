"""The small calls beside the jobs that tools make first: what this is, and what it does not do."""

from __future__ import annotations

import os
import platform as machine

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.messages import message
from gateway.kudu.shapes import to_json
from gateway.platform import Platform

#: What Kudu's log settings would say here: continuous output is always in the log stream.
_DIAGNOSTICS = {
    "AzureDriveEnabled": True,
    "AzureDriveTraceLevel": "Information",
    "AzureTableEnabled": False,
    "AzureBlobEnabled": False,
}
_FIXED = "the log of jobs is always kept and streamed; there is nothing to switch here"
_NO_COMMANDS = (
    "Taak runs no commands for its operators: everything that runs is a function or a job, in a"
    " sandbox and with a history. Upload a triggered job and run it."
)


async def environment(platform: Platform, _request: web.Request, _match: Match) -> web.Response:
    """GET /api/environment and /api/info: the version, and where it runs."""
    return _json(
        {
            "version": platform.version,
            "product": "Taak",
            "instance": platform.instance,
            "os": machine.system(),
            "processors": os.cpu_count(),
        }
    )


async def diagnostics(_platform: Platform, _request: web.Request, _match: Match) -> web.Response:
    """GET /api/diagnostics/settings."""
    return _json(_DIAGNOSTICS)


async def diagnostic(_platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """GET /api/diagnostics/settings/KEY: its value, or 404."""
    if match["key"] not in _DIAGNOSTICS:
        return message(404, f"Setting '{match['key']}' does not exist.")
    return _json(_DIAGNOSTICS[match["key"]])


async def fixed(_platform: Platform, _request: web.Request, _match: Match) -> web.Response:
    """Any change of /api/diagnostics/settings: 501 with the reason."""
    return message(501, _FIXED)


async def command(_platform: Platform, _request: web.Request, _match: Match) -> web.Response:
    """POST /api/command: 501 with the reason."""
    return message(501, _NO_COMMANDS)


def _json(value: object) -> web.Response:
    return web.Response(text=to_json(value), content_type="application/json")
