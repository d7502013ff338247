"""From text to nodes: operators, blocks, `if` and `for`, redirections, carets and quotes."""

from __future__ import annotations

import re

from .cursor import BLANKS, SPECIAL, Cursor, NextLine
from .errors import RefusedError
from .syntax import Block, Chain, Condition, For, If, Node, Pipe, Quiet, Redirect, Remark, Simple

_KEYWORD = re.compile(r"(if|for|rem)(?=[\s,;=/\"(]|$)", re.IGNORECASE)
_LOOP_KIND = re.compile(r"/[dlrf](?=[\s,;=\"]|$)", re.IGNORECASE)
_LOOP_VARIABLE = re.compile(r"%([A-Za-z])(?=[\s,;=]|$)")
_UNARY = {"exist", "defined", "errorlevel", "cmdextversion"}
_COMPARISONS = {"equ", "neq", "lss", "leq", "gtr", "geq"}


def parse(next_line: NextLine) -> Node | None:
    """Return the next command of a file, with as many lines as it takes; None at the end."""
    cursor = Cursor(next_line)
    while True:
        if not cursor.extend():
            return None
        cursor.skip(BLANKS + "\n")
        if cursor.here:
            break
    try:
        node = _Parser(cursor).sequence(0)
        if cursor.here:
            raise cursor.unexpected()
    except RefusedError as error:
        error.line = error.line or cursor.line
        raise
    return node


class _Parser:
    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def sequence(self, depth: int) -> Node:
        """`&` binds least, then `||`, `&&` and `|`; depth counts the blocks that are open."""
        left = self._either(depth)
        while self._operator("&"):
            self._cursor.skip()
            if self._cursor.here in {"", "\n"} or (depth and self._cursor.here == ")"):
                return left
            left = Chain("&", left, self._either(depth))
        return left

    def _either(self, depth: int) -> Node:
        left = self._both(depth)
        while self._operator("||"):
            left = Chain("||", left, self._both(depth))
        return left

    def _both(self, depth: int) -> Node:
        left = self._pipe(depth)
        while self._operator("&&"):
            left = Chain("&&", left, self._pipe(depth))
        return left

    def _pipe(self, depth: int) -> Node:
        left = self._command(depth)
        while self._operator("|"):
            left = Pipe(left, self._command(depth), self._cursor.line)
        return left

    def _operator(self, operator: str) -> bool:
        self._cursor.skip()
        rest = self._cursor.rest
        single = len(operator) == 1
        if not rest.startswith(operator) or (single and rest.startswith(operator * 2)):
            return False
        self._cursor.take(len(operator))
        return True

    def _command(self, depth: int) -> Node:
        cursor = self._cursor
        cursor.skip()
        keyword = _KEYWORD.match(cursor.rest)
        if cursor.here in {"", "\n", "&", "|", ")"}:
            raise cursor.unexpected()
        if cursor.here == "@":
            cursor.take()
            return Quiet(self._command(depth))
        if cursor.here == "(":
            return self._block(depth)
        if keyword is None:
            return self._simple(depth)
        cursor.take(keyword.end())
        match keyword[1].lower():
            case "if":
                return self._if(depth)
            case "for":
                return self._for(depth)
            case _:
                return Remark(keyword[1] + cursor.take(len(cursor.rest)))

    def _block(self, depth: int) -> Block:
        cursor = self._cursor
        line = cursor.line
        cursor.take()
        body: list[Node] = []
        while True:
            cursor.skip(BLANKS + "\n")
            if cursor.here == ")" and body:
                cursor.take()
                return Block(tuple(body), self._redirects_behind(depth), line)
            if cursor.here:
                body.append(self.sequence(depth + 1))
            elif not cursor.extend():
                raise RefusedError(f"The ( of line {line} has no ).")

    def _redirects_behind(self, depth: int) -> tuple[Redirect, ...]:
        redirects: list[Redirect] = []
        cursor = self._cursor
        while True:
            cursor.skip()
            number = re.match(r"\d(?=[<>])", cursor.rest)
            if not number and (not cursor.here or cursor.here not in "<>"):
                return tuple(redirects)
            redirects.append(self._redirect(cursor.take() if number else "", depth))

    def _redirect(self, number: str, depth: int) -> Redirect:
        cursor = self._cursor
        operator = cursor.take()
        if operator == ">" and cursor.here == ">":
            operator += cursor.take()
        descriptor = int(number) if number else int(operator != "<")
        if cursor.here == "&":
            cursor.take()
            if not cursor.here.isdigit():
                raise cursor.unexpected()
            return Redirect(descriptor, ">&", cursor.take())
        cursor.skip()
        target = cursor.take_word(BLANKS + SPECIAL + (")" if depth else ""))
        if not target:
            raise cursor.unexpected()
        return Redirect(descriptor, operator, target)

    def _simple(self, depth: int) -> Simple:
        cursor = self._cursor
        line = cursor.line
        text = ""
        escaped = quoted = False
        redirects: list[Redirect] = []
        stops = "&|)" if depth else "&|"
        while cursor.here and cursor.here != "\n":
            if cursor.here == '"':
                quoted = not quoted
            elif not quoted and cursor.here == "^":
                text += cursor.take_escaped()
                escaped = True
                continue
            elif not quoted and cursor.here in "<>":
                is_number = bool(re.search(r"(?:^|[\s,;=\"])\d$", text)) and not escaped
                redirects.append(self._redirect(text[-1:] if is_number else "", depth))
                text = text[:-1] if is_number else text
                continue
            elif not quoted and cursor.here in stops:
                break
            text += cursor.take()
            escaped = False
        return Simple(text, tuple(redirects), line)

    def _if(self, depth: int) -> If:
        cursor = self._cursor
        line = cursor.line
        condition = self._condition(depth)
        then = self.sequence(depth)
        otherwise = None
        cursor.skip()
        if re.match(r"else(?=[\s(]|$)", cursor.rest, re.IGNORECASE):
            cursor.take(4)
            otherwise = self.sequence(depth)
        return If(condition, then, otherwise, line)

    def _condition(self, depth: int) -> Condition:
        cursor = self._cursor
        ignore_case = negated = False
        left = self._operand(depth)
        while left.lower() in {"/i", "not"}:
            ignore_case |= left.lower() == "/i"
            negated ^= left.lower() == "not"
            left = self._operand(depth)
        if left.lower() in _UNARY and not cursor.rest.lstrip().startswith("=="):
            return Condition(left.lower(), self._operand(depth), "", ignore_case, negated)
        cursor.skip(" \t")
        if cursor.rest.startswith("=="):
            cursor.take(2)
            return Condition("==", left, self._operand(depth), ignore_case, negated)
        kind = self._operand(depth)
        if kind.lower() not in _COMPARISONS:
            raise cursor.unexpected(kind)
        return Condition(kind.lower(), left, self._operand(depth), ignore_case, negated)

    def _operand(self, depth: int) -> str:
        cursor = self._cursor
        cursor.skip()
        word = cursor.take_word(BLANKS + SPECIAL + (")" if depth else ""))
        if not word:
            raise cursor.unexpected()
        return word

    def _for(self, depth: int) -> For:
        cursor = self._cursor
        line = cursor.line
        kind, option = self._loop_kind()
        found = _LOOP_VARIABLE.match(cursor.rest)
        if not found:
            word = cursor.rest.split(" ")[0]
            raise RefusedError(f"{word} was unexpected at this time: a loop needs a %%i here.")
        cursor.take(found.end())
        self._expect("in")
        cursor.skip()
        if cursor.take() != "(":
            raise RefusedError("A loop needs a list in parentheses behind `in`.")
        items = self._items(line)
        self._expect("do")
        return For(kind, option, found[1], items, self.sequence(depth), line)

    def _loop_kind(self) -> tuple[str, str]:
        cursor = self._cursor
        cursor.skip()
        found = _LOOP_KIND.match(cursor.rest)
        if not found:
            return "", ""
        cursor.take(found.end())
        cursor.skip()
        option = "" if _LOOP_VARIABLE.match(cursor.rest) else cursor.take_word(BLANKS)
        cursor.skip()
        return found[0].lower(), option

    def _items(self, line: int) -> str:
        cursor = self._cursor
        items = ""
        while True:
            items += cursor.take_word(")")
            if cursor.here == ")":
                cursor.take()
                return items
            if not cursor.here and not cursor.extend():
                raise RefusedError(f"The list of the loop in line {line} has no ).")
            cursor.take()
            items += " "

    def _expect(self, word: str) -> None:
        cursor = self._cursor
        cursor.skip()
        if not re.match(rf"{word}(?=[\s,;=(@\"]|$)", cursor.rest, re.IGNORECASE):
            raise cursor.unexpected()
        cursor.take(len(word))
