"""Every state machine of the sandbox layer is a total table."""

from __future__ import annotations

import pytest

from sandbox import tree, worker


@pytest.mark.parametrize(
    ("table", "states"),
    [(tree.TRANSITIONS, tree.TreeState), (worker.TRANSITIONS, worker.WorkerState)],
)
def test_the_table_is_total(table: dict, states: type) -> None:
    """Every state has an entry, also the last one, and names only states."""
    assert set(table) == set(states)
    assert all(isinstance(to, states) for follow in table.values() for to in follow)
