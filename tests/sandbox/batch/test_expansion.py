"""What stands for something else in a line: tables of text before and after."""

from __future__ import annotations

import pytest

from sandbox.batch.errors import RefusedError
from sandbox.batch.expansion import Parameters, expand_delayed, expand_loop, expand_percent

VALUES = {"A": "one two", "PATHS": "a;b;a", "N": "5", "A B": "blank", "EMPTY:": "colon"}
PARAMETERS = Parameters(
    "/job/run.cmd", ("run.cmd", "first", '"the second"', "dir\\x.tar.gz"), 'first "the second" x'
)


def lookup(name):
    """Find a value as cmd does, whatever the case."""
    return VALUES.get(name.upper())


@pytest.mark.parametrize(
    ("line", "expanded"),
    [
        ("echo %A%", "echo one two"),
        ("%a%%N%", "one two5"),
        ("100%% of %N%%%", "100% of 5%"),
        ("[%MISSING%]", "[]"),
        ("[%A B%]", "[blank]"),
        ("a lone % is gone", "a lone  is gone"),
        ("%A:o=0%", "0ne tw0"),
        ("%A:ONE=%", " two"),
        ("%A:*ne=1%", "1 two"),
        ("%PATHS:;=,%", "a,b,a"),
        ("%A:~4%", "two"),
        ("%A:~0,3%", "one"),
        ("%A:~-3%", "two"),
        ("%A:~-3,2%", "tw"),
        ("%A:~0,-4%", "one"),
        ("%A:~1, 2%", "ne"),
        ("%A:~99%", ""),
        ("%MISSING:~0,1%", "~0,1"),  # cmd removes only the name
        ("%0 %1 %2 %3 %4.", 'run.cmd first "the second" dir\\x.tar.gz .'),
        ("%*", 'first "the second" x'),
        ("%~2", "the second"),
        ("%~dp0lib", "/job/lib"),
        ("%~f0 %~n0 %~x0 %~nx0", "/job/run.cmd run .cmd run.cmd"),
        ("%~n3%~x3", "x.tar.gz"),
        ("%%i %%~nxi", "%i %~nxi"),
        ("%1%2", 'first"the second"'),
    ],
)
def test_percent_signs(line, expanded):
    """Variables, their parts and replacements, parameters, and doubled signs."""
    assert expand_percent(line, PARAMETERS, lookup) == expanded


@pytest.mark.parametrize("line", ["%~q1", "%~$PATH:1", "%A:~x%", "%A:=x%", "%A:zz%"])
def test_what_is_not_known_is_refused(line):
    """A part of a variable or parameter that means nothing is no empty text."""
    with pytest.raises(RefusedError):
        expand_percent(line, PARAMETERS, lookup)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("%i", "/a/b.txt"),
        ("%~ni and %~xi", "b and .txt"),
        ("%~dpi", "/a/"),
        ("%~nxi%~nj", "b.txtj"),
        ("%jam", "jam"),
        ("%k %I", "%k %I"),
        ("%~ni%~k", "b%~k"),
        ("50% of %j", "50% of j"),
    ],
)
def test_variables_of_loops(text, expanded):
    """Case counts, modifiers take the most letters that leave a variable, others stay."""
    assert expand_loop(text, {"i": "/a/b.txt", "j": "j"}) == expanded


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("!A!", "one two"),
        ("no mark ^ here", "no mark ^ here"),
        ("!A! ^^ ^!", "one two ^ !"),
        ("!A:one=1! !N:~0,1!", "1 two 5"),
        ("wow! !missing!", "wowmissing"),
    ],
)
def test_exclamation_marks(text, expanded):
    """!NAME! as %NAME%, and carets that protect in a text with a mark only."""
    assert expand_delayed(text, lookup) == expanded


def test_a_parameter_that_was_shifted_away_leaves_the_script():
    """`shift` moves the words; %~dp0 is the script's folder all the same."""
    shifted = PARAMETERS.shifted(0)
    assert expand_percent("%0 %~dp0 %*", shifted, lookup) == 'first /job/ first "the second" x'
    assert expand_percent("%0 %1", PARAMETERS.shifted(1), lookup) == 'run.cmd "the second"'
