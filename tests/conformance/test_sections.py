"""What holds for this suite as a whole."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_SECTION = re.compile(r"§\d(\.\d\w?)?(, §\d(\.\d\w?)?)*( \[OURS\])?: \S")


def claims() -> Iterator[tuple[str, str]]:
    """Yield every test of the suite with its docstring."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path.name == Path(__file__).name:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
                "test_"
            ):
                yield f"{path.name}:{node.lineno} {node.name}", ast.get_docstring(node) or ""


def test_every_test_names_the_section_of_its_rule():
    """So that a rule's test is found from the specification, and a failure tells what is broken."""
    assert not [place for place, docstring in claims() if not _SECTION.match(docstring)]
