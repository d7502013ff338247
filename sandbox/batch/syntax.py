"""What a line means: nodes, and how cmd shows them when echo is on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Redirect:
    """`2>>name`, or `2>&1` where the target is a descriptor."""

    descriptor: int
    operator: str  # "<", ">", ">>" or ">&"
    target: str


@dataclass(frozen=True, slots=True)
class Simple:
    """A command with the whole text behind it, carets gone and variables of loops still in it."""

    text: str
    redirects: tuple[Redirect, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Remark:
    """A `rem`: shown, never run."""

    text: str


@dataclass(frozen=True, slots=True)
class Quiet:
    """`@`: run without being shown."""

    body: Node


@dataclass(frozen=True, slots=True)
class Block:
    """Commands in parentheses."""

    body: tuple[Node, ...]
    redirects: tuple[Redirect, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Two commands with `&`, `&&` or `||` between."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Pipe:
    """Two commands, the output of one being the input of the other."""

    left: Node
    right: Node
    line: int


@dataclass(frozen=True, slots=True)
class Condition:
    """What `if` asks: `kind` is exist, defined, errorlevel or a comparison."""

    kind: str
    left: str
    right: str = ""
    ignore_case: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class If:
    """A condition with one or two branches."""

    condition: Condition
    then: Node
    otherwise: Node | None
    line: int


@dataclass(frozen=True, slots=True)
class For:
    """A loop; `kind` is "", "/l", "/f", "/d" or "/r", `option` what stands behind it."""

    kind: str
    option: str
    variable: str
    items: str
    body: Node
    line: int


Node = Simple | Remark | Quiet | Block | Chain | Pipe | If | For
Transform = Callable[[str], str]


def is_quiet(node: Node) -> bool:
    """Tell whether a node begins with `@`: then nothing of its line is shown."""
    match node:
        case Quiet():
            return True
        case Chain(left=left) | Pipe(left=left):
            return is_quiet(left)
        case _:
            return False


def show(node: Node, expand: Transform) -> str:
    """Return a node as cmd echoes it."""
    match node:
        case Simple(text=text, redirects=redirects):
            return expand(text) + _show_redirects(redirects, expand)
        case Remark(text=text):
            return text
        case Quiet(body=body):
            return f"@{show(body, expand)}"
        case Block(body=body, redirects=redirects):
            inner = "\n".join(show(each, expand) for each in body)
            return f"(\n{inner}\n)" + _show_redirects(redirects, expand)
        case Chain(operator=operator, left=left, right=right):
            return f"{show(left, expand)}  {operator} {show(right, expand)}"
        case Pipe(left=left, right=right):
            return f"{show(left, expand)}  | {show(right, expand)}"
        case If(condition=condition, then=then, otherwise=otherwise):
            text = f"if {_show_condition(condition, expand)} {show(then, expand)}"
            return text + (f" else {show(otherwise, expand)}" if otherwise else "")
        case For(kind=kind, option=option, variable=variable, items=items, body=body):
            head = " ".join(filter(None, ("for", kind, option, f"%{variable}")))
            return f"{head} in ({items}) do {show(body, expand)}"


def _show_condition(condition: Condition, expand: Transform) -> str:
    head = ("/i " if condition.ignore_case else "") + ("not " if condition.negated else "")
    left, right = expand(condition.left), expand(condition.right)
    if right or condition.kind in {"==", "equ", "neq", "lss", "leq", "gtr", "geq"}:
        return f"{head}{left} {condition.kind} {right}"
    return f"{head}{condition.kind} {left}"


def _show_redirects(redirects: tuple[Redirect, ...], expand: Transform) -> str:
    shown = (f" {r.descriptor}{r.operator}{expand(r.target)}" for r in redirects)
    return "".join(shown)
