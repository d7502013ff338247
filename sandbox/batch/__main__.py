"""Start: `python -I -S FOLDER SCRIPT ARGUMENTS...`, in the script's folder.

The folder is loaded as the package `_batch`, as the workers' runtime is: no name of ours can then
be mistaken for one of the standard library.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys


def load(folder: str) -> None:
    """Make `_batch` importable."""
    spec = importlib.util.spec_from_file_location(
        "_batch", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["_batch"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    load(here)
    importlib.import_module("_batch.start").main(sys.argv[1:])
