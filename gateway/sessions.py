"""One-time portal tokens and the browser sessions that they open.

Both live in memory only: a restart ends them. It must not know keys, files or HTTP.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

TOKEN_LIFE_S = 3600.0
SESSION_LIFE_S = 12 * 3600.0
#: More than a person opens; an unbounded table would be a way to fill the memory.
MAX_ENTRIES = 1000


class Sessions:
    """Tokens that may be redeemed once, and sessions that end by themselves."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens: dict[str, float] = {}
        self._sessions: dict[str, float] = {}

    def issue_token(self) -> str:
        """Return a token for a portal link; it opens one session, once, within the hour."""
        return self._add(self._tokens, TOKEN_LIFE_S)

    def redeem(self, token: str) -> str | None:
        """Return a new session for the token, or None if it is unknown, used or too old."""
        ends = self._tokens.pop(token, None)
        if ends is None or ends < self._clock():
            return None
        return self._add(self._sessions, SESSION_LIFE_S)

    def holds(self, session: str) -> bool:
        """Tell whether the session is open."""
        # A look-up by hash of 256 random bits: its timing says nothing that helps to guess one.
        return self._sessions.get(session, float("-inf")) >= self._clock()

    def close(self, session: str) -> None:
        """End a session; one that is not open is no error."""
        self._sessions.pop(session, None)

    def _add(self, table: dict[str, float], life_s: float) -> str:
        now = self._clock()
        for name in [name for name, ends in table.items() if ends < now]:
            del table[name]
        while len(table) >= MAX_ENTRIES:
            del table[next(iter(table))]  # dicts keep order: the oldest goes
        name = secrets.token_urlsafe(32)
        table[name] = now + life_s
        return name
