"""Arguments and their quotes, arithmetic, names of commands, labels, exit codes."""

from __future__ import annotations

import pytest

from sandbox.batch.arithmetic import evaluate
from sandbox.batch.command_table import COMMANDS, REFUSED, command_name, split_name
from sandbox.batch.errors import CommandError, RefusedError
from sandbox.batch.parser import parse
from sandbox.batch.paths import Places
from sandbox.batch.processes import exit_code
from sandbox.batch.source import Source, decode
from sandbox.batch.syntax import Simple
from sandbox.batch.variables import Variables, search_path
from sandbox.batch.words import quote, split, split_argv, take_switches

HOSTILE = ["", "a", "a b", 'say "hi"', 'a"&calc', "x&y|z>w", "end\\", 'q\\"', "a^b", "%PATH%", "é"]


@pytest.mark.parametrize("argument", HOSTILE)
def test_an_argument_reaches_the_program_as_it_was(argument):
    """Quoted for cmd, taken apart by the program's rules: the same text."""
    assert split_argv(f"x {quote(argument)} y") == ["x", argument, "y"]


@pytest.mark.parametrize("argument", HOSTILE)
def test_an_argument_is_never_a_command(argument):
    """What a run was started with stays one word of its line, whatever operators it holds."""
    lines = iter([(1, f"echo {quote(argument)}")])
    found = parse(lambda: next(lines, None))
    assert isinstance(found, Simple)
    assert found.redirects == ()
    assert found.text == f"echo {quote(argument)}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (' a  "b c",d;e=f ', ["a", '"b c"', "d", "e", "f"]),
        ('a"b c"d', ['a"b c"d']),
        ("", []),
    ],
)
def test_words_of_cmd(text, words):
    """Blanks, commas, semicolons and equals signs part them; quotes group and stay."""
    assert split(text) == words


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ('a "b c" d', ["a", "b c", "d"]),
        (r'\"x\" c:\dir\ "e\\"', ['"x"', "c:\\dir\\", "e\\"]),
        ("--a=b,c;d", ["--a=b,c;d"]),
        ('""', [""]),
    ],
)
def test_words_of_a_program(text, argv):
    """A backslash counts before a quote only; commas part nothing."""
    assert split_argv(text) == argv


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1+2*3", 7),
        ("(1+2)*3", 9),
        ("7/2", 3),
        ("-7/2", -3),
        ("-7%3", -1),
        ("0x10+010", 24),
        ("1<<4|1", 17),
        ("~0", -1),
        ("!5", 0),
        ("N+1", 6),
        ("missing+1", 1),
        ("2147483647+1", -2147483648),
        ("X=2, X*=5", 10),
        ('"N & 4"', 4),
        ("Y=X=3", 3),
    ],
)
def test_arithmetic(text, value):
    """Whole numbers of 32 bits with the precedence of cmd."""
    variables = Variables({"N": "5"})
    assert evaluate(text, variables) == value


@pytest.mark.parametrize("text", ["1/0", "1+", "(1", "08", "1 2", "1 ? 2"])
def test_arithmetic_that_makes_no_sense(text):
    """It fails as a command fails."""
    with pytest.raises(CommandError):
        evaluate(text, Variables({}))


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ("echo hello", "echo", " hello"),
        ("echo.", "echo", "."),
        ("ECHO:x", "ECHO", ":x"),
        ("cd..", "cd", ".."),
        ("cd\\x y", "cd", "\\x y"),
        ("dir/b", "dir", "/b"),
        ("exit/b 3", "exit", "/b 3"),
        ('"a b.exe" c', '"a b.exe"', " c"),
        ("sub\\tool x", "sub\\tool", " x"),
        ("echoes x", "echoes", " x"),
        ("set,a=b", "set", ",a=b"),
    ],
)
def test_the_name_of_a_command(text, name, rest):
    """What cmd knows itself ends where its name ends."""
    assert split_name(text) == (name, rest)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("TimeOut.exe", "timeout"),
        ("\\System32\\find.exe", "find"),
        ("xcopy", "xcopy"),
        ("robocopy.exe", "robocopy"),
        ("tools\\echo", "tools/echo"),
    ],
)
def test_tools_of_windows_are_known_by_their_path(name, key):
    """A command of cmd itself has no path."""
    assert command_name(name) == key


def test_nothing_is_both_known_and_refused():
    """And each refusal says what to do."""
    assert not set(COMMANDS) & set(REFUSED)
    assert all(hint.endswith(".") for hint in REFUSED.values())


def test_an_unknown_switch_is_refused_with_those_that_are_known():
    """Nothing is skipped in silence."""
    with pytest.raises(RefusedError, match=r"`del /p` .*/f /q"):
        take_switches("del", "/q /p x", "f q")


def test_labels_are_looked_for_onwards_and_then_from_the_top():
    """Whatever their case and what stands behind them."""
    source = Source.parse("x", b":a\r\necho\r\n  :B comment\r\n:A\r\n::a\r\n")
    assert source.find_label("a", 1) == 4
    assert source.find_label("a", 4) == 1
    assert source.find_label("b", 0) == 3
    assert source.find_label("c", 0) is None


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"\xef\xbb\xbfecho", "echo"), ("é".encode(), "é"), (b"\xe9\x80", "é€")],
)
def test_the_bytes_of_a_file(data, text):
    """UTF-8 with or without its mark, else the Western code page."""
    assert decode(data) == text


def test_utf_16_is_refused_in_words():
    """Notepad calls it Unicode."""
    with pytest.raises(RefusedError, match="Save it as UTF-8"):
        decode("echo".encode("utf-16"))


@pytest.mark.parametrize(
    ("level", "code"), [(0, 0), (3, 3), (255, 255), (256, 255), (9009, 49), (-1, 255)]
)
def test_a_failure_never_becomes_a_success(level, code):
    """The code of a process has eight bits."""
    assert exit_code(level) == code


def test_names_of_variables_have_no_case():
    """They keep the one that they were made with, for the programs."""
    variables = Variables({"Path": "/bin", "a": "1"})
    variables.set("PATH", "/usr/bin;D:\\home\\tools")
    variables.set("A", "")
    assert variables.get("pAtH") == "/usr/bin;D:\\home\\tools"
    assert variables.exported(Places("/h")) == {"PATH": "/usr/bin:/h/tools"}
    assert variables.get("a") is None


def test_a_path_of_both_worlds_is_searched():
    """What was there parts by colons, what the file adds by semicolons."""
    path = "/bin:/usr/bin;D:\\home\\x;;tools"
    assert list(search_path(path, Places("/h"))) == ["/bin", "/usr/bin", "/h/x", "tools"]
