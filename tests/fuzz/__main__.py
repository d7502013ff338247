"""`python -m tests.fuzz`: the long run, or one case again."""

from __future__ import annotations

import argparse
import resource
import sys
import time

from .campaign import TARGETS, Defect, Tally, repeat, run


def main() -> int:
    """Run, print what was done, and return 1 if a defect was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000, help="mutated frames to feed")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other frames")
    parser.add_argument(
        "--target", action="append", default=[], choices=[target.name for target in TARGETS]
    )
    parser.add_argument("--case", type=int, help="only this case, of one target")
    asked = parser.parse_args()
    begin = time.monotonic()
    try:
        if asked.case is not None:
            if len(asked.target) != 1:
                parser.error("--case needs one --target")
            tallies = {asked.target[0]: repeat(asked.target[0], asked.seed, asked.case)}
        else:
            tallies = run(asked.frames, asked.seed, tuple(asked.target))
    except Defect as defect:
        print(defect)
        return 1
    _tell(tallies, asked.seed, time.monotonic() - begin)
    return 0


def _tell(tallies: dict[str, Tally], seed: int, seconds: float) -> None:
    for name, tally in tallies.items():
        seen = ", ".join(f"{count} x {what}" for what, count in sorted(tally.seen.items()))
        print(f"{name}: {tally.frames} frames in {tally.cases} cases: {seen}")
    frames = sum(tally.frames for tally in tallies.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{frames} frames, seed {seed}, {seconds:.0f} s, {peak:.0f} MiB at most: no defect")


if __name__ == "__main__":
    sys.exit(main())
