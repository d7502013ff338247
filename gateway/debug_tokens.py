"""One-time tokens for a debugger's tunnel: each opens one connection, to one job, in one session.

They live in memory only. It must not know HTTP.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

TOKEN_LIFE_S = 600.0
#: More than anybody has use for; an unbounded table would be a way to fill the memory.
MAX_TOKENS = 1000


class DebugTokens:
    """The tokens that are out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens: dict[str, tuple[float, str]] = {}

    def issue(self, session: str) -> str:
        """Return a token for a session of debugging, whose id says which job it is of."""
        now = self._clock()
        for name in [name for name, (ends, _) in self._tokens.items() if ends < now]:
            del self._tokens[name]
        while len(self._tokens) >= MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        token = secrets.token_urlsafe(32)
        self._tokens[token] = (now + TOKEN_LIFE_S, session)
        return token

    def redeem(self, token: str, session: str) -> bool:
        """Tell whether the token opens this session; it is used up, whatever the answer."""
        ends, meant = self._tokens.pop(token, (float("-inf"), ""))
        return bool(session) and meant == session and ends >= self._clock()
