"""The body of a request while it arrives: in the heap if it is small, else in a file of memory."""

from __future__ import annotations

from sandbox.body import Body
from sandbox.runtime import wire


class IncomingBody:
    """Collects the pieces of one body."""

    __slots__ = ("_apart", "_parts", "size")

    def __init__(self) -> None:
        self.size = 0  # bytes
        self._parts: list[bytes] = []
        self._apart: Body | None = None

    def add(self, part: bytes) -> None:
        """Take the next piece."""
        self.size += len(part)
        if self._apart is not None:
            self._apart.append(part)
            return
        self._parts.append(part)
        if self.size >= wire.APART:
            self._go_apart()

    def whole(self) -> bytes | Body:
        """Return all of it; a file, which nobody can change any more, of a large one."""
        if self._apart is not None:
            self._apart.seal()
            return self._apart
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _go_apart(self) -> None:
        try:
            self._apart = Body()
        except OSError:
            return  # there are too many: it stays in the heap
        for part in self._parts:
            self._apart.append(part)
        self._parts.clear()
