"""What the lenient reader takes, what it refuses, and how it points at the place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import trials

from scheduler.lenient_json import LenientJsonError, parse

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def refused(text):
    """Return how a text is refused; None if it is read."""
    try:
        parse(text, "f")
    except LenientJsonError as error:
        return error
    return None


@trials(80)
@given(VALUES, st.sampled_from([None, 1, 4]))
def test_reads_strict_json_as_the_standard_library_does(value, indent):
    """Every value that json.dumps writes comes back equal."""
    assert parse(json.dumps(value, indent=indent), "f").value == json.loads(json.dumps(value))


@trials(150)
@given(st.text(alphabet="{}[]:,\"'\\/*#ab1-.\n \t$u", max_size=40))
def test_any_text_is_read_or_refused_with_a_place(text):
    """No text raises anything but LenientJsonError, and that always has a line and a column."""
    refusal = refused(text)
    assert refusal is None or (refusal.problem.line >= 1 and refusal.column >= 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\ufeff{}", {}),
        ('{"a": 1,}', {"a": 1}),
        ("[1, 2,]", [1, 2]),
        ("{'a': 'it\\'s \"so\"'}", {"a": 'it\'s "so"'}),
        ("{a: 1, $b_2: true, 7: null}", {"a": 1, "$b_2": True, "7": None}),
        ('// head\n{ /* in\nside */ "a": 1 // tail\n}', {"a": 1}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('"\\u0041\\ud83d\\ude00"', "A\U0001f600"),
        ('"\\ud83d!"', "\ufffd!"),
        ('"two\nlines"', "two\nlines"),
        ("[0x1F, -1.5e3, +2, .5, 007]", [31, -1500.0, 2, 0.5, 7]),
        ("undefined", None),
        ('{"u": "http://h/x"}', {"u": "http://h/x"}),
    ],
)
def test_leniencies(text, value):
    """Each leniency of Newtonsoft's reader that occurs in real manifests is taken."""
    assert parse(text, "f").value == value


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, 1, "empty"),
        ("  // only a comment\n", 2, 1, "empty"),
        ('{\n  "a": 1\n  "b": 2\n}', 3, 3, "',' or '}' is missing before \"b\""),
        ('{\n  "a" 1}', 2, 7, "':' is missing after the key 'a'"),
        ('{\n "a": [1, 2\n', 2, 7, "never closed; add ']'"),
        ('{"a": hello}', 1, 7, "put text in double quotes"),
        ('{"a": "open}', 1, 7, "no closing quote"),
        ("{} {}", 1, 4, "after the end"),
        ("[NaN]", 1, 2, "'NaN' is not a value"),
        ("[1,,2]", 1, 4, "a value was expected, not ,"),
        ('"C:\\dir"', 1, 1, "write \\\\ for a backslash"),
        ("/* never", 1, 1, "closing */"),
        ("[#]", 1, 2, "# does not belong here"),
        ("[" * 100, 1, 66, "deeper than 64"),
        ("9" * 101, 1, 1, "101 characters; at most 100"),
        ("1abc", 1, 1, "'1abc' is not a value"),
    ],
)
def test_refusals_say_where_and_what(text, line, column, words):
    """Bad text is refused with its line, its column and what to do."""
    with pytest.raises(LenientJsonError) as refused:
        parse(text, "hello/function.json")
    problem = refused.value.problem
    assert (problem.where, problem.line, refused.value.column) == (
        "hello/function.json",
        line,
        column,
    )
    assert words in problem.message
    assert f"column {column}" in problem.message


def test_lines_of_values():
    """Each value knows its line; keys compare without case; an absent one takes its parent's."""
    document = parse('{\n "Bindings": [\n  {"name":\n "req"},\n  {}\n ]\n}', "f")
    assert document.line("") == 1
    assert document.line("bindings") == 2
    assert document.line("bindings[0].name") == 4
    assert document.line("bindings[1]") == 5
    assert document.line("bindings[1].route") == 5
    assert document.line("nothing.at.all") == 1


def test_problem_points_into_the_document():
    """A problem made from a document carries file, line, field and owner."""
    problem = parse('{\n"a": 1}', "x/f.json").problem("is wrong", "a", owner="x")
    assert str(problem) == "x/f.json:2: a: is wrong"
    assert problem.owner == "x"
    assert not problem.warning
