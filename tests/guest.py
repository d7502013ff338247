"""A vocabulary for tests of the guest side: run an app of fixtures in an isolated interpreter."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
APPS = ROOT / "tests" / "fixtures" / "apps"
DRIVER = ROOT / "tests" / "fixtures" / "guest" / "driver.py"
PACKAGES = ".python_packages/lib/site-packages"


def site_dir(package: str) -> str:
    """Return the directory in which a package of the platform is installed."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parents[package.count(".") + 1])


def function(root: Path, name: str) -> dict[str, Any]:
    """Return a function of an app as the host describes it to the guest."""
    manifest = json.loads((root / name / "function.json").read_text())
    bindings = [
        {"name": b["name"], "type": b["type"], "direction": b["direction"], "data_type": ""}
        for b in manifest["bindings"]
    ]
    trigger = next(b for b in bindings if b["type"].lower().endswith("trigger"))
    return {
        "name": name,
        "directory": name,
        "script_file": f"{name}/{manifest['scriptFile']}",
        "entry_point": manifest.get("entryPoint", "main"),
        "trigger_type": trigger["type"].lower(),
        "trigger_name": trigger["name"],
        "bindings": bindings,
        "function_directory": str(root / name),
    }


def get(query: str = "", body: str = "", headers: tuple[tuple[str, str], ...] = ()) -> list[Any]:
    """Return the event of a GET request with a query such as `a=1&b=2`."""
    pairs = [part.split("=") for part in query.split("&")] if query else []
    return ["GET", f"http://localhost/api/x?{query}", list(headers), pairs, [], body]


def run(
    tmp_path: Path,
    app: Path | None = None,
    functions: tuple[str, ...] = (),
    *,
    calls: tuple[tuple[str, list[Any]], ...] = (),
    mode: str = "preloaded",
    probe: str = "",
    packages: tuple[str, ...] = (PACKAGES,),
    settings: dict[str, str] | None = None,
    python: str = sys.executable,
) -> dict[str, Any]:
    """Load functions of an app, call them, run the probe, and return what was found."""
    result = tmp_path / "found.json"
    bind = app and {
        "root": str(app),
        "package_paths": [path for path in packages if (app / path).is_dir()],
        "settings": settings or {},
        "functions": [function(app, name) for name in functions],
        "preloaded": mode == "preloaded",
    }
    order = {
        "boot": str(ROOT / "sandbox" / "runtime" / "boot.py"),
        "msgpack": site_dir("msgpack"),
        "site_dirs": [site_dir("azure.functions")],
        "mode": mode,
        "bind": bind,
        "calls": calls,
        "probe": probe,
        "result": str(result),
    }
    done = subprocess.run(
        [python, "-I", "-S", str(DRIVER), json.dumps(order)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.defpath},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(result.read_text())
    found["stdout"], found["stderr"] = done.stdout, done.stderr
    return found
