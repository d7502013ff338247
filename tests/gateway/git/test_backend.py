"""What of the repository is served, and what is said where there is no git."""

from __future__ import annotations

import pytest
from management_fakes import FakePlatform, management

from gateway.git import repository
from gateway.git.repository import Repository
from scheduler.errors import BadRequestError


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/site.git/config", 404),
        ("GET", "/site.git/objects/info/packs", 404),
        ("GET", "/git/HEAD", 404),
        ("GET", "/site.git/info/refs", 403),
        ("GET", "/site.git/info/refs?service=git-upload-archive", 403),
        ("POST", "/site.git/info/refs?service=git-receive-pack", 405),
        ("GET", "/site.git/git-receive-pack", 405),
    ],
)
async def test_only_the_smart_protocol_is_served(tmp_path, verb, path, status):
    """No file of the repository can be had by its name."""
    async with management(FakePlatform(tmp_path)) as client:
        assert (await client.request(verb, path)).status == status


async def test_a_key_is_wanted(tmp_path):
    """And asked for in the way that git understands."""
    async with management(FakePlatform(tmp_path), headers={}) as client:
        answer = await client.get("/git/info/refs?service=git-receive-pack")
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic")


async def test_without_git(tmp_path, monkeypatch):
    """501, with what to install and what can be done without it."""
    monkeypatch.setattr(repository.shutil, "which", lambda _: None)
    async with management(FakePlatform(tmp_path)) as client:
        answer = await client.get("/site.git/info/refs?service=git-receive-pack")
        assert answer.status == 501
        assert "apt-get install git" in await answer.text()


async def test_a_list_of_files_without_end(tmp_path, monkeypatch):
    """A few objects may name billions of files: git is ended, not listened to."""
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nexec yes\n")
    program.chmod(0o755)
    monkeypatch.setattr(repository, "git_program", lambda: str(program))
    with pytest.raises(BadRequestError, match="what git tells of this commit is longer"):
        await Repository(tmp_path).survey("0" * 40, {})
