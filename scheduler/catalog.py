"""The current definition of every function and job: one pointer, swapped whole.

A reader takes `definition` once and never sees a mix of two releases. Knows nothing of files,
workers or runs; who must follow a change subscribes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

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
K = TypeVar("K")

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
        self._tables = _tables(EMPTY, 0)
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
        self._tables = _tables(current, self.generation + 1)
        diff = difference(previous, current)
        for callback in self._subscribers:
            callback(diff)
        return diff


def adopt(previous: AppDefinition, current: AppDefinition) -> AppDefinition:
    """Return the current definition with everything that did not change taken from the previous.

    An old bundle with the same digest stays, with the root of the release that it came from: its
    sandboxes go on, and nothing is told to restart.
    """
    functions = {key(function.name): function for function in previous.functions}
    jobs = {(job.kind, key(job.name)): job for job in previous.jobs}
    new_functions = _others(functions.values(), current.functions)
    new_jobs = _others(jobs.values(), current.jobs)
    if not new_functions and not new_jobs:
        return current
    known: list[Function | Job] = [*previous.functions, *previous.jobs]
    bundles = {_identity(item.bundle): item.bundle for item in known}
    adopted_functions = {
        id(f): _kept(functions.get(key(f.name)), replace(f, bundle=_adopted(f.bundle, bundles)))
        for f in new_functions
    }
    adopted_jobs = {
        id(j): _kept(
            jobs.get((j.kind, key(j.name))), replace(j, bundle=_adopted(j.bundle, bundles))
        )
        for j in new_jobs
    }
    return replace(
        current,
        functions=tuple(adopted_functions.get(id(f), f) for f in current.functions),
        jobs=tuple(adopted_jobs.get(id(j), j) for j in current.jobs),
    )


def difference(previous: AppDefinition, current: AppDefinition) -> Diff:
    """Return what distinguishes two definitions of which the later has adopted the earlier."""
    old_functions = {key(function.name): function for function in previous.functions}
    old_jobs = {(job.kind, key(job.name)): job for job in previous.jobs}
    functions = {key(function.name): function for function in current.functions}
    jobs = {(job.kind, key(job.name)): job for job in current.jobs}
    return Diff(
        previous=previous,
        current=current,
        functions_added=_added(old_functions, functions),
        functions_changed=_changed(old_functions, functions),
        functions_removed=_added(functions, old_functions),
        jobs_added=_added(old_jobs, jobs),
        jobs_changed=_changed(old_jobs, jobs),
        jobs_removed=_added(jobs, old_jobs),
        kept=(*_same(old_functions, functions), *_same(old_jobs, jobs)),
    )


def label(item: Function | Job) -> str:
    """Return the name of a function, or kind and name of a job."""
    return item.name if isinstance(item, Function) else f"{item.kind.value}/{item.name}"


def _labels(functions: tuple[Function, ...], jobs: tuple[Job, ...]) -> tuple[str, ...]:
    return (*map(label, functions), *map(label, jobs))


def _tables(definition: AppDefinition, generation: int) -> _Tables:
    return _Tables(
        definition,
        generation,
        {key(function.name): function for function in definition.functions},
        {(job.kind, key(job.name)): job for job in definition.jobs},
    )


def _identity(bundle: Bundle) -> tuple[BundleKind, str, str]:
    return (bundle.kind, bundle.name, bundle.digest)


def _adopted(bundle: Bundle, known: Mapping[tuple[BundleKind, str, str], Bundle]) -> Bundle:
    """Return the known bundle of this digest; a bundle is shared by all functions of an app."""
    return known.get(_identity(bundle), bundle)


def _kept(old: T | None, new: T) -> T:
    """Return the old object if it says the same: an unchanged definition keeps its identity."""
    return old if old is not None and old == new else new


def _others(known: Iterable[T], items: Iterable[T]) -> list[T]:
    """Return the items that are not the very objects that are known."""
    ids = set(map(id, known))
    return [item for item in items if id(item) not in ids]


def _added(old: Mapping[K, T], new: Mapping[K, T]) -> tuple[T, ...]:
    return tuple(item for name, item in new.items() if name not in old)


def _changed(old: Mapping[K, T], new: Mapping[K, T]) -> tuple[T, ...]:
    return tuple(item for name, item in new.items() if name in old and not _alike(old[name], item))


def _same(old: Mapping[K, T], new: Mapping[K, T]) -> tuple[T, ...]:
    return tuple(item for name, item in new.items() if name in old and _alike(old[name], item))


def _alike(old: T, new: T) -> bool:
    return old is new or old == new
