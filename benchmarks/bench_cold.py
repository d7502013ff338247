"""Cold start: a call that a new worker answers, and the start of the whole platform.

Yardsticks of the same run: `python -I -S -c pass`, and fork and exit of a bare interpreter.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time

from cpu import descendants
from figure import Figure, quantile
from scene import Platform, bare_server, http_function, platform_on, workshop

CODE = "import os\n\n\ndef main(req):\n    return str(os.getpid())\n"
_FORKS = """
import os, time
spent = []
for _ in range({count}):
    start = time.perf_counter()
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    spent.append(time.perf_counter() - start)
print(sorted(spent)[len(spent) // 2])
"""


def measure(*, quick: bool = False) -> list[Figure]:
    """Measure cold calls, a first deployment, and the platform's start."""
    count = 5 if quick else 25
    python_s = statistics.median(_python_start() for _ in range(count))
    fork_s = _fork_and_exit(count * 8)
    with workshop() as folder:
        http_function(folder / "site", "cold", CODE)
        start = time.perf_counter()
        with platform_on(folder) as platform:
            started_s = time.perf_counter() - start
            cold = [_call_of_new_worker(platform) for _ in range(count)]
            first = [_first_call_after_deploy(platform, n) for n in range(max(count // 5, 2))]
    start = time.perf_counter()
    with bare_server():
        bare_s = time.perf_counter() - start
    cold_s = statistics.median(cold)
    return [
        Figure("cold.call", cold_s * 1e3, "ms", "lower", f"p90 {quantile(cold, 0.9) * 1e3:.2f} ms"),
        Figure("cold.call.of_python", cold_s / python_s, "x python -I -S", "lower"),
        Figure("cold.call.of_fork", cold_s / fork_s, "x fork+exit", "lower"),
        Figure("cold.deploy_and_call", statistics.median(first) * 1e3, "ms", "lower", "new folder"),
        Figure("cold.platform", started_s * 1e3, "ms", "lower", "spawn to ready, one function"),
        Figure("cold.platform.of_bare", started_s / bare_s, "x bare aiohttp", "lower"),
        Figure("yardstick.python", python_s * 1e3, "ms", "lower", "python -I -S -c pass"),
        Figure("yardstick.fork", fork_s * 1e3, "ms", "lower", "fork, exit, wait"),
    ]


def _call_of_new_worker(platform: Platform) -> float:
    """Kill the function's workers and return how long the next call takes."""
    pid = int(platform.get("/api/cold").text)
    # Only what this benchmark started may be killed.
    assert pid in descendants(platform.pid), f"{pid} is no process of the platform"
    os.kill(pid, signal.SIGKILL)
    start = time.perf_counter()
    answer = platform.get("/api/cold")
    spent = time.perf_counter() - start
    assert answer.status in (200, 500, 502, 503), answer
    # The call that met the dying worker may fail; the one that counts is answered by a new one.
    return spent if answer.text != str(pid) and answer.status == 200 else _again(platform, pid)


def _again(platform: Platform, pid: int) -> float:
    start = time.perf_counter()
    answer = platform.get("/api/cold")
    assert answer.status == 200, answer
    assert answer.text != str(pid)
    return time.perf_counter() - start


def _first_call_after_deploy(platform: Platform, number: int) -> float:
    """Return the time from a new folder to the answer of its function."""
    start = time.perf_counter()
    http_function(platform.site, f"cold{number}", CODE)
    platform.wait_until(lambda: platform.get(f"/api/cold{number}").status == 200)
    return time.perf_counter() - start


def _python_start() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)
    return time.perf_counter() - start


def _fork_and_exit(count: int) -> float:
    code = _FORKS.format(count=count)
    command = [sys.executable, "-I", "-S", "-c", code]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
