"""The body of a request while it arrives: in the heap if it is small, else in a file of memory."""

from __future__ import annotations

from typing import Self

from scheduler.events import Body


class IncomingBody:
    """Collects the pieces of one body; what has not become whole is dropped at the end of `with`.

    That does not wait for the garbage collector: an error keeps the frame that it went through.
    """

    __slots__ = ("_apart", "_parts", "size")

    def __init__(self) -> None:
        self.size = 0  # bytes
        self._parts: list[bytes] = []
        self._apart: Body | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._apart is not None:
            self._apart.close()

    def add(self, part: bytes) -> None:
        """Take the next piece."""
        self.size += len(part)
        if self._apart is not None:
            self._apart.append(part)
            return
        self._parts.append(part)
        if self.size >= Body.LARGE:
            self._go_apart()

    def whole(self) -> bytes | Body:
        """Return all of it; a file, which nobody can change any more, of a large one."""
        body, self._apart = self._apart, None
        if body is not None:
            body.seal()
            return body
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _go_apart(self) -> None:
        try:
            self._apart = Body()
        except OSError:
            return  # there are too many: it stays in the heap
        for part in self._parts:
            self._apart.append(part)
        self._parts.clear()
