"""How a continuous job is over all instances, in the two texts that Kudu has for it.

Pure (webjobs.md 4.8). Who is alive and what each says is known from the members in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from scheduler.continuous_state import ContinuousState
from scheduler.functions import key
from scheduler.job_folders import short_instance
from scheduler.store.port import Member

_STANDBY = ContinuousState.INACTIVE_INSTANCE.value
_UNKNOWN = ContinuousState.INITIALIZING.value


class Summary(NamedTuple):
    """`status` in one word, `detailed_status` with a line for each instance."""

    status: str
    detailed_status: str


def summary(words: Mapping[str, str], instance: str) -> Summary:
    """Sum up what each instance says of a job; `instance` is whose answer this is.

    The last one that is active wins: a singleton is Running although others stand by.
    """
    if not words:
        return Summary(_UNKNOWN, f"{short_instance(instance)} - {_UNKNOWN}")
    ordered = [(short_instance(name), words[name]) for name in sorted(words)]
    status = ordered[0][1]
    for _, word in ordered:
        if word != _STANDBY:
            status = word
    return Summary(status, "".join(f"{name} - {word}\r\n" for name, word in ordered))


def elsewhere(members: Iterable[Member], instance: str, job_name: str) -> dict[str, str]:
    """Return what the other instances that live say of a job."""
    return {
        member.instance: word
        for member in members
        if member.alive and member.instance != instance
        for name, word in _words(member.job_statuses)
        if key(name) == key(job_name)
    }


def _words(statuses: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return ((name, word) for name, word in statuses.items() if isinstance(word, str))
