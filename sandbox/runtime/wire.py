"""Frames and messages between host and guest; no I/O, shared by both worlds.

A frame is a 4-byte big-endian length and one msgpack array whose first element says what it is.
"Need more bytes" is not an error; a frame that is too long, undecodable or followed by trailing
bytes is one: `WireError`, after which the peer is not to be trusted again (sandbox.md, channel
rules). Lists come back where tuples went in.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Any, Final

import msgpack

# host -> worker
CALL = 1  # [CALL, id: bin16, event: list, context: [invocation id, traceparent, tracestate]]
CANCEL = 2  # [CANCEL, id]: the caller has been answered; stop the coroutine if it still runs

# worker -> host
HELLO = 10  # [HELLO, is_coroutine, error: [line, detail] | nil]
REPLY = 11  # [REPLY, id, status: 0 ok | 1 failed | 2 load failed, exec_us, payload]

# host -> zygote
BIND = 20  # [BIND, bind: map, import_here: bool]
FORK = 21  # [FORK, token, function name] with fds: channel, log, stdout, stderr, progress

# zygote -> host
BOUND = 30  # [BOUND, {function: [line, detail] | nil}, reasons not to fork: list of str]
FORKED = 31  # [FORKED, token, pid]
FORK_FAILED = 32  # [FORK_FAILED, token, reason]
WORKER_EXIT = 33  # [WORKER_EXIT, pid, code | nil, signal | nil]: for messages, never for decisions

# host -> launcher
SPAWN = 40  # [SPAWN, token] with fds: init channel
SWEEP = 41  # [SWEEP]: end what an init left behind when it was killed

# launcher -> host
READY = 50  # [READY, preloaded: bool]
SPAWNED = 51  # [SPAWNED, token, pid]
SPAWN_FAILED = 52  # [SPAWN_FAILED, token, reason]

# host -> init
SETUP = 60  # [SETUP, "program" | "zygote", spec: map] with fds: stdout, stderr[, zygote channel]
SIGNAL = 61  # [SIGNAL, number]: to the program's process group
KILL = 62  # [KILL]: the whole tree, now
KILL_UNDER = 63  # [KILL_UNDER, pid]: one worker with everything that it started

# init -> host
STARTED = 70  # [STARTED, pid, layers: map]
FAILED = 71  # [FAILED, step, errno, text]
EXITED = 72  # [EXITED, code | nil, signal | nil]: the main child ended; its tree is gone too

#: The largest frame that a host reads from a guest: a reply of 64 MiB and its envelope.
MAX_GUEST_FRAME = (64 << 20) + (1 << 20)
#: The largest frame that a guest reads from the host: a request body of 100 MiB and its envelope.
MAX_HOST_FRAME = (100 << 20) + (2 << 20)

_HEADER = struct.Struct(">I")
# Element counts, not only bytes, are bounded: a small frame must not become millions of objects.
_MAX_ARRAY = 4096
_MAX_MAP = 4096


class WireError(Exception):
    """The peer sent what no peer of ours sends. Raised by the decoder, ends the channel."""


_packer: Final = msgpack.Packer(use_bin_type=True, unicode_errors="surrogateescape", autoreset=True)
_pack: Final = _packer.pack
_header: Final = _HEADER.pack
_length_at: Final = _HEADER.unpack_from
_UNPACK_ERRORS = (
    ValueError, TypeError, RecursionError, KeyError, OverflowError,
    msgpack.exceptions.UnpackException,
)  # fmt: skip


_unpack: Final = partial(
    msgpack.unpackb,
    raw=False,
    use_list=True,
    strict_map_key=True,
    unicode_errors="surrogateescape",
    max_array_len=_MAX_ARRAY,
    max_map_len=_MAX_MAP,
    max_ext_len=0,
)


def encode(message: Any) -> bytes:
    """Return one frame. Not for use by two threads at once: the packer is shared."""
    body: bytes = _pack(message)
    return _header(len(body)) + body


def pack(message: Any) -> bytes:
    """Return bare msgpack, for datagrams that carry their own length. Thread-safe."""
    packed: bytes = msgpack.packb(message, use_bin_type=True, unicode_errors="surrogateescape")
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """Decode exactly one value from `data`.

    Raises:
        WireError: not msgpack, too many elements, trailing bytes, or an extension type.
    """
    try:
        return _unpack(data)
    except _UNPACK_ERRORS as error:
        raise WireError(f"undecodable frame: {error!r}") from None


class Decoder:
    """Bytes in, messages out; keeps what is not yet a whole frame."""

    __slots__ = ("_buffer", "_max")

    def __init__(self, max_frame: int) -> None:
        self._buffer = bytearray()
        self._max = max_frame

    @property
    def pending(self) -> bool:
        """Tell whether a frame has begun that is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[list[Any]]:
        """Take what was read and return the complete messages in it.

        Raises:
            WireError: the length is over the limit (before anything is allocated for it), the
                content is not one msgpack array that starts with an integer.
        """
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < 4:
                return []
            (length,) = _length_at(buffer, 0)
            if length > self._max:
                raise self._too_long(length)
            if len(buffer) < 4 + length:
                return []  # a large frame grows here without being copied each time
            data = bytes(buffer)
            buffer.clear()
        return self._split(data)

    def _split(self, data: bytes) -> list[list[Any]]:
        messages: list[list[Any]] = []
        at, end = 0, len(data)
        try:
            while end - at >= 4:
                start = at + 4
                (length,) = _length_at(data, at)
                if length > self._max:
                    raise self._too_long(length)
                stop = start + length
                if stop > end:
                    break
                message = _unpack(data[start:stop])
                if type(message) is not list or not message or type(message[0]) is not int:
                    raise WireError("a frame must hold an array that starts with its kind")
                messages.append(message)
                at = stop
        except _UNPACK_ERRORS as error:
            raise WireError(f"undecodable frame: {error!r}") from None
        if at < end:
            self._buffer += data[at:]
        return messages

    def _too_long(self, length: int) -> WireError:
        return WireError(f"frame of {length} bytes is over the limit of {self._max} bytes")
