"""Programs of the kernel's classic BPF machine, as decisions: no labels, no jumps to get wrong.

Every piece of code here ends in a verdict on each of its paths. So pieces can be put one behind
the other in any way, and none can fall out of its end. The machine has one register; `load` fills
it, the decisions look at it.

Contract: the kernel's `linux/filter.h` and `linux/bpf_common.h`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping

#: Instructions of 8 bytes each, in the byte order of the machines that we know: little-endian.
Code = bytes

_LOAD = 0x20  # LD | W | ABS
_AND = 0x54  # ALU | AND | K
_JUMP = 0x05  # JMP | JA
_EQUAL = 0x15  # JMP | JEQ | K
_AT_LEAST = 0x35  # JMP | JGE | K
_ANY_BIT = 0x45  # JMP | JSET | K
_RETURN = 0x06  # RET | K

_SIZE = 8
#: How many instructions a decision can step over.
_REACH = 255


def verdict(value: int) -> Code:
    """End with a value."""
    return _instruction(_RETURN, value)


def load(offset: int, then: Code) -> Code:
    """Fill the register with the 32 bits at an offset of the data."""
    return _instruction(_LOAD, offset) + then


def keep(bits: int, then: Code) -> Code:
    """Clear all other bits of the register."""
    return _instruction(_AND, bits) + then


def equal(value: int, *, yes: Code, no: Code) -> Code:
    """Decide whether the register holds a value."""
    return _decide(_EQUAL, value, yes, no)


def one_of(values: Collection[int], *, yes: Code, no: Code) -> Code:
    """Decide whether the register holds one of some values."""
    for value in values:
        no = equal(value, yes=yes, no=no)
    return no


def any_bit(bits: int, *, yes: Code, no: Code) -> Code:
    """Decide whether the register has at least one of some bits."""
    return _decide(_ANY_BIT, bits, yes, no)


def by_range(ranges: Mapping[int, Code]) -> Code:
    """Go on with the code of the greatest key that is not above the register; one key must be 0.

    A balanced tree of comparisons: the depth is the logarithm of how many ranges there are.
    """
    merged: list[tuple[int, Code]] = []
    for start, code in sorted(ranges.items()):
        if not merged or merged[-1][1] != code:
            merged.append((start, code))
    return _search(merged)


def _search(ranges: list[tuple[int, Code]]) -> Code:
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    above, below = _search(ranges[middle:]), _search(ranges[:middle])
    return _decide(_AT_LEAST, ranges[middle][0], above, below)


def _decide(test: int, value: int, yes: Code, no: Code) -> Code:
    far = len(yes) // _SIZE
    if far <= _REACH:
        return _instruction(test, value, 0, far) + yes + no
    # Too far for a decision; a plain jump has 32 bits.
    return _instruction(test, value, 1, 0) + _instruction(_JUMP, far) + yes + no


def _instruction(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> Code:
    return struct.pack("<HBBI", operation, if_true, if_false, value)
