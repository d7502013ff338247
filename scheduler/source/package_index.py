"""Where packages come from: what the operator has set up for pip and npm, told to the builds.

uv does not read pip's files, and a build's sandbox sees neither the operator's home nor its
environment, so what counts is gathered here. Reads files only.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sandbox.spec import WEB_PORTS

#: Of the environment, what package managers and their downloads read.
_PREFIXES = ("PIP_", "UV_", "npm_config_", "NPM_CONFIG_", "COMPOSER_")
_NAMES = frozenset(
    {"http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir"}
    | {"requests_ca_bundle", "node_extra_ca_certs", "npm_token"}
)
#: What would lead a build out of the folders that it has.
_OURS = frozenset({"UV_CACHE_DIR", "PIP_CACHE_DIR", "PIP_TARGET", "PIP_CONFIG_FILE", "UV_PYTHON"})
#: pip's name -> uv's.
_AS_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}
_PIP_FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
_NPM_FILES = ("/etc/npmrc", "~/.npmrc")


@dataclass(frozen=True, slots=True)
class PackageIndex:
    """What builds need to know of it.

    Attributes:
        environment: variables for the package managers.
        ports: TCP ports that they connect to.
        folders: local folders that serve as an index, by the environment or a file of pip.
    """

    environment: Mapping[str, str]
    ports: tuple[int, ...]
    folders: tuple[str, ...]


def package_index(settings: Mapping[str, str], environ: Mapping[str, str]) -> PackageIndex:
    """Return what the app settings say, before the platform's environment, before files."""
    given = {n: v for n, v in {**environ, **settings}.items() if _counts(n)}
    told = {**_pip(given), **_npm(), **given}
    urls = [url for value in told.values() for url in value.replace(",", " ").split()]
    ports = sorted({*WEB_PORTS, *filter(None, map(_port, urls))})
    # What a build is shown of this machine is its operator's to say: who may deploy sets settings.
    own = {n: v for n, v in environ.items() if _counts(n)}
    shown = {**_pip(own), **_npm(), **own}.values()
    words = [word for value in shown for word in value.replace(",", " ").split()]
    folders = sorted({path for word in words if (path := _folder(word))})
    return PackageIndex(told, tuple(ports), tuple(folders))


def _counts(name: str) -> bool:
    return name not in _OURS and (name.startswith(_PREFIXES) or name.casefold() in _NAMES)


def _pip(given: Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings as uv and pip read them from the environment."""
    options = dict(_pip_options())
    for name in _AS_UV:
        value = given.get(f"PIP_{name.replace('-', '_').upper()}")
        if value:
            options[name] = value
    told: dict[str, str] = {}
    for name, variable in _AS_UV.items():
        if value := options.get(name, "").strip():
            separator = "," if name == "find-links" else " "
            told[variable] = separator.join(value.split())
            told[f"PIP_{name.replace('-', '_').upper()}"] = " ".join(value.split())
    if "UV_INDEX" in told:  # to pip all indexes are equal
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return told


def _pip_options() -> Iterator[tuple[str, str]]:
    for name in _PIP_FILES:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(Path(name).expanduser(), encoding="utf-8")
            yield from parser.items("global")
        except (configparser.Error, OSError, UnicodeDecodeError, RuntimeError):
            continue  # pip itself tells of it


def _npm() -> dict[str, str]:
    """Return the registry; credentials in npm's files are the operator's own, and stay there."""
    told: dict[str, str] = {}
    for file in _NPM_FILES:
        try:
            lines = Path(file).expanduser().read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError, RuntimeError):
            continue
        for line in lines:
            name, _, value = (part.strip() for part in line.partition("="))
            if name in {"registry", "cafile"} and value:
                told[f"npm_config_{name}"] = value
    return told


def _port(text: str) -> int | None:
    try:
        return urlsplit(text).port if "://" in text else None
    except ValueError:
        return None


def _folder(text: str) -> str:
    """Return the local folder that a setting names; empty if it is none."""
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    return os.path.normpath(text) if text.startswith("/") and os.path.isdir(text) else ""
