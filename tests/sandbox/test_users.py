"""Who a sandbox runs as: one number a name, kept for the life of the home."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.users import Users, UsersExhaustedError

NUMBERS = range(2_000_000_000, 2_000_000_008)


def test_a_name_keeps_its_user_over_restarts(tmp_path: Path) -> None:
    """A job's data files belong to it."""
    first = Users(tmp_path / "users", root=True, numbers=NUMBERS)
    given = {name: first.uid(name) for name in ("a", "b")}
    again = Users(tmp_path / "users", root=True, numbers=NUMBERS)
    assert {name: again.uid(name) for name in ("b", "a")} == given
    assert again.uid("c") not in given.values()


def test_without_root_there_is_one_user(tmp_path: Path) -> None:
    """Nothing is written, 0 stands for the platform's own."""
    assert Users(tmp_path / "users", root=False).uid("a") == 0
    assert not (tmp_path / "users").exists()


def test_a_broken_file_gives_nobody_a_user_outside_of_the_range(tmp_path: Path) -> None:
    """Root least of all."""
    (tmp_path / "users").write_text('["a", 0]\n["b", 1000]\nno json\n["c"]\n7\n')
    users = Users(tmp_path / "users", root=True, numbers=NUMBERS)
    assert {users.uid(name) for name in "abc"} <= set(NUMBERS)


def test_when_all_are_taken_it_says_so() -> None:
    """Two bundles never share a user."""
    users = Users(None, root=True, numbers=NUMBERS)
    given = {users.uid(str(number)) for number in range(len(NUMBERS))}
    assert given == set(NUMBERS)
    with pytest.raises(UsersExhaustedError, match="taken"):
        users.uid("one more")
