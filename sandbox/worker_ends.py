"""What host and worker share, made before the fork: each thing has a half here and one there."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import NamedTuple

from sandbox import channel as channels
from sandbox.lane import Lane
from sandbox.output import Stream
from sandbox.progress import Progress


class WorkerEnds(NamedTuple):
    """The host's halves: descriptors are plain numbers until somebody owns them."""

    channel: socket.socket
    lane: Lane
    page: Progress
    records: int
    outputs: tuple[int, ...]  # in the order of Stream


def make_ends() -> tuple[WorkerEnds, list[int]]:
    """Return the host's halves and the descriptors that the zygote is to fork with.

    Raises:
        OSError: there are not enough descriptors; none is kept.
    """
    with contextlib.ExitStack() as made:
        host, guest = channels.pair()
        made.callback(guest.close)
        made.callback(host.close)
        page, progress = Progress.create()
        made.callback(os.close, progress)
        made.callback(page.close)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made.callback(theirs.close)
        made.callback(ours.close)
        lane = ours.dup()
        made.callback(lane.close)
        pipes = []
        for _ in Stream:
            pipes.append(os.pipe2(os.O_CLOEXEC))
            for end in pipes[-1]:
                made.callback(os.close, end)
        made.pop_all()  # all is there: from here on each has an owner
    readers, writers = zip(*pipes, strict=True)
    ends = WorkerEnds(host, Lane(lane), page, ours.detach(), readers)
    return ends, [guest.detach(), theirs.detach(), *writers, progress]
