"""A release that an earlier process left -> its index, if every file is still what was deployed.

Files are compared with the site's before any is read: after most restarts nothing has changed, and
a start must not read everything twice. Blocks; knows nothing of what serves.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scheduler.file_index import Entry, FileChangedError, Index, merged, with_digests
from scheduler.file_scan import Walk, scan, steps_to
from scheduler.job_manifest import RESERVED
from scheduler.release_map import ReleaseMap

#: The folder of a job root outside of the site.
_OUTER = re.compile(rf"{re.escape(RESERVED)}/jobs/[^/]+")


def read_release(root: Path, digest: str, likely: Index | None) -> Index | None:
    """Return the index of the release; None if it is not what its digest says.

    `likely` has the digests of files of which the release may be a copy.
    """
    try:
        seen = _scan(root)
        for known in filter(None, (likely, Index({}, frozenset(), 0))):
            index = with_digests(_borrowed(seen, known))
            if index.digest == digest:
                return index
    except (OSError, ValueError, FileChangedError):
        return None
    return None


def _scan(root: Path) -> Index:
    """Look at a release with the folders of outer jobs, which a scan of a site passes over."""
    jobs = root / RESERVED / "jobs"
    places = sorted(os.listdir(jobs)) if jobs.is_dir() else []
    outer = (scan(jobs / name, place=f"{RESERVED}/jobs/{name}") for name in places)
    return merged(scan(root), *outer, *_elsewhere(root))


def _elsewhere(root: Path) -> Iterator[Index]:
    """Yield what stands in other releases."""
    there: dict[tuple[str, str], list[str]] = defaultdict(list)
    for folder, home in ReleaseMap.read(root).homes.items():
        outer = _OUTER.match(folder)
        there[home, outer[0] if outer else ""].append(folder)
    for (home, place), folders in there.items():
        walk = Walk(root.with_name(home) / place, place=place)
        walk.all_of(folders)
        walk.folders |= {step for folder in folders for step in steps_to(folder)}
        yield walk.index()


def _borrowed(seen: Index, known: Index) -> Index:
    """Return the release's files with the digests of those that look the same in the other.

    That it looks the same does not prove it: only the digest of the whole does.
    """
    return replace(
        seen,
        entries={
            path: replace(entry, digest=other.digest)
            if (other := known.entries.get(path)) and _looks(entry) == _looks(other)
            else entry
            for path, entry in seen.entries.items()
        },
    )


def _looks(entry: Entry) -> tuple[int, int, str]:
    return (entry.size, 0 if entry.link else entry.mtime_ns, entry.link)
