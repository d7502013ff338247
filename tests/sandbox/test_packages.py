"""The platform's azure-functions: there for everybody, in nobody's way."""

from __future__ import annotations

import sys
from pathlib import Path

import guest
import pytest

from sandbox.runtime import packages

IMPORTS = """
import importlib
for name in {names!r}:
    try:
        module = importlib.import_module(name)
        found[name] = getattr(module, "__file__", None) or "namespace"
    except ImportError as error:
        found[name] = None
"""


def test_the_finder_offers_four_names_and_nothing_else() -> None:
    """Only azure, azure.functions, werkzeug and markupsafe are found, not their neighbours."""
    finder = packages.Fallback([guest.site_dir("azure.functions")])
    for name in ("azure", "azure.functions", "werkzeug", "markupsafe"):
        assert finder.find_spec(name) is not None
    for name in ("aiohttp", "msgpack", "azure.storage", "werkzeug.http", "orjson"):
        assert finder.find_spec(name) is None


def test_the_namespace_opens_no_door_to_other_azure_packages() -> None:
    """The `azure` package that the finder makes has no directory of the platform in it."""
    spec = packages.Fallback([guest.site_dir("azure.functions")]).find_spec("azure")
    assert spec is not None
    assert spec.submodule_search_locations == []


def test_keep_last_moves_the_finder_behind_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finder that the app's environment adds comes before ours."""
    ours, theirs = packages.Fallback([]), object()
    monkeypatch.setattr(sys, "meta_path", [ours, theirs])
    packages.keep_last()
    assert sys.meta_path == [theirs, ours]


def test_a_platform_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preload returns False, and leaves no half of a package behind, if there is no library."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("azure", "werkzeug", "markupsafe")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setattr(sys, "path", [])
    assert packages.preload([]) is False
    assert "azure" not in sys.modules


@pytest.mark.real
def test_preload_gives_the_library_and_hides_the_rest(tmp_path: Path) -> None:
    """After preload the library is there; msgpack, aiohttp and the site directory are not."""
    names = ["azure.functions", "werkzeug.routing", "markupsafe", "msgpack", "aiohttp", "yarl"]
    probe = IMPORTS.format(names=names) + "import sys; found['path'] = sys.path"
    found = guest.run(tmp_path, probe=probe)
    assert found["preloaded"] is True
    assert all(found[name] for name in names[:3])
    assert not any(found[name] for name in names[3:])
    assert not [path for path in found["path"] if "site-packages" in path]


@pytest.mark.real
def test_preload_brings_nothing_but_the_library_from_the_site_directory(tmp_path: Path) -> None:
    """No other package of the platform is in memory, where user code could find it."""
    probe = """
import sys
found["tops"] = sorted({
    name.partition(".")[0] for name, module in sys.modules.items()
    if "site-packages" in (getattr(module, "__file__", None) or "")
})
"""
    assert guest.run(tmp_path, probe=probe)["tops"] == ["azure", "markupsafe", "werkzeug"]


@pytest.mark.real
def test_the_metadata_of_the_library_can_be_asked(tmp_path: Path) -> None:
    """importlib.metadata knows the version of azure-functions, and of no hidden package."""
    probe = """
import importlib.metadata as metadata
found["version"] = metadata.version("azure-functions")
try:
    metadata.version("aiohttp")
    found["hidden"] = False
except metadata.PackageNotFoundError:
    found["hidden"] = True
"""
    found = guest.run(tmp_path, probe=probe)
    assert found["version"]
    assert found["hidden"]


@pytest.mark.real
def test_the_apps_own_copies_win(tmp_path: Path) -> None:
    """An app that brings azure-functions, werkzeug and markupsafe gets all three of its own."""
    found = guest.run(
        tmp_path,
        guest.APPS / "brings_werkzeug",
        ("versions",),
        calls=(("versions", guest.get("name=x")),),
        mode="offered",
    )
    assert found["loaded"] == {"versions": None}
    status, (code, headers, body) = found["calls"][0]
    assert (status, code, body) == (0, 200, "0.app 0.app 0.app x")
    assert headers == [["Content-Type", "text/plain; charset=utf-8"]]


def _app(tmp_path: Path, package: str, source: str = "", function: str = "") -> Path:
    root = tmp_path / "app"
    folder = root / guest.PACKAGES / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(source)
    (root / "f").mkdir()
    (root / "f" / "__init__.py").write_text(function)
    (root / "f" / "function.json").write_text(
        (guest.APPS / "azure_hello" / "hello" / "function.json").read_text()
    )
    return root


@pytest.mark.real
def test_a_namespace_without_functions_is_completed(tmp_path: Path) -> None:
    """An app with azure.storage only gets its azure.storage and our azure.functions."""
    source = (
        "import azure.functions as func\nimport azure.storage\n"
        "def main(req):\n    return azure.storage.OWNER + ' ' + func.__name__\n"
    )
    root = _app(tmp_path, "azure/storage", "OWNER = 'app'", source)
    found = guest.run(tmp_path, root, ("f",), calls=(("f", guest.get()),), mode="offered")
    assert found["calls"][0][1][2] == "app azure.functions"


@pytest.mark.real
def test_our_library_uses_the_apps_werkzeug(tmp_path: Path) -> None:
    """An app that brings werkzeug alone has it used by our azure.functions too."""
    source = (
        "import azure.functions._abc as abc, werkzeug\n"
        "def main(req):\n"
        "    return abc.Headers.__module__ + ' ' + werkzeug.OWNER\n"
    )
    root = _app(tmp_path, "werkzeug", "OWNER = 'app'", source)
    platform = Path(guest.site_dir("werkzeug")) / "werkzeug"
    for part in platform.rglob("*.py"):
        copy = root / guest.PACKAGES / "werkzeug" / part.relative_to(platform)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(part.read_text())
    with (root / guest.PACKAGES / "werkzeug" / "__init__.py").open("a") as own:
        own.write("\nOWNER = 'app'\n")
    found = guest.run(tmp_path, root, ("f",), calls=(("f", guest.get()),), mode="offered")
    assert found["calls"][0][1][2] == "werkzeug.datastructures.headers app"
