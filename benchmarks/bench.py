"""`make bench`: every benchmark, one table, one document in benchmarks/out.

make bench ARGS="--quick --only dispatch,peers"
make bench ARGS="--results"
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from types import FrameType

from document import keep
from figure import table
from findings import Findings
from load import lacking
from results import write_results

#: name -> the module whose `measure` adds its figures.
BENCHMARKS = {
    "dispatch": "bench_dispatch",
    "peers": "bench_peers",
    "cold": "bench_cold",
    "jobs": "bench_jobs",
    "timers": "bench_timers",
    "logs": "bench_logs",
    "memory": "bench_memory",
    "redeploy": "bench_redeploy",
    "store": "store_figures",
    "functions": "growth_functions",
    "connections": "growth_connections",
    "bodies": "growth_bodies",
    "queue": "growth_queue",
    "continuous": "growth_jobs",
}


_BUSY = 0.5


def main() -> int:
    """Run what was asked for; a benchmark that fails is told, and the others go on."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="comma between names")
    parser.add_argument(
        "--results", action="store_true", help="write benchmarks/RESULTS.md from this run"
    )
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if lack := lacking():
        print(f"{lack}\n", file=sys.stderr)
        if options.results:
            parser.error("the results page is made with wrk only")
    _prepare()

    findings = Findings(quick=options.quick, load_1min=_load())
    failed = [name for name in names if not _done(name, findings)]
    if findings.figures:
        file = keep(findings, command=sys.argv[1:], failed=failed)
        print(f"\n{table(findings.figures)}\n\nkept in {file}")
        if options.results:
            print(f"written: {write_results(file)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed or not findings.figures else 0


def _done(name: str, findings: Findings) -> bool:
    print(f"{name} ...", end=" ", flush=True)
    start = time.perf_counter()
    try:
        import_module(BENCHMARKS[name]).measure(findings)
    except Exception:  # noqa: BLE001 - one broken benchmark must not hide the others
        traceback.print_exc()
        return False
    finally:
        print(f"{time.perf_counter() - start:.0f} s")
    return True


def _load() -> float:
    """Return what the machine does without us, and say so if it is much."""
    load = round(os.getloadavg()[0], 2)
    if load > _BUSY:
        print(f"the machine is busy (load {load}): figures will be worse than they could be\n")
    return load


def _prepare() -> None:
    """Allow many connections, and see to it that a signal ends what was started, too."""
    # What is measured in this process is the code beside it, wherever Taak is installed from.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)  # unwinds the contexts that stop servers

    signal.signal(signal.SIGTERM, leave)


if __name__ == "__main__":
    sys.exit(main())
