"""`taak deploy`: send an app to a platform, wait for what becomes of it, and show its log."""

from __future__ import annotations

import getpass
import tempfile
import time
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from gateway.cli.client import Client, segment
from gateway.cli.exits import CliError, ExitCode
from gateway.cli.package import files, pack
from gateway.cli.verb import Session, verb

_POLL_S = 0.3
_UPLOAD_S = 600.0


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("deploy")(deploy)


@verb
def deploy(
    session: Session,
    path: Annotated[Path, typer.Argument(help="Folder of the app, or a zip archive.")] = Path(),
    *,
    url: Annotated[str | None, typer.Option(help="Management URL; the same as --host.")] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="What is new.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files only.")] = False,
) -> None:
    """Deploy a folder or a zip archive; print the log of its build.

    What .funcignore names is not sent. Files that an earlier deployment brought and this one has
    not go; others stay. Exit code 3: it was refused; 10: the build failed.
    """
    if dry_run:
        listed = _listed(path)
        session.terminal.result(listed, lambda: print("\n".join(listed)), listed)
        return
    if url:
        session = replace(session, host=url)
    with tempfile.TemporaryFile() as archive:
        count = _archive(path, archive)
        size = archive.tell()
        archive.seek(0)
        session.terminal.say(f"Sending {count} files, {size / 1024:.0f} KiB ...")
        query = {
            "isAsync": "true",
            "deployer": "taak deploy",
            "author": _user(),
            "message": message,
        }
        sender = Client(session.target, timeout_s=_UPLOAD_S)
        headers = sender.upload("/api/zipdeploy", query, archive)
    follow(session, headers.get("scm-deployment-id", ""))


def follow(session: Session, deployment_id: str) -> None:
    """Print a deployment's log until it has ended, and end as it ended."""
    path, known = f"/v1/deployments/{segment(deployment_id)}", 0
    while True:
        told = session.client.get(f"{path}/log", {"after": known} if known else None)
        for line in told["items"]:
            mark = "" if line["level"] == "info" else f"{line['level']}: "
            session.terminal.say(f"{mark}{line['text']}")
        known += len(told["items"])
        if told["complete"]:
            break
        time.sleep(_POLL_S)
    show_end(session, session.client.get(path), build_failed=bool(told["build_failed"]))


def show_end(session: Session, found: dict[str, Any], *, build_failed: bool = False) -> None:
    """Show a deployment that has ended; CliError if it does not serve."""
    if found.get("state") != "live":
        code = ExitCode.BUILD_FAILED if build_failed else ExitCode.INVALID
        problems = found.get("problems") or []
        message = f"deployment {found['id']} failed; the last good release goes on serving"
        hint = f"taak deployments show {found['id']} tells why"
        facts = {"id": found["id"], "problems": problems}
        raise CliError(message, code, hint=hint, facts=facts)
    session.terminal.result(found, lambda: print(f"{found['id']} is live."), [str(found["id"])])


def _listed(path: Path) -> list[str]:
    if path.is_dir():
        return list(files(path))
    with _opened(path) as archive:
        return archive.namelist()


def _archive(path: Path, target: BinaryIO) -> int:
    """Write the archive that is to be sent; return how many files it holds."""
    if path.is_dir():
        listed = list(files(path))
        if not listed:
            raise CliError(f"{path} has no file to deploy", ExitCode.INVALID)
        pack(path, listed, target)
        return len(listed)
    with _opened(path) as archive:
        count = len(archive.namelist())
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            target.write(chunk)
    return count


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise CliError(f"{path} is neither a folder nor a file", ExitCode.NOT_FOUND) from error
    except (zipfile.BadZipFile, OSError) as error:
        raise CliError(f"{path} is no zip archive: {error}", ExitCode.INVALID) from error


def _user() -> str:
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return ""
