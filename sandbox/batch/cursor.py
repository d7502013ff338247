"""A place in text that grows: a block or a caret at the end of a line asks for the next one."""

from __future__ import annotations

from collections.abc import Callable

from .errors import RefusedError

#: Returns the number and the expanded text of the next line, or None at the end of the file.
NextLine = Callable[[], tuple[int, str] | None]

BLANKS = " \t,;=\x0b\x0c\xa0"
SPECIAL = "&|<>"


class Cursor:
    """Reads characters; `line` is the number of the line that was read last."""

    def __init__(self, next_line: NextLine) -> None:
        self._next_line = next_line
        self._text = ""
        self._position = 0
        self.line = 0

    def extend(self) -> bool:
        """Read one more line; False at the end of the file."""
        found = self._next_line()
        if found is None:
            return False
        self.line, text = found
        self._text = f"{self._text}\n{text}" if self._text else text
        return True

    @property
    def here(self) -> str:
        """Return the character at this place, or "" at the end of what was read."""
        return self._text[self._position : self._position + 1]

    @property
    def rest(self) -> str:
        """Return what was read and lies ahead, up to the end of the line."""
        return self._text[self._position :].partition("\n")[0]

    def take(self, count: int = 1) -> str:
        """Step over characters and return them."""
        taken = self._text[self._position : self._position + count]
        self._position += count
        return taken

    def skip(self, characters: str = BLANKS) -> None:
        """Step over blanks."""
        while self.here and self.here in characters:
            self._position += 1

    def take_escaped(self) -> str:
        """Step over a caret and return what it protects; at a line's end, join the next line."""
        self.take()
        if self.here:
            return self.take()
        if not self.extend():
            return ""
        self.skip("\n")
        return self.take()

    def take_word(self, stops: str) -> str:
        """Step over characters up to a stop; quotes protect, and stay in the word."""
        word = ""
        quoted = False
        while self.here and self.here != "\n":
            if self.here == '"':
                quoted = not quoted
            elif not quoted and self.here == "^":
                word += self.take_escaped()
                continue
            elif not quoted and self.here in stops:
                break
            word += self.take()
        return word

    def unexpected(self, what: str = "") -> RefusedError:
        """Return the error of cmd for what stands here."""
        found = what or self.rest.split(" ")[0] or "The end of the line"
        return RefusedError(f"{found} was unexpected at this time.")
