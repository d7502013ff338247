"""What was compiled is used for the very sources that it was made from, and for no others."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import compiled


@pytest.fixture
def finders() -> Iterator[list[Any]]:
    """Give the interpreter's finders back as they were."""
    before = list(sys.meta_path)
    yield sys.meta_path
    sys.meta_path[:] = before


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder as the compiler leaves it, for a source in `tmp_path`."""
    monkeypatch.delenv(compiled.PURE, raising=False)
    (tmp_path / "hot.py").write_text("A = 1\n")
    (tmp_path / "types.py").write_text("B = 1\n")
    made = tmp_path / "made"
    made.mkdir()
    compiled.write_manifest(made, {"hot": "hot.so"}, ["hot.py", "types.py"], tmp_path)
    return made


def test_fresh_modules_are_found_before_their_sources(
    folder: Path, tmp_path: Path, finders: list[Any]
) -> None:
    """The first finder knows the compiled modules, and no others."""
    assert compiled.use(folder, tmp_path)
    first = finders[0]
    assert isinstance(first, compiled.CompiledFinder)
    spec = first.find_spec("hot", None)
    assert spec is not None
    assert spec.origin == str(folder / "hot.so")
    assert first.find_spec("types", None) is None


@pytest.mark.parametrize("file", ["hot.py", "types.py"])
@pytest.mark.parametrize("change", ["edit", "remove"])
def test_a_changed_source_is_never_shadowed(
    folder: Path, tmp_path: Path, finders: list[Any], file: str, change: str
) -> None:
    """After any change of what the compiler has read, the sources run."""
    before = list(finders)
    if change == "edit":
        (tmp_path / file).write_text("A = 2\n")
    else:
        (tmp_path / file).unlink()
    assert not compiled.use(folder, tmp_path)
    assert finders == before


def test_another_python_runs_the_sources(folder: Path, tmp_path: Path) -> None:
    """Machine code for another interpreter is not even tried."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["python"] = ".cpython-39-other.so"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert not compiled.use(folder, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"python": 1}', "no json"])
def test_a_broken_manifest_is_none(folder: Path, tmp_path: Path, text: str) -> None:
    """What cannot be read counts as not there."""
    (folder / "manifest.json").write_text(text)
    assert not compiled.use(folder, tmp_path)


def test_it_can_be_switched_off(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TAAK_PURE runs the sources whatever is there."""
    monkeypatch.setenv(compiled.PURE, "1")
    assert not compiled.use(folder, tmp_path)
