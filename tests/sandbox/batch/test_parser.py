"""From text to nodes: operators, blocks, redirections, carets, quotes; and what is unexpected."""

from __future__ import annotations

import pytest

from sandbox.batch.errors import RefusedError
from sandbox.batch.parser import parse
from sandbox.batch.syntax import Block, For, If, Pipe, Redirect, Simple, is_quiet, show


def node(text: str):
    """Parse the first command of a text."""
    lines = iter(enumerate(text.split("\n"), 1))
    return parse(lambda: next(lines, None))


def shown(text: str) -> str:
    """Return a text as cmd would echo it once it is parsed."""
    return show(node(text), lambda part: part)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo a   b ", "echo a   b "),
        ("  ,;= echo a", "echo a"),
        ('echo "a & b | c > d"', 'echo "a & b | c > d"'),
        ("echo a ^& b ^^ ^> c", "echo a & b ^ > c"),
        ("echo a^\nb", "echo ab"),
        ("echo (a) b)", "echo (a) b)"),
        ("echo it's 100", "echo it's 100"),
        ("\n\necho later", "echo later"),
    ],
)
def test_the_text_of_a_command(text, expected):
    """Carets protect and vanish, quotes protect and stay."""
    found = node(text)
    assert isinstance(found, Simple)
    assert found.text == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a & b && c || d", "a   &  b   &&  c   ||  d"),
        ("a | b & c", "a   |  b   &  c"),
        ("a &", "a "),
        ("@echo off", "@echo off"),
        ("rem a & b > c", "rem a & b > c"),
        ("if a==b echo x & echo y", "if a == b echo x   &  echo y"),
        ("if not exist f (a) else b", "if not exist f (\na\n) else b"),
        ("IF /I NOT %x% EQU 1 a", "if /i not %x% equ 1 a"),
        ("for %%i in (a,b) do (x %%i)", "for %i in (a,b) do (\nx %i\n)"),
        ("for /l %i in (1,1,3) do x", "for /l %i in (1,1,3) do x"),
        ('for /f "delims=, tokens=1" %i in (f) do x', 'for /f "delims=, tokens=1" %i in (f) do x'),
    ],
)
def test_commands_together(text, expected):
    """`&` binds least, then `||`, `&&`, `|`; the body of `if` and `for` takes all that follows."""
    assert " ".join(shown(text.replace("%%", "%")).split(" ")).replace("  ", " ") == (
        expected.replace("  ", " ")
    )


@pytest.mark.parametrize(
    ("text", "rest", "redirects"),
    [
        ("echo a>f", "echo a", [Redirect(1, ">", "f")]),
        ("echo a >> f", "echo a ", [Redirect(1, ">>", "f")]),
        ("echo a 2>f 1>&2", "echo a  ", [Redirect(2, ">", "f"), Redirect(1, ">&", "2")]),
        ("echo a2>f", "echo a2", [Redirect(1, ">", "f")]),
        ("sort < in > out", "sort  ", [Redirect(0, "<", "in"), Redirect(1, ">", "out")]),
        ('> "a b" echo x', " echo x", [Redirect(1, ">", '"a b"')]),
        ("echo x>nul 2>&1", "echo x ", [Redirect(1, ">", "nul"), Redirect(2, ">&", "1")]),
    ],
)
def test_redirections(text, rest, redirects):
    """They are cut out wherever they stand; a digit counts behind a blank only."""
    found = node(text)
    assert isinstance(found, Simple)
    assert (found.text, list(found.redirects)) == (rest, redirects)


def test_a_block_takes_as_many_lines_as_it_needs():
    """Commands stand in lines of their own, and redirections behind the block are the block's."""
    found = node("(\n  echo a\n\n  if x==x (\n    echo b\n  )\n) > out\necho next")
    assert isinstance(found, Block)
    assert [type(each) for each in found.body] == [Simple, If]
    assert found.redirects == (Redirect(1, ">", "out"),)


def test_lines_are_counted_where_a_command_begins():
    """So that a refusal names the line of the command and not of its block."""
    found = node("if a==a (\n  echo one\n  echo two\n)")
    assert isinstance(found, If)
    assert isinstance(found.then, Block)
    assert [each.line for each in found.then.body if isinstance(each, Simple)] == [2, 3]


def test_the_list_of_a_loop_may_span_lines():
    """And holds what stands in quotes."""
    found = node('for %i in (a\n  "b )"\n c) do echo %i')
    assert isinstance(found, For)
    assert found.items.split() == ["a", '"b', ')"', "c"]


def test_an_at_sign_quiets_the_line():
    """Also before a pipe; behind it, it quiets its own side."""
    assert is_quiet(node("@a | b"))
    pipe = node("a | @b")
    assert isinstance(pipe, Pipe)
    assert not is_quiet(pipe)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (")", ") was unexpected"),
        ("a & & b", "& was unexpected"),
        ("| b", "| was unexpected"),
        ("if == b echo", "was unexpected"),
        ("if a b c", "b was unexpected"),
        ("if a==b", "The end of the line was unexpected"),
        ("(\necho a", "The ( of line 1 has no )"),
        ("()", ") was unexpected"),
        ("for i in (a) do b", "needs a %%i"),
        ("for %i in a do b", "needs a list"),
        ("for %i in (a) echo b", "echo was unexpected"),
        ("for %i in (a", "has no )"),
        ("echo a >", "was unexpected"),
        ("echo a >&x", "x was unexpected"),
    ],
)
def test_what_cmd_does_not_expect_is_refused_with_its_line(text, told):
    """In the words of cmd, which people search for."""
    with pytest.raises(RefusedError) as caught:
        node(text)
    assert told in str(caught.value)
    assert caught.value.line >= 1


def test_the_end_of_a_file_is_none():
    """Also when only blank lines are left."""
    assert node("") is None
    assert node("\n  \n") is None
