"""README tells the truth about the tree: its map, its first commands, its table of settings."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.config import SETTINGS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PACKAGES = ("gateway", "scheduler", "sandbox")
FOLDERS = sorted(
    {
        path.parent.relative_to(ROOT).as_posix()
        for top in PACKAGES
        for path in (ROOT / top).rglob("*.py")
    }
)


def section(title: str) -> str:
    """Return the text below a heading, up to the next one of its level or above."""
    level, found = title.partition(" ")[0], README.partition(f"\n{title}\n")[2]
    assert found, f"README has no heading {title!r}"
    return re.split(rf"\n#{{2,{len(level)}}} ", found)[0]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_map_equals_the_tree(folder):
    """Each file of a folder stands in the first column of its table, once, and no other does."""
    rows = re.findall(r"^\| (`.*?) \|", section(f"### `{folder}/`"), re.MULTILINE)
    named = sorted(re.findall(r"`(\w+\.py)`", " ".join(rows)))
    present = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    missing, gone = present - set(named), set(named) - present
    assert not missing, f"{folder}: not in README's map: {sorted(missing)}"
    assert not gone, f"{folder}: in README's map, but gone: {sorted(gone)}"
    assert all(one != two for one, two in pairwise(named)), f"{folder}: a file is named twice"


def test_the_walks_name_files_that_exist():
    """What the map's four walks pass through is there."""
    walks = section("## Map").partition("\n| ")[0]
    files = {path.name for top in PACKAGES for path in (ROOT / top).rglob("*.py")}
    named = {Path(name).name for name in re.findall(r"`([\w/]+\.py)`", walks)}
    assert named
    assert named <= files


def test_the_first_commands_are_targets():
    """README begins with commands that the Makefile has."""
    first = README.partition("```sh\n")[2].partition("```")[0]
    commands = re.findall(r"^make (\w+)", first, re.MULTILINE)
    assert commands == ["run", "test"]
    everywhere = re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(everywhere) <= set(targets)


def test_every_setting_is_in_the_table():
    """Each option of `taak run` has a row with its flag, its variable and its default."""
    rows = {
        tuple(re.findall(r"`([^`]+)`", cells[0] + cells[1]))
        for line in section("## Settings of the platform").splitlines()
        if line.startswith("|") and len(cells := line.split("|")[1:]) >= 4
    }
    for setting in SETTINGS:
        words = (setting.variable,) if setting.secret else (setting.flag, setting.variable)
        assert words in rows, f"README's table of settings lacks {words}"


def test_links_lead_somewhere():
    """Every relative link names a file, every inner one a heading."""
    headings = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (ROOT / target).exists(), target


def test_tables_are_tables():
    """Each row stands below a head, has as many cells, and says what no other row says."""
    text = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, rule, *rows = table.splitlines() + [""] * 2
        assert re.fullmatch(r"[|-]+", rule), f"no head above: {head}"
        rows = [row for row in rows if row]
        cells = [re.split(r"(?<!\\)\|", row) for row in rows]
        assert {len(row) for row in cells} == {len(rule.split("|"))}, head
        twice = [one for one, two in pairwise(sorted(row[1] for row in cells)) if one == two]
        assert [name for name in twice if name.strip()] == [], head
