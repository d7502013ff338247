"""The attacker as a program: `python -m PACKAGE [NAME ...]`; one line "NAME VERDICT" each."""

from __future__ import annotations

import json
import sys

from . import ALONE, ATTACKS, USES, attempt, read_facts
from .registry import say


def run(names: list[str]) -> None:
    """Try the attempts of these names; without any, all that do not want a sandbox of their own."""
    facts = read_facts()
    for name in names or [each for each in (*ATTACKS, *USES) if each not in ALONE]:
        say(json.dumps([name, attempt(name, facts)]))


run(sys.argv[1:])
