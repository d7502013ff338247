"""Smart HTTP for one repository: requests of git clients, answered by `git http-backend`.

The real program, as a CGI that is streamed both ways. What it may be asked is a short list: no
other file of the repository is served. Knows nothing of deployments but that a push has a channel.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
from contextlib import suppress

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from gateway.auth import PRINCIPAL
from gateway.git.push import Pushes
from gateway.git.repository import MAX_PUSH_BYTES, GitMissingError, environment, git_program
from gateway.http_limits import RefusedError
from gateway.platform import PLATFORM

_log = logging.getLogger("taak.git")

#: Any name will do for the repository, as Kudu's clients use that of the site.
PATHS = r"/{repository:(?:git|[^/]+\.git)}/{service:info/refs|git-upload-pack|git-receive-pack}"
PUSHES = web.AppKey("pushes", Pushes)
_SERVICES = frozenset({"git-upload-pack", "git-receive-pack"})
_MAX_HEAD = 64 * 1024
_CHUNK = 64 * 1024
_LEAVE_S = 5.0


async def serve_git(request: web.Request) -> web.StreamResponse:
    """Answer one request of a git client."""
    service = request.match_info["service"]
    wanted = request.query.get("service", "") if service == "info/refs" else service
    allowed = "GET" if service == "info/refs" else "POST"
    if request.method != allowed:
        raise web.HTTPMethodNotAllowed(request.method, [allowed])
    if wanted not in _SERVICES:
        text = "this repository speaks the smart protocol of git only: git push URL, git clone URL"
        return web.Response(status=403, text=f"{text}\n")
    try:
        git_program()
    except GitMissingError as error:
        return web.Response(status=501, text=f"{error}\n")
    pushes = request.app[PUSHES]
    await pushes.repository.open()
    return await (_push(request) if service == "git-receive-pack" else _cgi(request, {}, None))


async def _push(request: web.Request) -> web.StreamResponse:
    """Run the backend with a channel on which its hook can ask."""
    ours, theirs = socket.socketpair()
    over = asyncio.Event()
    ours.setblocking(False)
    async with asyncio.TaskGroup() as group:
        group.create_task(request.app[PUSHES].decide(ours, _deployer(request), over))
        try:
            return await _cgi(request, {"TAAK_PUSH_FD": str(theirs.fileno())}, theirs)
        finally:
            over.set()
            theirs.close()


def _deployer(request: web.Request) -> str:
    principal = request.get(PRINCIPAL)
    return f"git ({principal.rights} key)" if principal else "git"


async def _cgi(
    request: web.Request, more: dict[str, str], channel: socket.socket | None
) -> web.StreamResponse:
    """Run the backend for this request and stream its answer."""
    process = await asyncio.create_subprocess_exec(
        git_program(),
        "http-backend",
        cwd=request.app[PUSHES].repository.folder,
        env={**_environment(request), **more},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=(channel.fileno(),) if channel else (),
        limit=_MAX_HEAD,
        start_new_session=True,
    )
    if channel is not None:
        channel.close()  # git has it now: its end is to be heard
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(request, process))
            group.create_task(_complain(process.stderr))
            response = await _answer(request, process, process.stdout)
            feeding.cancel()
    finally:
        try:
            async with asyncio.timeout(_LEAVE_S):
                await process.wait()
        except TimeoutError:
            _end(process)
            await process.wait()
    return response


def _end(process: asyncio.subprocess.Process) -> None:
    """End the backend and what it has started: they are a session of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _environment(request: web.Request) -> dict[str, str]:
    platform = request.app[PLATFORM]
    folder = request.app[PUSHES].repository.folder
    told = {
        **environment(folder),
        "GIT_PROJECT_ROOT": str(folder),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{request.match_info['service']}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query_string,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "REMOTE_USER": "deployer",
        "REMOTE_ADDR": request.remote or "",
        "GIT_COMMITTER_NAME": "Taak",
        "GIT_COMMITTER_EMAIL": f"taak@{platform.instance}",
    }
    # No length and no encoding: what the backend reads is unpacked already, and ends with itself.
    protocol = request.headers.get("Git-Protocol", "")
    if re.fullmatch(r"[\w=:.-]{1,200}", protocol):
        told["GIT_PROTOCOL"] = protocol
    return told


async def _feed(request: web.Request, process: asyncio.subprocess.Process) -> None:
    """Give the body to the backend; one that is too large, or breaks off, ends it."""
    stdin, size = process.stdin, 0
    assert stdin is not None
    try:
        async for chunk in request.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > MAX_PUSH_BYTES:
                _log.warning("a push of more than %d bytes is ended", MAX_PUSH_BYTES)
                _end(process)
                return
            stdin.write(chunk)
            await stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has read enough, or the client has left
    except (RefusedError, RequestPayloadError) as error:
        _log.warning("the body of a push breaks off: %s", error)
        _end(process)
    finally:
        stdin.close()


async def _complain(stderr: asyncio.StreamReader) -> None:
    while line := await stderr.readline():
        _log.info("git: %s", line.decode("utf-8", "replace").rstrip())


async def _answer(
    request: web.Request, process: asyncio.subprocess.Process, stdout: asyncio.StreamReader
) -> web.StreamResponse:
    """Stream the backend's answer; a client that leaves ends it."""
    response = web.StreamResponse()
    response.headers["Cache-Control"] = "no-cache"
    while (line := await stdout.readline()).strip():
        name, _, value = line.decode("latin-1").strip().partition(":")
        if name.lower() == "status":
            response.set_status(int(value.split()[0]))
        elif name.lower() != "content-length":
            response.headers[name] = value.strip()
    if not line:  # it ended before it said anything
        told = f"git ended without an answer; pushes may have {MAX_PUSH_BYTES >> 20} MiB\n"
        return web.Response(status=500, text=told)
    try:
        await response.prepare(request)
        while chunk := await stdout.read(_CHUNK):
            await response.write(chunk)
        await response.write_eof()
    except ConnectionError:
        _end(process)
    return response


def add_git(app: web.Application, pushes: Pushes) -> None:
    """Add the repository to the application."""
    app[PUSHES] = pushes
    app.router.add_route("*", PATHS, serve_git)
