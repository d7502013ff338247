"""The compiled hot path: machine code in the place of some modules, made from the same sources.

`compile.py` makes it, this lets a platform use it. The sources stay the truth: their digests are
compared at each start, and after an edit of one of them, or of a file that they import, nothing
compiled is used until it is made again. So what runs is always what can be read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "compiled"
#: Set to anything: run the sources as they are.
PURE = "TAAK_PURE"
_MANIFEST = "manifest.json"
_NOTED = {"python", "modules", "sources"}


class CompiledFinder:
    """Finds modules in the folder of the compiled ones, before anything else does.

    A MetaPathFinder without the name: to load that class takes 7 ms of each start.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files  # module -> file

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a compiled module is; None for all others."""
        del path, target
        file = self._files.get(fullname)
        if file is None:
            return None
        loader = ExtensionFileLoader(fullname, file)
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


def use(folder: Path = FOLDER, root: Path = ROOT) -> bool:
    """Let what is compiled be imported from now on; tell whether there is such for these sources.

    Called before the first of the modules is imported.
    """
    manifest = _manifest(folder)
    if os.environ.get(PURE) or not manifest or not _is_fresh(manifest, root):
        return False
    files = {name: str(folder / file) for name, file in manifest["modules"].items()}
    sys.meta_path.insert(0, CompiledFinder(files))
    return True


def write_manifest(
    folder: Path, modules: Mapping[str, str], sources: Iterable[str], root: Path = ROOT
) -> None:
    """Note which file of the folder is which module, and the sources that they were made from."""
    text = json.dumps(
        {
            "python": EXTENSION_SUFFIXES[0],
            "modules": dict(modules),
            "sources": {name: _digest(root / name) for name in sorted(sources)},
        },
        indent=1,
    )
    (folder / _MANIFEST).write_text(text + "\n")


def _is_fresh(manifest: Mapping[str, Any], root: Path) -> bool:
    """Tell whether it was made by this Python from the sources as they are now."""
    return manifest["python"] == EXTENSION_SUFFIXES[0] and all(
        digest == _digest(root / name) for name, digest in manifest["sources"].items()
    )


def _manifest(folder: Path) -> dict[str, Any]:
    """Return what was noted; empty if nothing was, or if it cannot be read."""
    try:
        found = json.loads((folder / _MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.keys() >= _NOTED else {}


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
