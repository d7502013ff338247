"""What "taak" says of sandboxes: taken, or refused with the field, the bounds and the value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox.spec import Level, Network
from scheduler.functions import Problem
from scheduler.isolation import Isolation
from scheduler.isolation_fields import read_isolation
from scheduler.lenient_json import parse
from scheduler.manifest_fields import Fields


def read(**values: Any) -> tuple[Isolation, list[Problem]]:
    """Read a function.json with these values under "taak"."""
    problems: list[Problem] = []
    document = parse(json.dumps({"taak": values}, indent=1), "f/function.json")
    fields = Fields(document, document.value, problems)
    return read_isolation(fields.inner("taak", loose=True), Isolation()), problems


def test_what_is_said_is_taken() -> None:
    """Every name, as it stands in README's table of limits."""
    isolation, problems = read(
        sandbox="strict", network="outbound", ports=[443], memory_mib=64, cpu_cores=0.5,
        processes=20, open_files=100, tmp_mib=1, tmp_files=16, file_mib=2, cpu_s=3,
    )  # fmt: skip
    assert not problems
    assert isolation == Isolation(
        sandbox=Level.STRICT, network=Network.OUTBOUND, ports=(443,), memory_mib=64, cpu_cores=0.5,
        processes=20, open_files=100, tmp_mib=1, tmp_files=16, file_mib=2, cpu_s=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("processes", 99999999999),
        ("processes", 4),
        ("cpu_cores", 1e300),
        ("cpu_cores", 0.0001),
        ("cpu_s", 99999999999999999999),
        ("tmp_mib", 99999999999999999),
        ("file_mib", 99999999999999999999),
        ("tmp_files", 99999999999999999999),
        ("memory_mib", 99999999999999999999),
        ("memory_mib", -1),
        ("open_files", 10_000_000),
        ("sandbox", "none"),
        ("sandbox", "process"),
        ("network", "all"),
        ("ports", ["x"]),
        ("ports", [70000]),
    ],
)
def test_what_no_machine_can_give_is_refused_with_its_place(name: str, value: object) -> None:
    """One number must not reach a kernel that would refuse it when the sandbox is built."""
    isolation, problems = read(**{name: value})
    assert isolation == Isolation()
    [problem] = problems
    assert problem.line == 3 if not isinstance(value, list) else problem.line >= 3
    assert name in problem.field
    assert "must be" in problem.message
