"""Wake-up signals inside one process: hints that something changed, merged while nobody looks.

Losing one costs latency, never work: whoever listens also polls. An adapter for several machines
feeds the same dispatcher from its own connection and calls `gap` after a reconnect.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

#: topics that wait for one subscriber at most; beyond it a Gap says "look at everything"
MAX_WAITING_TOPICS = 1024


class Gap(Enum):
    """Stands in for topics that may have been missed."""

    GAP = "gap"


class Subscription:
    """One listener. Belongs to the loop that made it; `async with` ends it."""

    def __init__(self, owner: Signals, topics: Iterable[str]) -> None:
        wanted = tuple(topics)
        self._owner = owner
        self._names = frozenset(topic for topic in wanted if not topic.endswith("*"))
        self._prefixes = tuple(topic[:-1] for topic in wanted if topic.endswith("*"))
        self._waiting: set[str] = set()
        self._gap = False
        self._arrived = asyncio.Event()

    def offer(self, topics: Iterable[str]) -> None:
        """Keep those topics that this listener wants."""
        self._waiting.update(topic for topic in topics if self._wants(topic))
        if len(self._waiting) > MAX_WAITING_TOPICS:
            self.gap()
        elif self._waiting:
            self._arrived.set()

    def gap(self) -> None:
        """Say that topics may be missing."""
        self._gap = True
        self._waiting.clear()
        self._arrived.set()

    def close(self) -> None:
        """Hear no more."""
        self._owner.forget(self)

    def _wants(self, topic: str) -> bool:
        return topic in self._names or topic.startswith(self._prefixes)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> frozenset[str] | Literal[Gap.GAP]:
        await self._arrived.wait()
        self._arrived.clear()
        if self._gap:
            self._gap = False
            if self._waiting:
                self._arrived.set()
            return Gap.GAP
        topics = frozenset(self._waiting)
        self._waiting.clear()
        return topics

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Signals:
    """The dispatcher: hands each topic to those who want it. Only ever used on the loop."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def subscribe(self, topics: Iterable[str]) -> Subscription:
        """Listen from now on."""
        subscription = Subscription(self, topics)
        self._subscriptions.add(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._subscriptions.discard(subscription)

    def publish(self, topics: Iterable[str]) -> None:
        """Hand out topics."""
        told = frozenset(topics)
        for subscription in self._subscriptions:
            subscription.offer(told)

    def gap(self) -> None:
        """Tell everybody that topics may be missing."""
        for subscription in self._subscriptions:
            subscription.gap()
