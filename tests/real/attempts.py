"""A vocabulary for tests of one layer: what a fresh process could do before it, and after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DRIVER = ROOT / "tests" / "fixtures" / "guest" / "attempts.py"
LANDLOCK = str(ROOT / "sandbox" / "runtime" / "landlock.py")
CAPABILITIES = str(ROOT / "sandbox" / "runtime" / "capabilities.py")
NOBODY = 65534
#: Who tries: the user of the tests, and when that is root, one with no rights as well.
USERS = sorted({os.getuid(), NOBODY}) if os.getuid() == 0 else [os.getuid()]
#: What a program needs to start, as far as this machine has it.
SYSTEM = [
    path for path in ("/usr", "/bin", "/lib", "/lib64", "/etc", "/proc") if Path(path).exists()
]

Step = tuple[Any, ...]


def attempt(*steps: Step, uid: int | None = None) -> list[Any]:
    """Try the steps in a fresh process of a user: "ok", an errno's name or a value for each."""
    first: list[Step] = [] if uid in {None, os.getuid()} else [("become", uid)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(DRIVER), json.dumps([*first, *steps])],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.defpath},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[Any] = json.loads(done.stdout)
    assert found[: len(first)] == ["ok"] * len(first)
    return found[len(first) :]
