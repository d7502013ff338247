"""The page that host and worker share: how far the worker is, and what it shall not begin any more.

Four numbers for that. The worker writes the first, `begun`, before it begins a frame, and only then
looks at the others, which are the host's: it must not begin frames from `first` to `last`, decided
as soon as `decided` equals `last`; until then it waits. The host sets `last`, gives the worker's
write time to be seen, reads `begun` and decides. So each frame is either begun or taken back, never
both.

Behind them lie the answers that the worker has made but not sent yet, because the next call is
likely to be as quick and then one write serves both. They are sent in any case; the host looks here
when the worker has died or is stuck in a slow call, so that no finished answer waits or is lost. It
must expect to find what it gets, or has got, over the channel, too. `turn` changes whenever the
answers have been sent and the place is used anew: what was read meanwhile is void.

A worker that lies here harms the calls that it has, and no others.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct

_BEGUN, _LAST, _DECIDED, _FIRST, _TURN, _KEPT_BYTES = 0, 8, 16, 24, 32, 40
_KEPT = 64
_number = struct.Struct("<Q")
_turn_and_size = struct.Struct("<QQ")
_MOST = (1 << 63) - 1  # frames that may have begun: more is a lie, and no number of a frame
# The page keeps its size: reading one that a worker had shortened would be a SIGBUS for the host.
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Progress:
    """The host's view of one worker's page."""

    __slots__ = ("_page", "_taken")

    def __init__(self, page: mmap.mmap) -> None:
        self._page = page
        self._taken = range(0)  # what was taken back last

    @classmethod
    def create(cls) -> tuple[Progress, int]:
        """Make a page; return it with the descriptor for the worker."""
        fd = os.memfd_create("taak-progress", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, mmap.PAGESIZE)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            return cls(mmap.mmap(fd, mmap.PAGESIZE)), fd
        except OSError:
            os.close(fd)
            raise

    @property
    def begun(self) -> int:
        """Return the number of the last frame that the worker has begun; frames count from 1."""
        return min(int(_number.unpack_from(self._page, _BEGUN)[0]), _MOST)

    def hold(self, last: int) -> None:
        """Let the worker begin no frame up to this one until `decide`."""
        _number.pack_into(self._page, _LAST, last)

    def decide(self) -> int:
        """Take back what is held and not begun; return the number of the first such frame."""
        begun = self.begun
        # It may just be passing over what was taken back before: that must stay so.
        first = self._taken.start if begun in self._taken else begun + 1
        last = min(_number.unpack_from(self._page, _LAST)[0], _MOST)
        self._taken = range(first, last + 1)
        _number.pack_into(self._page, _FIRST, first)
        _number.pack_into(self._page, _DECIDED, last)
        return first

    def kept(self) -> bytes:
        """Return the frames of the answers that have not been sent yet, as far as that is sure."""
        turn, size = _turn_and_size.unpack_from(self._page, _TURN)
        frames = self._page[_KEPT : min(_KEPT + size, mmap.PAGESIZE)]
        return frames if _number.unpack_from(self._page, _TURN)[0] == turn else b""

    def close(self) -> None:
        """Give the page up."""
        self._page.close()
