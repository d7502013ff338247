"""Byte streams into the decoder, alone and behind a channel with a real socket."""

from __future__ import annotations

import asyncio
from typing import Any

from sandbox import channel as channels
from sandbox.channel import Channel
from sandbox.runtime import wire

from .case import Case
from .mutator import SAMPLES, framed
from .values import packed

_LIMITS = (40, 1000, 1 << 16, wire.MAX_CONTROL_FRAME, wire.MAX_GUEST_FRAME)
_FRAMES = 12


class DecoderTarget:
    """Whatever comes, it becomes messages within the bounds, or one WireError."""

    name = "decoder"
    share = 0.4

    async def run(self, case: Case) -> None:
        """Feed a stream until it is refused."""
        if case.chance(0.1):
            _check_right_frames(case)
            return
        limit = case.random.choice(_LIMITS)
        decoder = wire.Decoder(limit, hostile=True)
        for _ in range(_FRAMES):
            for data in case.hostile(valid=0.3):
                try:
                    messages = decoder.feed(data)
                except wire.WireError as error:
                    case.saw("refusal")
                    assert len(str(error)) <= 250, "a refusal quotes what was sent"
                    return
                case.check_messages(messages)
                case.check_decoder(decoder, limit)


def _check_right_frames(case: Case) -> None:
    """Right frames come out as they went in, however they are cut."""
    messages = [case.random.choice(SAMPLES) for _ in range(case.random.randrange(1, 6))]
    data = b"".join(framed(packed(message)) for message in messages)
    case.fed.append(data)
    case.mutator.frames += len(messages)
    decoder = wire.Decoder(wire.MAX_CONTROL_FRAME, hostile=True)
    got = [each for piece in case.mutator.pieces(data) for each in decoder.feed(piece)]
    assert got == messages, "right frames came out changed"
    assert not decoder.pending, "a complete frame is kept"
    case.saw("stream of right frames")


class ChannelTarget:
    """The same through a socket: one notice of the end, and nothing after it."""

    name = "channel"
    share = 0.05

    async def run(self, case: Case) -> None:
        """Feed a stream through a socket pair until the channel is closed."""
        host, peer = channels.pair()
        peer.setblocking(False)
        got: list[list[Any]] = []
        ends: list[str] = []

        def take(message: list[Any]) -> None:
            assert not ends, "a message after the end"
            got.append(message)

        channel = Channel(host, take, ends.append, max_frame=1 << 16)
        try:
            for _ in range(_FRAMES):
                if ends:
                    break
                for data in case.hostile(valid=0.4):
                    await _write(case, peer, data)
                    case.check_channel(channel, 1 << 16)
                channel.send(framed(packed([wire.CANCEL, b"i" * 16])))
            peer.close()
            await asyncio.sleep(0.01)
            assert len(ends) == 1, f"{len(ends)} notices of the end"
            case.check_messages(got)
            case.saw("broken end" if ends[0] else "plain end")
        finally:
            peer.close()
            channel.close()


async def _write(case: Case, peer: Any, data: bytes) -> None:
    while data:
        try:
            data = data[peer.send(data) :]
        except BlockingIOError:
            pass
        except OSError:
            return  # the host has closed its end, as it should
        await asyncio.sleep(0)
        await asyncio.sleep(0)
