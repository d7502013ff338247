"""The current definition of every function and job: one pointer, swapped whole.

A reader takes `definition` once and never sees a mix of two releases. Knows nothing of files,
workers or runs; who must follow a change subscribes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from scheduler.errors import NotFoundError
from scheduler.functions import (
    AppDefinition,
    Bundle,
    BundleKind,
    Function,
    HostSettings,
    Job,
    JobKind,
    key,
)

T = TypeVar("T", Function, Job)

EMPTY = AppDefinition(digest="", root=Path(), host=HostSettings(), functions=(), jobs=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What a swap changed. `changed` holds the new definitions, `removed` the old ones."""

    previous: AppDefinition
    current: AppDefinition
    functions_added: tuple[Function, ...] = ()
    functions_changed: tuple[Function, ...] = ()
    functions_removed: tuple[Function, ...] = ()
    jobs_added: tuple[Job, ...] = ()
    jobs_changed: tuple[Job, ...] = ()
    jobs_removed: tuple[Job, ...] = ()
    kept: tuple[Function | Job, ...] = ()

    @property
    def added(self) -> tuple[str, ...]:
        """Return the labels of what is new."""
        return _labels(self.functions_added, self.jobs_added)

    @property
    def changed(self) -> tuple[str, ...]:
        """Return the labels of what is different."""
        return _labels(self.functions_changed, self.jobs_changed)

    @property
    def removed(self) -> tuple[str, ...]:
        """Return the labels of what is gone."""
        return _labels(self.functions_removed, self.jobs_removed)


@dataclass(frozen=True, slots=True)
class _Tables:
    """One definition with its look-ups; replaced as a whole."""

    definition: AppDefinition
    generation: int
    functions: Mapping[str, Function]
    jobs: Mapping[tuple[JobKind, str], Job]


class Catalog:
    """Looks up by name, without case."""

    def __init__(self) -> None:
        self._tables = _Tables(EMPTY, 0, {}, {})
        self._subscribers: list[Callable[[Diff], None]] = []

    @property
    def definition(self) -> AppDefinition:
        """Return what serves now."""
        return self._tables.definition

    @property
    def generation(self) -> int:
        """Return how many definitions have served since the start."""
        return self._tables.generation

    def function(self, name: str) -> Function:
        """Return a function."""
        try:
            return self._tables.functions[key(name)]
        except KeyError:
            raise NotFoundError(f"There is no function {name!r}.") from None

    def job(self, kind: JobKind, name: str) -> Job:
        """Return a job."""
        try:
            return self._tables.jobs[kind, key(name)]
        except KeyError:
            raise NotFoundError(f"There is no {kind.value} job {name!r}.") from None

    def functions(self) -> tuple[Function, ...]:
        """Return all functions, by name."""
        return self._tables.definition.functions

    def jobs(self, kind: JobKind | None = None) -> tuple[Job, ...]:
        """Return all jobs, or those of one kind."""
        jobs = self._tables.definition.jobs
        return jobs if kind is None else tuple(job for job in jobs if job.kind is kind)

    def subscribe(self, callback: Callable[[Diff], None]) -> None:
        """Call this after every swap, in the order of subscription."""
        self._subscribers.append(callback)

    def swap(self, definition: AppDefinition) -> Diff:
        """Make a definition the current one and tell the subscribers what changed."""
        previous = self.definition
        current = adopt(previous, definition)
        diff = difference(previous, current)
        self._tables = _followed(self._tables, diff)
        for callback in self._subscribers:
            callback(diff)
        return diff


def adopt(previous: AppDefinition, current: AppDefinition) -> AppDefinition:
    """Return the current definition with everything that did not change taken from the previous.

    An old bundle with the same digest stays, with the root of the release that it came from: its
    sandboxes go on, and nothing is told to restart.
    """
    new_functions = _others(previous.functions, current.functions)
    new_jobs = _others(previous.jobs, current.jobs)
    if not new_functions and not new_jobs:
        return current
    new: list[Function | Job] = [*new_functions, *new_jobs]
    wanted = {item.bundle.digest for item in new}
    known: list[Function | Job] = [*previous.functions, *previous.jobs]
    bundles = {_identity(i.bundle): i.bundle for i in known if i.bundle.digest in wanted}
    return replace(
        current,
        functions=_adopted(previous.functions, current.functions, new_functions, bundles),
        jobs=_adopted(previous.jobs, current.jobs, new_jobs, bundles),
    )


def difference(previous: AppDefinition, current: AppDefinition) -> Diff:
    """Return what distinguishes two definitions of which the later has adopted the earlier."""
    functions = _Sides(previous.functions, current.functions)
    jobs = _Sides(previous.jobs, current.jobs)
    return Diff(
        previous=previous,
        current=current,
        functions_added=functions.added,
        functions_changed=functions.changed,
        functions_removed=functions.removed,
        jobs_added=jobs.added,
        jobs_changed=jobs.changed,
        jobs_removed=jobs.removed,
        kept=(*functions.same, *jobs.same),
    )


class _Sides(Generic[T]):
    """Two sides of a comparison. What is one object on both is the same, without a look."""

    def __init__(self, old: tuple[T, ...], new: tuple[T, ...]) -> None:
        before = _by_name(_others(new, old))
        after = _by_name(coming := _others(old, new))
        moved = {id(item) for name, item in after.items() if before.get(name) != item}
        self.added: tuple[T, ...] = tuple(item for item in coming if _name(item) not in before)
        self.changed: tuple[T, ...] = tuple(
            i for i in coming if id(i) in moved and _name(i) in before
        )
        self.removed: tuple[T, ...] = tuple(
            item for name, item in before.items() if name not in after
        )
        self.same: tuple[T, ...] = tuple(item for item in new if id(item) not in moved)


def label(item: Function | Job) -> str:
    """Return the name of a function, or kind and name of a job."""
    return item.name if isinstance(item, Function) else f"{item.kind.value}/{item.name}"


def _labels(functions: tuple[Function, ...], jobs: tuple[Job, ...]) -> tuple[str, ...]:
    return (*map(label, functions), *map(label, jobs))


def _followed(tables: _Tables, diff: Diff) -> _Tables:
    """Return the look-ups of the new definition, made from those of the old one."""
    functions, jobs = dict(tables.functions), dict(tables.jobs)
    for gone in diff.functions_removed:
        del functions[key(gone.name)]
    for job in diff.jobs_removed:
        del jobs[job.kind, key(job.name)]
    functions |= {key(f.name): f for f in (*diff.functions_added, *diff.functions_changed)}
    jobs |= {(job.kind, key(job.name)): job for job in (*diff.jobs_added, *diff.jobs_changed)}
    return _Tables(diff.current, tables.generation + 1, functions, jobs)


def _name(item: Function | Job) -> str:
    return key(label(item))


def _by_name(items: Iterable[T]) -> dict[str, T]:
    return {_name(item): item for item in items}


def _identity(bundle: Bundle) -> tuple[BundleKind, str, str]:
    return (bundle.kind, bundle.name, bundle.digest)


def _adopted(
    previous: tuple[T, ...],
    current: tuple[T, ...],
    new: list[T],
    bundles: Mapping[tuple[BundleKind, str, str], Bundle],
) -> tuple[T, ...]:
    """Return the current items, of which the new ones take over what they can.

    A bundle is shared by all functions of an app; an unchanged definition keeps its identity.
    """
    before = _by_name(_others(current, previous))
    taken: dict[int, T] = {}
    for item in new:
        coming = replace(item, bundle=bundles.get(_identity(item.bundle), item.bundle))
        old = before.get(_name(item))
        taken[id(item)] = old if old is not None and old == coming else coming
    return tuple(taken.get(id(item), item) for item in current)


def _others(known: Iterable[T], items: Iterable[T]) -> list[T]:
    """Return the items that are not the very objects that are known."""
    ids = set(map(id, known))
    return [item for item in items if id(item) not in ids]
