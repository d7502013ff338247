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
# An event's last value changes from call to call, the others repeat: those come packed, as one bin.
CALL = 1  # [CALL, id: bin16, [event but its last value: bin, last value], [traceparent, …] | nil]
CANCEL = 2  # [CANCEL, id]: the caller has been answered; stop the coroutine if it still runs
TAKE = 3  # [TAKE, function name]: the first that a worker hears which was forked for nobody yet

# worker -> host
HELLO = 10  # [HELLO, is_coroutine, error: [line, detail] | nil]
REPLY = 11  # [REPLY, id, status: 0 ok | 1 failed | 2 load failed, exec_us, payload]
WANTED = 12  # [WANTED, id, bytes]: room for the body of the reply to this call, on the lane

# On the lane (lane.py); in the frame stands the number of bytes where the body would be.
BODY = 1  # of the request
ROOM = 2  # for the reply's body; without a descriptor: there is none, send it in the frame
#: Bytes from which a body goes beside its frame: below, copies cost less than a file of memory.
APART = 256 << 10

# host -> zygote
BIND = 20  # [BIND, bind: map, import_here: bool]
FORK = 21  # [FORK, token, function name | ""] with fds: channel, log, stdout, stderr, progress

# zygote -> host
BOUND = 30  # [BOUND, {function: [line, detail] | nil}, reasons not to fork: list of str]
FORKED = 31  # [FORKED, token, pid]
FORK_FAILED = 32  # [FORK_FAILED, token, reason]
WORKER_EXIT = 33  # [WORKER_EXIT, pid, code | nil, signal | nil]: for messages, never for decisions

# host -> launcher
SPAWN = 40  # [SPAWN, token, kind, privileged: bool, filtered: bool] with fds: init channel
SWEEP = 41  # [SWEEP]: end what an init left behind when it was killed
AFTERWARDS = 42  # [AFTERWARDS, [folder]]: when the host is gone, remove the empty ones below these

# launcher -> host
READY = 50  # [READY, preloaded: bool]
SPAWNED = 51  # [SPAWNED, token, pid]
SPAWN_FAILED = 52  # [SPAWN_FAILED, token, reason]

# host -> init
HELD = 65  # [HELD]: it stands in its cgroup: what it forks from now on does too
SETUP = 60  # [SETUP, "program" | "zygote", spec: map] with fds: stdout, stderr[, zygote channel]
SIGNAL = 61  # [SIGNAL, number]: to the program's process group
KILL = 62  # [KILL]: the whole tree, now
KILL_UNDER = 63  # [KILL_UNDER, pid inside]: one worker with everything that it started
TIDY = 64  # [TIDY]: end what dead workers of a zygote left behind
DIAL = 66  # [DIAL, port, IP version] with fds: where a socket connected to that port goes

# init -> host
HERE = 73  # [HERE]: from the main child itself, so that the kernel tells its pid with it
STARTED = 70  # [STARTED, layers: map]
FAILED = 71  # [FAILED, step, errno, text]
EXITED = 72  # [EXITED, code | nil, signal | nil]: the main child ended; its tree is gone too

#: The largest body of a reply, in its frame or beside it.
MAX_ROOM = 64 << 20
#: The largest frame that a host reads from a guest: such a body and its envelope.
MAX_GUEST_FRAME = MAX_ROOM + (1 << 20)
#: The largest frame that is no reply: what a zygote says of 60 functions whose errors are all as
#: long as failures.py lets them be.
MAX_CONTROL_FRAME = 16 << 20
#: The largest frame that a guest reads from the host: a request body of 100 MiB and its envelope.
MAX_HOST_FRAME = (100 << 20) + (2 << 20)

# Element counts, not only bytes, are bounded: a small frame must not become millions of objects.
_MAX_ARRAY = 4096
_MAX_MAP = 4096
#: The same for what a guest sends: msgpack makes a list as long as it is claimed to be, at each of
#: its 1024 levels, before it finds that the elements are missing.
MAX_GUEST_ARRAY = 1024
MAX_GUEST_TEXT = 1 << 20  # bytes; failures.py and the limit of headers stay far below
#: Values in one frame of a guest. A byte of msgpack can cost a hundred bytes of memory, so what is
#: longer than this is counted before anything is made of it; what is shorter cannot hold more.
MAX_GUEST_VALUES = 1 << 14

_HEADER = struct.Struct(">I")


class WireError(Exception):
    """The peer sent what no peer of ours sends. Raised by the decoder, ends the channel."""


_new_packer: Final = partial(
    msgpack.Packer, use_bin_type=True, unicode_errors="surrogateescape", autoreset=True
)
_pack = _new_packer().pack
_LARGE: Final = 1 << 20
_header: Final = _HEADER.pack
_CALL_START: Final = b"\x94\x01\xc4\x10"  # an array of four, CALL, 16 bytes
_PAIR: Final = b"\x92"
_EMPTY: Final = b"\xc4\x00"
_length_at: Final = _HEADER.unpack_from
_UNPACK_ERRORS = (
    ValueError, TypeError, RecursionError, KeyError, OverflowError,
    msgpack.exceptions.UnpackException,
)  # fmt: skip


def _refuse_extension(code: int, _data: bytes) -> None:
    # An empty one is within max_ext_len=0.
    raise ValueError(f"extension type {code}")


_unpack: Final = partial(
    msgpack.unpackb,
    raw=False,
    use_list=True,
    strict_map_key=True,
    unicode_errors="surrogateescape",
    max_array_len=_MAX_ARRAY,
    max_map_len=_MAX_MAP,
    max_ext_len=0,
    ext_hook=_refuse_extension,
)
# No lone surrogate comes from a guest: the store, and whoever encodes, would choke on it.
_unpack_guest = partial(
    _unpack,
    unicode_errors="replace",
    max_array_len=MAX_GUEST_ARRAY,
    max_str_len=MAX_GUEST_TEXT,
)


def encode(message: Any) -> bytes:
    """Return one frame. Not for use by two threads at once: the packer is shared."""
    global _pack
    body: bytes = _pack(message)
    if len(body) > _LARGE:
        _pack = _new_packer().pack  # the old one would keep room for another as large
    return _header(len(body)) + body


def event_start(event: tuple[Any, ...]) -> bytes:
    """Return how an event begins in the frame of its call: all but its last value."""
    return _PAIR + pack(pack(event[:-1]))


def encode_call(call_id: bytes, start: bytes, last: Any, trace: bytes) -> bytes:
    """Return the frame of a call; `start` is of `event_start`, `trace` packed [hot path].

    Not for use by two threads at once, like `encode`.
    """
    packed: bytes = _pack(last) if last != b"" else _EMPTY
    body = b"".join((_CALL_START, call_id, start, packed, trace))
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
        raise _undecodable(error) from None


def unpack_guest(data: bytes) -> Any:
    """Decode exactly one short value of a guest; its texts are valid Unicode.

    Raises:
        WireError: as `unpack` does.
    """
    try:
        return _unpack_guest(data)
    except _UNPACK_ERRORS as error:
        raise _undecodable(error) from None


class Decoder:
    """Bytes in, messages out; keeps what is not yet a whole frame.

    `hostile` is for what a guest sends: texts are valid Unicode, and no frame becomes more than
    MAX_GUEST_VALUES values. At most `max_frame` bytes and what was read last are kept.
    """

    __slots__ = ("_buffer", "_max", "_uncounted", "_unpack")

    def __init__(self, max_frame: int, *, hostile: bool = False) -> None:
        self._buffer = bytearray()
        self._max = max_frame
        self._unpack = _unpack_guest if hostile else _unpack
        self._uncounted = MAX_GUEST_VALUES if hostile else max_frame

    def allow(self, max_frame: int) -> None:
        """Take frames of up to so many bytes from now on."""
        self._max = max_frame

    def forget(self) -> None:
        """Drop what is not yet a whole frame."""
        self._buffer = bytearray()

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
        unpack, uncounted = self._unpack, self._uncounted
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
                if length > uncounted:
                    _count(data, start, stop)
                message = unpack(data[start:stop])
                if type(message) is not list or not message or type(message[0]) is not int:
                    raise WireError("a frame must hold an array that starts with its kind")
                messages.append(message)
                at = stop
        except _UNPACK_ERRORS as error:
            raise _undecodable(error) from None
        if at < end:
            self._buffer += data[at:]
        return messages

    def _too_long(self, length: int) -> WireError:
        return WireError(f"frame of {length} bytes is over the limit of {self._max} bytes")


def _undecodable(error: Exception) -> WireError:
    # Not its repr: that of ExtraData is the whole frame, and as deep as the peer made it.
    return WireError(f"undecodable frame: {type(error).__name__} {error}"[:200])


#: first byte of a value -> bytes of its head, what comes after it being counted or skipped
_SCALARS = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9,
            0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}  # fmt: skip
_TEXTS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bytes of the length
_CONTAINERS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}  # and values an element


def _count(data: bytes, at: int, end: int) -> None:
    """Refuse a body of more than MAX_GUEST_VALUES values, without making any of them.

    What is claimed counts, not what is there. Knows lengths only: what they mean is msgpack's.
    """
    left = total = 1
    while left:
        left -= 1
        first = data[at] if at < end else 0xC1
        inside = 0
        if first < 0x80 or first >= 0xE0:
            at += 1
        elif first < 0xA0:
            inside = (first & 15) << (first < 0x90)
            at += 1
        elif first < 0xC0:
            at += 1 + (first & 31)
        elif size := _SCALARS.get(first):
            at += size
        elif width := _TEXTS.get(first):
            at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")
        elif first in _CONTAINERS:
            width, each = _CONTAINERS[first]
            inside = each * int.from_bytes(data[at + 1 : at + 1 + width], "big")
            at += 1 + width
        else:
            raise WireError("undecodable frame: cut short, reserved or an extension")
        left += inside
        total += inside
        if total > MAX_GUEST_VALUES:
            raise WireError(f"a frame of more than {MAX_GUEST_VALUES} values")
    if at != end:
        raise WireError("undecodable frame: cut short, or extra data")
