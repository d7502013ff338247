"""Two runs side by side.

    python benchmarks/compare.py EARLIER.json [LATER.json]

The ratio is later to earlier. Absolute figures of two runs differ by the machine's mood alone;
figures that are ratios to a yardstick of their own run (x bare ...) are the ones to trust.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from document import OUT


def main() -> int:
    """Print the comparison."""
    if not 2 <= len(sys.argv) <= 3:
        print(__doc__)
        return 2
    earlier = _figures(Path(sys.argv[1]))
    later = _figures(Path(sys.argv[2]) if len(sys.argv) == 3 else OUT / "latest.json")
    width = max(map(len, earlier | later), default=0)
    for name, new in later.items():
        print(f"{name:<{width}}  {_line(earlier.get(name), new)}")
    for name in earlier.keys() - later.keys():
        print(f"{name:<{width}}  not measured any more")
    return 0


def _line(old: dict[str, Any] | None, new: dict[str, Any]) -> str:
    if old is None:
        return f"{new['value']:>12,.2f} {new['unit']}  (new)"
    ratio = new["value"] / old["value"] if old["value"] else float("nan")
    good = ratio >= 1 if new["better"] == "higher" else ratio <= 1
    word = "" if 0.9 <= ratio <= 1.1 else ("better" if good else "WORSE")
    values = f"{old['value']:>12,.2f} {new['value']:>12,.2f} {new['unit']:<16}"
    return f"{values} {ratio:6.2f} x  {word}".rstrip()


def _figures(path: Path) -> dict[str, dict[str, Any]]:
    document = json.loads(path.read_text())
    return {figure["name"]: figure for figure in document["figures"]}


if __name__ == "__main__":
    sys.exit(main())
