"""The start screen: everything on one screen, plain without a terminal, `ready` last."""

from gateway.start_screen import FunctionLine, JobLine, Missing, StartFacts, render

FACTS = StartFacts(
    version="1.2.3",
    instance="box",
    site="/srv/app",
    home="/var/lib/taak",
    data_url="http://127.0.0.1:7071",
    management_url="http://127.0.0.1:7072",
    portal_url="http://127.0.0.1:7072/?token=abc",
    functions=(
        FunctionLine("hello", "http", "GET,POST /api/hello", "ready"),
        FunctionLine("broken", "http", "", "error", "broken/function.json:3: route: taken"),
    ),
    jobs=(
        JobLine("report", "triggered", "0 0 6 * * *", "ready"),
        JobLine("byhand", "triggered", "", "ready"),
        JobLine("beat", "continuous", "", "Running"),
    ),
    sandbox_level="process",
    sandbox_because="unshare(mount): EPERM",
    missing=(Missing("php (.php jobs)", "apt-get install php-cli"),),
    problems=("hello/function.json:1: warning: odd",),
    started_in_s=0.25,
    pid=42,
)
BARE = StartFacts(version="1", instance="i", site="s", home="h", data_url="d", management_url="m")


def test_the_last_line_says_ready():
    """Programs wait for a line with that word, and the screen ends with it."""
    assert "ready" in render(FACTS).splitlines()[-1].split()
    assert "ready" in render(BARE).splitlines()[-1].split()
    assert render(FACTS).endswith("\n")


def test_no_other_line_says_ready():
    """A waiter for the word is not woken by a state in a table."""
    lines = render(FACTS).splitlines()[:-1]
    assert not [line for line in lines if "ready" in line.split()]


def test_plain_without_a_terminal():
    """No control character, no blank at a line's end."""
    text = render(FACTS)
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_colour_changes_nothing_but_colour():
    """Without its escapes the coloured screen has the same words."""
    assert "\x1b[32m" in render(FACTS, color=True)
    assert len(render(FACTS, color=True).splitlines()) == len(render(FACTS).splitlines())


def test_it_fits_one_screen_and_says_everything():
    """Addresses, portal, functions, jobs, sandbox, what is missing with its fix, problems."""
    text = render(FACTS)
    for words in (
        "Taak 1.2.3",
        "instance box",
        "http://127.0.0.1:7071",
        "http://127.0.0.1:7072/?token=abc",
        "GET,POST /api/hello",
        "broken/function.json:3: route: taken",
        "0 0 6 * * *",
        "by hand",
        "always",
        "process only: unshare(mount): EPERM",
        "php (.php jobs): apt-get install php-cli",
        "hello/function.json:1: warning: odd",
        "250 ms",
        "pid 42",
    ):
        assert words in text
    assert len(text.splitlines()) <= 30


def test_columns_are_aligned():
    """The state stands in one column, however long the names are."""
    rows = [line for line in render(FACTS).splitlines() if line.startswith(("  hello", "  broken"))]
    assert rows[0].index("ok") == rows[1].index("ERROR")


def test_an_empty_site_has_no_tables():
    """Nothing deployed: no heading over nothing."""
    assert "FUNCTION" not in render(BARE)
    assert "JOB" not in render(BARE)
