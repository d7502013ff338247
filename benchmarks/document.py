"""The document of a run: figures and circumstances, kept in benchmarks/out for later comparison."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import memory
from findings import Findings
from load import generator

OUT = Path(__file__).resolve().parent / "out"
_OURS = ("taak", "aiohttp", "uvloop", "httptools", "msgpack", "azure-functions")


def keep(findings: Findings, command: Sequence[str], failed: Sequence[str]) -> Path:
    """Write the document, and once more as latest.json; return where."""
    now = datetime.now(UTC)
    document = {
        "at": now.isoformat(timespec="seconds"),
        "command": list(command),
        "failed": list(failed),
        "machine": _machine(findings.load_1min),
        # For documents of earlier runs, which compare.py reads, too.
        "python": platform.python_version(),
        "others": {name: asdict(other) for name, other in findings.others.items()},
        "remarks": findings.remarks,
        "figures": [asdict(figure) for figure in findings.figures],
    }
    OUT.mkdir(exist_ok=True)
    text = json.dumps(document, indent=1) + "\n"
    file = OUT / f"{now:%Y%m%d-%H%M%S}.json"
    file.write_text(text)
    (OUT / "latest.json").write_text(text)
    return file


def _machine(load_1min: float) -> dict[str, Any]:
    """Return what the figures depend on; nothing that names this one machine."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "available_gib": round(memory.available() / (1 << 30), 1),
        "system": _system(),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _version(name) for name in _OURS},
        "load_generator": generator_version(),
        "user": "root" if os.geteuid() == 0 else "unprivileged",
        "load_1min": load_1min,
        "commit": _commit(),
    }


def generator_version() -> str:
    """Return what made the load, with its version."""
    if generator() != "wrk":
        return generator()
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return f"wrk {found[1]}" if (found := re.search(r"wrk \S*?(\d[\d.]+)", said)) else "wrk"


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _system() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def _commit() -> str:
    """Return which commit was measured, and whether files differ from it."""
    if shutil.which("git") is None:
        return ""
    root = Path(__file__).resolve().parents[1]
    git = ["git", "-C", str(root)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, check=False)
    if head.returncode:
        return ""
    told = [*git, "status", "--porcelain", "--untracked-files=no"]
    changed = subprocess.run(told, capture_output=True, check=False).stdout
    return head.stdout.decode().strip() + (" and changes" if changed.strip() else "")
