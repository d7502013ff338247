"""`make bench`: every benchmark, one table, one document in benchmarks/out.

make bench ARGS="--quick --only dispatch,store"
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from importlib import import_module

from figure import Figure, keep, table

#: name -> the module whose `measure` yields its figures.
BENCHMARKS = {
    "dispatch": "bench_dispatch",
    "cold": "bench_cold",
    "redeploy": "bench_redeploy",
    "store": "store_figures",
    "timers": "bench_timers",
}


def main() -> int:
    """Run what was asked for; a benchmark that fails is told, and the others go on."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="comma between names")
    options = parser.parse_args()

    figures: list[Figure] = []
    failed: list[str] = []
    names = options.only.split(",")
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in names:
        print(f"{name} ...", end=" ", flush=True)
        start = time.perf_counter()
        try:
            figures += import_module(BENCHMARKS[name]).measure(quick=options.quick)
        except Exception:  # noqa: BLE001 - one broken benchmark must not hide the others
            traceback.print_exc()
            failed.append(name)
        print(f"{time.perf_counter() - start:.0f} s")
    if figures:
        print(f"\n{table(figures)}\n\nkept in {keep(figures)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed or not figures else 0


if __name__ == "__main__":
    sys.exit(main())
