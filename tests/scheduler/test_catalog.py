"""Look-ups, the swap, and what counts as a change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.catalog import EMPTY, Catalog, adopt
from scheduler.errors import NotFoundError
from scheduler.functions import (
    AppDefinition,
    AuthLevel,
    Bundle,
    BundleKind,
    Function,
    HostSettings,
    HttpTrigger,
    Job,
    JobKind,
    Limits,
)


def function(name, digest="d", release="one", **more):
    """Return a function."""
    bundle = Bundle(name, BundleKind.FUNCTION, digest, Path("/releases") / release)
    return Function(
        name=name,
        bundle=bundle,
        directory=name,
        script_file=f"{name}/__init__.py",
        entry_point="main",
        trigger=HttpTrigger(name, None, AuthLevel.ANONYMOUS),
        trigger_name="req",
        bindings=(),
        limits=Limits(),
        **more,
    )


def job(name, digest="d", kind=JobKind.TRIGGERED, release="one", **more):
    """Return a job."""
    bundle = Bundle(name, BundleKind.JOB, digest, Path("/releases") / release)
    folder = f"jobs/{kind.value}/{name}"
    return Job(
        name=name, kind=kind, bundle=bundle, directory=folder, live_folder=Path(folder),
        script="run.sh", **more,
    )  # fmt: skip


def app(*items, digest="release"):
    """Return a definition."""
    return AppDefinition(
        digest=digest,
        root=Path("/releases") / digest,
        host=HostSettings(),
        functions=tuple(item for item in items if isinstance(item, Function)),
        jobs=tuple(item for item in items if isinstance(item, Job)),
    )


def test_empty_catalog():
    """Before the first deployment there is nothing, and nothing fails but look-ups."""
    catalog = Catalog()
    assert catalog.definition is EMPTY
    assert catalog.generation == 0
    assert catalog.functions() == ()
    with pytest.raises(NotFoundError, match="no function 'x'"):
        catalog.function("x")
    with pytest.raises(NotFoundError, match="no triggered job 'x'"):
        catalog.job(JobKind.TRIGGERED, "x")


def test_names_are_found_without_case():
    """Functions and jobs; the two kinds of job have names of their own."""
    catalog = Catalog()
    catalog.swap(app(function("Hello"), job("Mail"), job("mail", kind=JobKind.CONTINUOUS)))
    assert catalog.function("hELLO").name == "Hello"
    assert catalog.job(JobKind.TRIGGERED, "MAIL").name == "Mail"
    assert catalog.job(JobKind.CONTINUOUS, "MAIL").name == "mail"
    assert [j.name for j in catalog.jobs(JobKind.CONTINUOUS)] == ["mail"]
    assert len(catalog.jobs()) == 2


def test_diff_names_what_was_added_changed_removed_and_kept():
    """Subscribers are told once, after the swap, in their order."""
    catalog, told = Catalog(), []
    catalog.subscribe(lambda diff: told.append(("first", catalog.generation, diff)))
    catalog.subscribe(lambda diff: told.append(("second", catalog.generation, diff)))
    catalog.swap(app(function("same"), function("edited"), function("gone"), job("j"), job("k")))
    diff = catalog.swap(
        app(
            function("same"), function("edited", "d2"), function("new"), job("j"), job("l"),
            digest="2",
        )
    )  # fmt: skip
    assert diff.added == ("new", "triggered/l")
    assert diff.changed == ("edited",)
    assert diff.functions_changed[0].bundle.digest == "d2"
    assert diff.removed == ("gone", "triggered/k")
    assert [item.name for item in diff.kept] == ["same", "j"]
    assert (diff.previous.digest, diff.current.digest) == ("release", "2")
    assert [(who, generation) for who, generation, _ in told] == [
        ("first", 1), ("second", 1), ("first", 2), ("second", 2),
    ]  # fmt: skip
    assert told[-1][2] is diff


def test_same_bundle_in_a_new_release_is_no_change():
    """The old objects stay, with the folder of the release that they came from."""
    catalog = Catalog()
    catalog.swap(app(function("f", release="one"), job("j", release="one")))
    before = (catalog.function("f"), catalog.job(JobKind.TRIGGERED, "j"))
    diff = catalog.swap(app(function("f", release="two"), job("j", release="two"), digest="two"))
    assert diff.added == diff.changed == diff.removed == ()
    assert catalog.function("f") is before[0]
    assert catalog.job(JobKind.TRIGGERED, "j") is before[1]
    assert catalog.definition.digest == "two"


def test_new_definition_over_the_same_bundle_is_a_change():
    """A limit, a schedule, a mark: the definition is new, the bundle is the old object."""
    catalog = Catalog()
    catalog.swap(app(function("f"), job("j")))
    bundle = catalog.function("f").bundle
    diff = catalog.swap(
        app(function("f", release="two", disabled="by test"), job("j", disabled=True))
    )
    assert diff.changed == ("f", "triggered/j")
    assert catalog.function("f").bundle is bundle
    assert catalog.function("f").disabled == "by test"


def test_change_of_a_names_spelling_is_a_change():
    """The name is found either way, but it is told."""
    catalog = Catalog()
    catalog.swap(app(function("hello")))
    assert catalog.swap(app(function("Hello"))).changed == ("Hello",)


def test_shared_bundle_stays_shared():
    """All functions of an app keep one object, new or old."""
    shared = Bundle("app", BundleKind.APP, "1", Path("/releases/one"))
    first = app(*(replace(function(name), bundle=shared) for name in "ab"))
    other = replace(shared, root=Path("/releases/two"))
    second = app(*(replace(function(name), bundle=other) for name in "abc"))
    assert {id(f.bundle) for f in adopt(first, second).functions} == {id(shared)}
    assert {id(f.bundle) for f in adopt(EMPTY, second).functions} == {id(other)}


def test_swap_is_one_assignment():
    """A subscriber that reads sees the new whole, never a part."""
    catalog = Catalog()
    seen = []
    catalog.subscribe(
        lambda diff: seen.append(catalog.definition is diff.current and catalog.function("f"))
    )
    catalog.swap(app(function("f")))
    assert seen == [catalog.function("f")]
