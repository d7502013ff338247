"""A triggered job: reports the disk space of some folders, daily at six or by hand.

    taak trigger report --follow -- --min-free-percent 5 / /tmp

It shows arguments, the job's data folder that lasts over runs, and a run that fails: an exit code
other than 0 marks the run as failed, and what it printed is in the run's log.
"""

import argparse
import csv
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="report", description="Report disk space.")
    parser.add_argument("folders", nargs="*", default=["/"])
    parser.add_argument("--min-free-percent", type=float, default=0.0)
    options = parser.parse_args()

    rows = [(folder, *shutil.disk_usage(folder)) for folder in options.folders]
    scarce = []
    for folder, total, _used, free in rows:
        percent = 100 * free / total
        print(f"{folder}: {free // 2**20} MiB of {total // 2**20} MiB free ({percent:.1f} %)")
        if percent < options.min_free_percent:
            scarce.append(folder)
    keep(rows)
    if scarce:
        print(f"less than {options.min_free_percent} % free: {', '.join(scarce)}", file=sys.stderr)
    return 1 if scarce else 0


def keep(rows: list[tuple[str, int, int, int]]) -> None:
    """Append the rows to a file in the folder that this job has for itself."""
    file = Path(os.environ.get("WEBJOBS_DATA_PATH", "."), "report.csv")
    with file.open("a", newline="", encoding="utf-8") as stream:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        csv.writer(stream).writerows([now, *row] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
