"""Deploying from outside on a real platform: git push, zipdeploy, rollback, kills in between."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from needs import need
from real.platform import KEY, ROOT, Platform, call, wait_until

pytestmark = [pytest.mark.real, pytest.mark.core]

JOBS = "App_Data/jobs/triggered"
#: Five types of scripts, one of them with a package that is built for it.
TREE = {
    f"{JOBS}/py/run.py": "import parcel\nprint('py', parcel.WORD)\n",
    f"{JOBS}/py/requirements.txt": "--no-index\n--find-links ./wheels\nparcel==1.0\n",
    f"{JOBS}/sh/run.sh": "echo sh runs\n",
    f"{JOBS}/js/run.js": "console.log('js runs')\n",
    f"{JOBS}/php/run.php": '<?php echo "php runs\\n";\n',
    f"{JOBS}/cmd/run.cmd": "@echo cmd runs\r\n",
    "readme.txt": "first\n",
}


def wheel(version: str = "1.0", word: str = "unpacked") -> bytes:
    """Return a package that needs no index and no compiler."""
    info = f"parcel-{version}.dist-info"
    files = {
        "parcel.py": f"WORD = {word!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: parcel\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
    return zipped({**files, f"{info}/RECORD": record})


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """Return a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return buffer.getvalue()


class Clone:
    """A developer's repository."""

    def __init__(self, folder: Path, platform: Platform) -> None:
        need("git")
        self.folder = folder
        self.platform = platform
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch", "main", ".")

    def git(self, *arguments: str, check: bool = True) -> str:
        """Run git and return all that it says."""
        env = {
            **os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org",
        }  # fmt: skip
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=env, check=False, timeout=90,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"git {arguments}: {done.stdout}"
        return done.stdout

    def commit(self, message: str, **files: str | bytes | None) -> str:
        """Commit files given by `tree`; None removes one."""
        for path, text in dict(files.pop("tree", {})).items():  # type: ignore[arg-type]
            file = self.folder / path
            if text is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def push(self, *options: str, path: str = "/site.git", key: str = KEY) -> str:
        """Push to the platform and return what the pusher sees."""
        address = self.platform.management_url.replace("http://", f"http://any:{key}@")
        return self.git("push", *options, address + path, "HEAD:main", check=False)


def run_job(platform: Platform, name: str) -> str:
    """Run a job to its end and return its log."""
    started = platform.kudu("POST", f"/api/triggeredwebjobs/{name}/run", "")
    assert started.status == 202, started.text
    where = "/api/" + started.headers["location"].partition("/api/")[2]

    def ended() -> dict[str, str] | None:
        run: dict[str, str] = platform.kudu("GET", where).json()
        return run if run["status"] not in {"Initializing", "Running"} else None

    run = platform.wait_until(ended, what=f"the end of {name}")
    log = platform.kudu("GET", "/vfs/" + run["output_url"].partition("/vfs/")[2])
    assert run["status"] == "Success", log.text
    return log.text


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A platform on an empty site, and a clone whose first commit has been pushed."""
    for program in ("git", "node", "php"):
        need(program)
    folder = tmp_path_factory.mktemp("push")
    (folder / "site").mkdir()
    (folder / "site" / "mine.txt").write_text("not deployed by anybody")
    platform = Platform(folder / "site", folder / "home").start()
    try:
        clone = Clone(folder / "clone", platform)
        clone.commit(
            "five jobs", tree={**TREE, f"{JOBS}/py/wheels/parcel-1.0-py3-none-any.whl": wheel()}
        )
        told = clone.push()
        assert "remote: Deployment successful." in told, told + platform.told()
        yield clone
    finally:
        if platform.running:
            platform.stop()


def test_a_push_runs(pushed: Clone) -> None:
    """WebJobs of five script types run, with a package that the push has built."""
    for name, word in (
        ("py", "py unpacked"), ("sh", "sh runs"), ("js", "js runs"), ("php", "php runs"),
        ("cmd", "cmd runs"),
    ):  # fmt: skip
        assert word in run_job(pushed.platform, name), name
    assert (pushed.platform.site / "mine.txt").exists()
    assert not (pushed.platform.site / ".git").exists()


def test_a_push_that_breaks_a_job_is_refused(pushed: Clone) -> None:
    """The old release goes on, the branch stays, the pusher reads why; the repair goes through."""
    before = pushed.platform.v1("/status")["release"]
    pushed.commit("broken", tree={f"{JOBS}/sh/run.sh": "if then\n", "readme.txt": "second\n"})
    told = pushed.push()
    assert "rejected" in told
    assert f"remote: error: {JOBS}/sh/run.sh:1: cannot run:" in told
    assert pushed.platform.v1("/status")["release"] == before
    assert "sh runs" in run_job(pushed.platform, "sh")
    assert (pushed.platform.site / "readme.txt").read_text() == "first\n"
    newest = pushed.platform.kudu("GET", "/api/deployments").json()[0]
    assert (newest["status"], newest["author"]) == (3, "Ada")
    pushed.commit("mended", tree={f"{JOBS}/sh/run.sh": "echo sh runs again\n"})
    assert "Deployment successful." in pushed.push()
    assert "sh runs again" in run_job(pushed.platform, "sh")


def test_a_build_that_fails_is_told_with_its_line(pushed: Clone) -> None:
    """The requirement that cannot be had is named, and nothing has changed."""
    bad = f"{JOBS}/py/requirements.txt"
    pushed.commit("no such package", tree={bad: TREE[bad] + "nowhere-to-be-found==3\n"})
    told = pushed.push()
    assert "rejected" in told
    assert f"error: {bad}:4: `uv pip` failed" in told
    assert (pushed.platform.site / bad).read_text() == TREE[bad]
    pushed.git("reset", "--hard", "--quiet", "HEAD~1")


def test_vanished_files_go_and_foreign_ones_stay(pushed: Clone) -> None:
    """What the former push brought is removed; what nobody pushed is kept."""
    pushed.commit("one less", tree={f"{JOBS}/cmd/run.cmd": None})
    assert "removed triggered/cmd" in pushed.push("--force")
    assert not (pushed.platform.site / JOBS / "cmd").exists()
    assert (pushed.platform.site / "mine.txt").exists()
    assert pushed.platform.job("cmd") is None


def test_a_pushed_job_is_not_replaced_by_hand(pushed: Clone) -> None:
    """Source control owns it; another name may be added."""
    script = {"content-disposition": "attachment; filename=run.sh"}
    manage = pushed.platform.manage
    refused = manage("PUT", "/api/triggeredwebjobs/sh", "echo mine", script)
    assert refused.status == 409
    assert "source control" in refused.text
    assert manage("DELETE", "/api/triggeredwebjobs/sh").status == 409
    assert manage("PUT", "/api/triggeredwebjobs/byhand", "echo mine", script).status == 200
    assert "mine" in run_job(pushed.platform, "byhand")


def test_other_branches_are_kept_and_not_deployed(pushed: Clone) -> None:
    """They can be fetched again; nothing is deployed."""
    before = pushed.platform.v1("/deployments")["items"][0]["id"]
    address = pushed.platform.management_url.replace("http://", f"http://any:{KEY}@") + "/git"
    told = pushed.git("push", address, "HEAD:refs/heads/idea")
    assert "only main is deployed" in told
    assert pushed.platform.v1("/deployments")["items"][0]["id"] == before
    assert "refs/heads/idea" in pushed.git("ls-remote", address)
    assert "cannot be deleted" in pushed.git("push", address, ":main", check=False)


def test_the_door(pushed: Clone) -> None:
    """Nobody without a key comes in, and no file of the repository is served as such."""
    url = pushed.platform.management_url
    assert call(url, "GET", "/site.git/info/refs?service=git-receive-pack").status == 401
    told = pushed.push(key="wrong")
    assert "Authentication failed" in told or "could not read" in told
    assert pushed.platform.manage("GET", "/site.git/config").status == 404
    assert pushed.platform.manage("GET", "/site.git/info/refs").status == 403
    hook = "/api/vfs/site/repository/hooks/pre-receive"
    assert pushed.platform.kudu("GET", hook).status == 404
    assert pushed.platform.manage("PUT", hook, "exit 0", {"if-match": "*"}).status == 404


def test_rollback_by_command_and_forward_by_kudu(pushed: Clone) -> None:
    """`taak rollback` goes to the one before; PUT /api/deployments/ID to any."""
    site = pushed.platform.site
    first = pushed.commit("a", tree={"readme.txt": "a\n"})
    pushed.push()
    pushed.commit("b", tree={"readme.txt": "b\n"})
    pushed.push()
    taak = [sys.executable, "-m", "gateway", "rollback", "--home", str(pushed.platform.home)]
    env = {**os.environ, "TAAK_KEY": KEY}
    done = subprocess.run(
        taak, cwd=ROOT, env=env, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert (site / "readme.txt").read_text() == "a\n"
    newest = pushed.platform.v1("/deployments")["items"]
    assert newest[0]["reason"].startswith("rollback to")
    pushed_b = newest[1]["id"]
    answer = pushed.platform.kudu("PUT", f"/api/deployments/{pushed_b}", "{}")
    assert (answer.status, answer.json()["status"]) == (200, 4)
    assert (site / "readme.txt").read_text() == "b\n"
    assert pushed.platform.kudu("GET", f"/api/deployments/{first}").json()["message"] == "a"


def test_zipdeploy(pushed: Clone) -> None:
    """In step and not; a bad archive leaves everything."""
    platform = pushed.platform
    archive = zipped({f"{JOBS}/zip/run.sh": "echo zip runs\n", "readme.txt": "zip\n"})
    answer = platform.manage("POST", "/api/zipdeploy", archive)
    assert answer.status == 200, answer.text
    assert "zip runs" in run_job(platform, "zip")
    assert platform.job("py") is None
    for bad, told in (
        (b"no zip at all", "no zip archive"),
        (zipped({"../out.txt": "x"}), "leads out"),
        (zipped({f"{JOBS}/zip/readme.txt": "no script"}), "script"),
    ):
        refused = platform.manage("POST", "/api/zipdeploy", bad)
        assert refused.status == 400
        assert told in refused.text
    assert "zip runs" in run_job(platform, "zip")
    again = zipped({f"{JOBS}/zip/run.sh": "echo second\n"})
    later = platform.manage("PUT", "/api/zipdeploy?isAsync=true&deployer=ci", again)
    assert later.status == 202
    where = later.headers["location"].removeprefix(platform.management_url)

    def done() -> dict[str, object] | None:
        polled = platform.manage("GET", where)
        found: dict[str, object] = polled.json()
        assert polled.status == (200 if found["complete"] else 202)
        return found if found["complete"] else None

    found = platform.wait_until(done, what="the deployment")
    assert (found["status"], found["deployer"], found["active"]) == (4, "ci", True)
    assert not (platform.site / "readme.txt").exists()
    log = platform.kudu("GET", f"/api/deployments/{found['id']}/log").json()
    assert log[-1]["message"] == "Deployment successful."


def test_taak_deploy(pushed: Clone, tmp_path: Path) -> None:
    """The folder is packed, the log is printed, and the exit code says how it ended."""
    app = tmp_path / "app"
    script = app / JOBS / "cli" / "run.sh"
    script.parent.mkdir(parents=True)
    script.write_text("echo cli runs\n")
    (app / "secret.txt").write_text("stays here")
    (app / ".funcignore").write_text("secret.txt\n")

    def deploy(*options: str) -> subprocess.CompletedProcess[str]:
        place = ["--url", pushed.platform.management_url, "--key", KEY]
        return subprocess.run(
            [sys.executable, "-m", "gateway", "deploy", str(app), *place, *options],
            cwd=ROOT, check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    done = deploy()
    assert done.returncode == 0, done.stderr
    assert "added triggered/cli" in done.stdout
    assert "cli runs" in run_job(pushed.platform, "cli")
    assert not (pushed.platform.site / "secret.txt").exists()
    script.write_text("if then\n")
    refused = deploy("--json")
    assert refused.returncode == 3
    (problem,) = json.loads(refused.stderr)["error"]["problems"]
    assert (problem["where"], problem["line"]) == (f"{JOBS}/cli/run.sh", 1)


def test_a_zip_is_built_when_that_is_set(pushed: Clone) -> None:
    """With SCM_DO_BUILD_DURING_DEPLOYMENT, which can be set while the platform runs."""
    platform, name = pushed.platform, "SCM_DO_BUILD_DURING_DEPLOYMENT"
    archive = zipped(
        {
            **{path: TREE[path] for path in TREE if "/py/" in path},
            f"{JOBS}/py/wheels/parcel-1.0-py3-none-any.whl": wheel(),
        }
    )
    packages = platform.site / JOBS / "py" / ".python_packages"
    assert platform.manage("POST", "/api/zipdeploy", archive).status == 200
    assert not packages.exists()
    kind = {"content-type": "application/json"}
    assert platform.manage("POST", "/api/settings", json.dumps({name: "true"}), kind).status == 204
    try:
        assert platform.manage("POST", "/api/zipdeploy", archive).status == 200
        assert packages.exists()
        assert "py unpacked" in run_job(platform, "py")
    finally:
        platform.manage("DELETE", f"/api/settings/{name}")


def test_too_much_in_a_commit(pushed: Clone) -> None:
    """A pack is small beside what may come out of it: it is refused before anything is written."""
    tree, blob = pushed.folder / "bomb", pushed.folder / "zeros"
    with blob.open("wb") as file:
        file.truncate(64 << 20)
    pushed.git("config", "core.bigFileThreshold", "512m")
    digest = pushed.git("hash-object", "-w", str(blob)).strip()
    blob.unlink()
    lines = "".join(f"100644 blob {digest}\t{n}\n" for n in range(65))
    tree.write_text(lines)
    made = subprocess.run(
        ["git", "mktree"],
        cwd=pushed.folder,
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )
    tree.unlink()
    commit = pushed.git("commit-tree", made.stdout.strip(), "-m", "bomb").strip()
    address = pushed.platform.management_url.replace("http://", f"http://any:{KEY}@")
    told = pushed.git("push", "--force", f"{address}/git", f"{commit}:main", check=False)
    assert "the commit holds 65 files of 4362076160 bytes" in told


@pytest.mark.parametrize("round_", range(3))
def test_a_kill_in_the_middle_leaves_the_old_or_the_new(pushed: Clone, round_: int) -> None:
    """Hundreds of files of one number each: after `kill -9` and a start they are all of one."""
    platform = pushed.platform

    def tree(number: int) -> bytes:
        files = {f"data/{n}.txt": f"{number}\n" * 500 for n in range(400)}
        return zipped({**files, f"{JOBS}/zip/run.sh": f"echo number {number}\n"})

    assert platform.manage("POST", "/api/zipdeploy", tree(0)).status == 200

    def deploy() -> None:
        with suppress(OSError):  # it is killed meanwhile
            platform.manage("POST", "/api/zipdeploy", tree(1))

    deploying = threading.Thread(target=deploy)
    deploying.start()
    moments = {
        0: lambda: list((platform.home / "builds" / "run").glob("*/tree/data/*")),
        1: (platform.site / ".taak" / "swap" / "new" / "data").exists,
        2: (platform.home / "site" / "deployments" / "pending.json").exists,
    }
    wait_until(lambda: moments[round_]() or not deploying.is_alive(), what="the moment")
    platform.kill()
    deploying.join(30)
    platform.start()
    contents = {path.read_text() for path in (platform.site / "data").iterdir()}
    assert len(contents) == 1
    number = contents.pop()[0]
    assert f"number {number}" in run_job(platform, "zip")
    assert platform.kudu("GET", "/api/deployments/latest").json()["complete"]
    assert json.loads((platform.home / "site/deployments/active.json").read_text())["paths"]
    assert not (platform.site / ".taak").exists()
