"""Imports go down only: gateway -> scheduler -> sandbox -> sandbox.runtime.wire (design.md 2)."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
OURS = {"gateway", "scheduler", "sandbox"}
#: What puts the layers together: the second begins the launcher before the first is even loaded.
ROOTS = {"gateway/server.py", "gateway/cli/start.py"}

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


@cache
def parsed(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text())


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every statement, also the nested ones, without a look at expressions: they are many."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            left.extend(getattr(node, part, ()))


def imports(path: Path) -> Iterator[tuple[int, str, int]]:
    """Yield (relative level, module, line) of every import in a file, also the nested ones."""
    for node in statements(parsed(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", node.lineno


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def wrong(here: str, level: int, module: str) -> str:
    """Return why a file must not have an import, or "" if it may."""
    layer = here.partition("/")[0]
    top = module.partition(".")[0]
    if here.startswith("sandbox/runtime/"):
        known = level == 1 or top in sys.stdlib_module_names or top in {"msgpack", "azure"}
        return "" if known and top not in OURS else "the guest side has the library only"
    if here.startswith("sandbox/batch/"):
        known = level == 1 or (level == 0 and top in sys.stdlib_module_names)
        return "" if known else "the batch interpreter has the library only"
    if module.startswith("sandbox.batch"):
        return "the batch interpreter is a program, started and never imported"
    if level != 0:
        return "only the guest side imports relatively"
    if top in OURS and here not in ROOTS and top not in MAY[layer]:
        return f"{layer} may import {sorted(MAY[layer])}"
    if module.startswith("sandbox.runtime") and layer != "sandbox":
        return "the guest side is the sandbox's own"
    if not here.startswith(ONLY_IN.get(top, "")):
        return f"it belongs to {ONLY_IN[top]}"
    return ""


def test_imports_go_down_only() -> None:
    """No file imports a layer above its own, nor a library that belongs elsewhere."""
    assert len(FILES) > 100
    found = [
        f"{name(path)}:{line} imports {module}: {why}"
        for path in FILES
        for level, module, line in imports(path)
        if (why := wrong(name(path), level, module))
    ]
    assert found == []


def test_tasks_have_an_owner() -> None:
    """create_task is called on a TaskGroup, never on the loop or the asyncio module."""
    for path in FILES:
        if name(path).startswith("sandbox/runtime/"):
            continue  # a worker's loop is the user's; its tasks are owned by the call table
        if not re.search(r"create_task|ensure_future", path.read_text()):
            continue
        for node in ast.walk(parsed(path)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = ast.unparse(node.func.value)
            if node.func.attr in {"create_task", "ensure_future"}:
                assert owner not in {"asyncio", "loop", "self._loop"}, f"{name(path)}:{node.lineno}"


def test_every_module_says_what_it_owns() -> None:
    """Each file begins with a docstring."""
    missing = [name(path) for path in FILES if not ast.get_docstring(parsed(path))]
    assert missing == []


def test_every_test_makes_a_claim() -> None:
    """Each test function has a docstring: the claim that it proves."""
    silent = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in statements(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                node.name.startswith("test_") and not ast.get_docstring(node)
            ):
                silent.append(f"{path.name}:{node.lineno} {node.name}")
    assert silent == []
