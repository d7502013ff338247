"""The timers of one pool: at most one for each action, all of them gone with the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Action = Callable[[], None]


class Alarms:
    """Actions that are due later."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: dict[Action, asyncio.TimerHandle] = {}

    def arm(self, action: Action, after_s: float) -> None:
        """Act once after so long; an action that is armed already keeps its time."""
        if action not in self._timers:
            self._timers[action] = self._loop.call_later(after_s, self._fire, action)

    def armed(self, action: Action) -> bool:
        """Tell whether the action is due some time."""
        return action in self._timers

    def clear(self) -> None:
        """Forget all actions."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _fire(self, action: Action) -> None:
        del self._timers[action]
        action()
