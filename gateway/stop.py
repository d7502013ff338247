"""The signals that end the platform: the first asks for an ordered stop, the second insists.

The handlers only note what came; the loop acts.
"""

from __future__ import annotations

import asyncio
import logging
import signal

_log = logging.getLogger("taak")


class StopRequest:
    """`asked` is set by the first SIGTERM or SIGINT, `insisted` by the second."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()

    def listen(self) -> None:
        """Take both signals over from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._take, number)

    def _take(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            _log.warning("%s again: ending everything now", number.name)
            self.insisted.set()
        else:
            _log.info("%s: stopping; once more ends everything at once", number.name)
            self.asked.set()
