"""One run: sandboxes of one kind, bait around them, and the attacker in them.

    python -m escapes.driver ROOT [--level L] [--network N] [--without LAYER,...] [--uid N]
                                  [--bare] [--only NAME,...]

Plays the platform as its user, in the folder ROOT, which the caller has made. Prints one JSON
object: the layers as the sandboxes told them, and a table of verdicts for the attacker as a program
(a job's run) and as a function (in a forked worker). `--bare` starts the program without any
sandbox: what is stopped even then, this machine does not offer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from real.leaks import Standing, left_since
from real.sandboxes import Lines, answer, call, described, ready_worker

from sandbox.cgroups import Cgroups
from sandbox.drain import Drain
from sandbox.errors import SandboxError
from sandbox.launchers import Launchers
from sandbox.resources import Resources
from sandbox.spec import Level, Mount, Network, ResourceLimits, SandboxSpec
from sandbox.users import Users

from .attacks import ALONE, ATTACKS, USES, Facts
from .bait import LIMITS, SECRET, Site, bait, spoiled

_ATTACKER = Path(__file__).parent / "attacks"
_PATH = "/usr/local/bin:/usr/bin:/bin"
_SIBLING = ("sleep", "987654")  # a command line that nobody else has
_WAIT_S = 45


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Let the attacker try everything; return what the driver prints."""
    site = Site(Path(options.root))
    _lay_out(site, options.uid)
    names = options.only or [*ATTACKS, *USES]
    async with bait(site) as facts:
        before = Standing.now()
        if options.bare:
            found = await _bare(site, facts, names)
        else:
            found = await _sandboxed(site, facts, names, options)
        found["left"] = left_since(before)
    return found


def _lay_out(site: Site, uid: int) -> None:
    site.code.mkdir(parents=True, exist_ok=True)
    for source in _ATTACKER.glob("*.py"):
        shutil.copy(source, site.code)
    site.data.mkdir()
    if uid:
        os.chown(site.data, uid, uid)


# --- without a sandbox ----------------------------------------------------------------------------


async def _bare(site: Site, facts: Facts, names: list[str]) -> dict[str, Any]:
    sibling = await asyncio.create_subprocess_exec(*_SIBLING, env={SECRET: "x", "PATH": _PATH})
    facts = replace(facts, pids={**facts.pids, "launcher": os.getppid(), "sibling": sibling.pid})
    facts.write(str(site.code))
    root = os.open("/", os.O_RDONLY)
    process = await asyncio.create_subprocess_exec(
        *_argv(names),
        cwd=site.app,
        env={"PATH": _PATH},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=[root],
    )
    os.close(root)
    out, _ = await process.communicate()
    harm = spoiled(facts)
    sibling.kill()
    await sibling.wait()
    return {"layers": {}, "program": _verdicts(out.decode()), "worker": {}, "spoiled": harm}


# --- in sandboxes ---------------------------------------------------------------------------------


async def _sandboxed(
    site: Site, facts: Facts, names: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    spec = _spec(site, facts, options)
    async with _platform(site) as both:
        sibling = await both.run(_sibling(spec), Lines())
        pids = {"launcher": both.preloaded.pid, "sibling": _pid_of(_SIBLING)}
        facts = replace(facts, pids={**facts.pids, **pids})
        facts.write(str(site.code))
        together = [name for name in names if name not in ALONE]
        program: dict[str, str] = {}
        if spec.level is not Level.STRICT:  # whose filter starts no programs
            program = await _as_program(both, spec, together)
            for name in ALONE.intersection(names):
                program |= await _alone(both, spec, name)
        layers, worker = await _as_function(both, spec, together)
        harm = spoiled(facts)
        await sibling.kill()
    return {"layers": layers, "program": program, "worker": worker, "spoiled": harm}


@contextlib.asynccontextmanager
async def _platform(site: Site) -> AsyncIterator[Launchers]:
    """Run launchers with everything that a platform gives them."""
    drain = Drain()
    drain.start()
    resources = Resources(Cgroups.discover(f"escapes-{site.root}"))
    scratch = site.root / "home" / "tmp"
    scratch.mkdir()
    both = Launchers(drain, Users(None), resources, scratch)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(both.serve())
        try:
            async with asyncio.timeout(_WAIT_S):
                await both.ready()
            yield both
        finally:
            serving.cancel()
    drain.stop()
    resources.close()


def _spec(site: Site, facts: Facts, options: argparse.Namespace) -> SandboxSpec:
    limits = ResourceLimits(
        processes=LIMITS["processes"],
        memory_bytes=LIMITS["memory_bytes"],
        scratch_bytes=LIMITS["tmp_bytes"],
        scratch_files=LIMITS["tmp_files"],
    )
    app, data = str(site.app), str(site.data)
    return SandboxSpec(
        name="escape",
        cwd=app,
        env={"PATH": _PATH},
        level=Level(options.level),
        network=Network(options.network),
        ports=(facts.ports["allowed"],),
        mounts=(Mount.at(app), Mount.at(data, writable=True)),
        uid=options.uid,
        without=frozenset(options.without),
        limits=limits,
    )


def _sibling(spec: SandboxSpec) -> SandboxSpec:
    """Return another function's sandbox, whose settings hold a secret."""
    return replace(
        spec,
        name="sibling",
        argv=_SIBLING,
        env={"PATH": _PATH, SECRET: "of the sibling"},
        cwd="/",
        mounts=(),
        level=Level.STANDARD if spec.level is Level.STRICT else spec.level,
        uid=spec.uid + 1 if spec.uid else 0,
    )


def _pid_of(argv: Iterable[str]) -> int:
    """Return the host's number of the process with this command line."""
    wanted = b"\0".join(word.encode() for word in argv) + b"\0"
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and Path(f"/proc/{entry}/cmdline").read_bytes() == wanted:
                    return int(entry)
    raise AssertionError("the sibling does not run")


def _argv(names: list[str]) -> tuple[str, ...]:
    # The base interpreter, as a sandbox has it: a virtual environment is the platform's own.
    return (os.path.realpath(sys.executable), "-B", "-m", "f", *names)


async def _as_program(both: Launchers, spec: SandboxSpec, names: list[str]) -> dict[str, str]:
    sink = Lines()
    process = await both.run(replace(spec, argv=_argv(names)), sink)
    async with asyncio.timeout(_WAIT_S):
        exit_ = await process.wait()
    found = _verdicts(sink.out)
    for name in set(names) - set(found):
        found[name] = f"broken: the program ended before ({exit_}): {sink.err[-2000:]}"
    return found


async def _alone(both: Launchers, spec: SandboxSpec, name: str) -> dict[str, str]:
    """Try what may cost the attacker its sandbox; then that has stopped it."""
    sink = Lines()
    process = await both.run(replace(spec, argv=_argv([name])), sink)
    async with asyncio.timeout(_WAIT_S):
        exit_ = await process.wait()
    ended = f"stopped: the sandbox was ended ({exit_})"
    if exit_.signal is None and exit_.code:
        ended = f"broken: {exit_}: {sink.err[-2000:]}"
    return {name: _verdicts(sink.out).get(name, ended)}


async def _as_function(
    both: Launchers, spec: SandboxSpec, names: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    zygote = await both.zygote(spec, Lines(), preload=True)
    bind = {
        "root": spec.cwd,
        "package_paths": [],
        "settings": {},
        "functions": [described("f", "f")],
        "preloaded": True,
    }
    async with asyncio.timeout(_WAIT_S):
        bound = await zygote.bind(bind, import_here=True)
    assert bound.errors == {"f": None}, bound.errors
    found = dict.fromkeys(names, "broken: what was tried before has ended all")
    worker, _ = await ready_worker(zygote)
    with contextlib.suppress(SandboxError, TimeoutError):  # no other worker is to be had
        for name in names:
            try:
                found[name] = str(await answer(call(worker, attempt=name)))
            except (SandboxError, AssertionError, TimeoutError) as error:
                found[name] = f"broken: {error!r}"
                worker, _ = await ready_worker(zygote)
    layers = zygote.layers
    zygote.kill()
    await zygote.ended
    return layers, found


def _verdicts(lines: str) -> dict[str, str]:
    return dict(json.loads(line) for line in lines.splitlines())


def main(arguments: list[str]) -> None:
    """Run and print."""
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--level", default="standard")
    parser.add_argument("--network", default="none")
    parser.add_argument("--without", type=names, default=[])
    parser.add_argument("--uid", type=int, default=0)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--only", type=names, default=[])
    print(json.dumps(asyncio.run(run(parser.parse_args(arguments)))))


if __name__ == "__main__":
    main(sys.argv[1:])
