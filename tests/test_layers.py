"""Imports go down only: gateway -> scheduler -> sandbox -> sandbox.runtime.wire (design.md 2)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"gateway", "scheduler", "sandbox"}

#: package -> packages of ours that it may import.
MAY = {
    "gateway": {"gateway", "scheduler"},
    "scheduler": {"scheduler", "sandbox"},
    "sandbox": {"sandbox"},
}
#: third-party package -> where it may be imported.
ONLY_IN = {
    "aiohttp": ("gateway/",),
    "httptools": ("gateway/",),
    "watchdog": ("gateway/",),
    "uvloop": ("gateway/",),
    "typer": ("gateway/cli/",),
    "rich": ("gateway/cli/",),
    "prometheus_client": ("gateway/scrape.py",),
    "croniter": ("scheduler/schedule.py",),
    "msgpack": ("sandbox/runtime/wire.py",),
    "asyncpg": ("scheduler/store/postgresql.py",),
    "sqlite3": ("scheduler/store/",),
}
FILES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str, int]]:
    """Yield (relative level, module, line) of every import in a file, also the nested ones."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", node.lineno


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_down_only(path: Path) -> None:
    """No file imports a layer above its own, nor a library that belongs elsewhere."""
    here = name(path)
    layer = here.partition("/")[0]
    for level, module, line in imports(path):
        top = module.partition(".")[0]
        where = f"{here}:{line} imports {module}"
        if here.startswith("sandbox/runtime/"):
            assert top not in OURS, where
            assert level == 1 or top in sys.stdlib_module_names or top in {"msgpack", "azure"}, (
                where
            )
            continue
        assert level == 0, f"{where}: only the guest side imports relatively"
        if top in OURS and here != "gateway/server.py":
            assert top in MAY[layer], where
        if module.startswith("sandbox.runtime"):
            assert layer == "sandbox", where
        for library, places in ONLY_IN.items():
            if top == library:
                assert here.startswith(places), f"{where}; it belongs to {places}"


def test_tasks_have_an_owner() -> None:
    """create_task is called on a TaskGroup, never on the loop or the asyncio module."""
    for path in FILES:
        if name(path).startswith("sandbox/runtime/"):
            continue  # a worker's loop is the user's; its tasks are owned by the call table
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = ast.unparse(node.func.value)
            if node.func.attr in {"create_task", "ensure_future"}:
                assert owner not in {"asyncio", "loop", "self._loop"}, f"{name(path)}:{node.lineno}"


def test_every_module_says_what_it_owns() -> None:
    """Each file begins with a docstring."""
    missing = [name(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert missing == []


def test_every_test_makes_a_claim() -> None:
    """Each test function has a docstring: the claim that it proves."""
    silent = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                node.name.startswith("test_") and not ast.get_docstring(node)
            ):
                silent.append(f"{path.name}:{node.lineno} {node.name}")
    assert silent == []
