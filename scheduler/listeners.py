"""Telling others what has happened, without letting their mistakes happen to us."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import ParamSpec

_log = logging.getLogger("taak.scheduler")

P = ParamSpec("P")


def tell(listeners: Iterable[Callable[P, object]], *facts: P.args, **named: P.kwargs) -> None:
    """Call every listener; one that raises is logged and does not keep the others from hearing."""
    for listener in tuple(listeners):
        try:
            listener(*facts, **named)
        except Exception:  # noqa: BLE001 - the boundary between what happened and who listens
            _log.exception("%r failed on being told %r", listener, facts)
