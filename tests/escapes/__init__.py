"""The escape table: every attack, tried in every kind of sandbox; sandbox.md 2 as a test-suite.

    attacks/     the attacker; goes into sandboxes, alone
    bait.py      what the host puts out of reach: files, listeners, queues, processes
    driver.py    one run: builds sandboxes with bait around, lets the attacker try, prints a table
    outer.py     what a run happens in: a pid name space with limits, and a watchdog
    modes.py     the kinds of runs
    expected.py  what is open by design in each
    table.py     writes layers.md: what opens when one layer is left out

The driver is started as a program (`python -m escapes.driver`, with tests/ on the path), because
a run may end badly.
"""

import sys
from pathlib import Path

# So that `python -m tests.escapes.table`, from the project's folder, finds the tests' own words.
_TESTS = str(Path(__file__).parents[1])
if _TESTS not in sys.path:
    sys.path.append(_TESTS)
