"""A call that a test can await."""

from __future__ import annotations

import asyncio
from typing import Any

from sandbox.call import Call, Result


class FutureCall(Call):
    """A call that can be awaited."""

    def __init__(self, call_id: bytes, frame: bytes, now: float) -> None:
        super().__init__(call_id, frame, now)
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def ended(self, result: Result) -> None:
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)
