"""The keys under "taak" that say what stands around code: read, checked, and told when wrong."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Final

from sandbox.spec import Level, Network
from scheduler.isolation import Isolation
from scheduler.manifest_fields import Fields, shown

ISOLATION_NAMES: Final = tuple(field.name for field in fields(Isolation))
#: What may be asked for; the rest is what machines fall back to, or comes with a level.
_LEVELS: Final = {level.value: level for level in (Level.STANDARD, Level.STRICT, Level.TRUSTED)}
_NETWORKS: Final = {network.value: network for network in (Network.NONE, Network.OUTBOUND)}
_WHOLE: Final = (
    "memory_mib", "processes", "open_files", "tmp_mib", "tmp_files", "file_mib", "cpu_s",
)  # fmt: skip
#: Below these no Python process starts, so a smaller number can only be a slip; 0 is no limit.
_AT_LEAST: Final = {"memory_mib": 32, "processes": 16, "open_files": 32, "tmp_files": 16}
#: Beyond these no machine goes, and the kernel refuses or wraps around.
_AT_MOST: Final = {
    "memory_mib": 1 << 24,
    "processes": 1 << 22,
    "open_files": 1 << 20,
    "tmp_mib": 1 << 24,
    "tmp_files": 1 << 30,
    "file_mib": 1 << 24,
    "cpu_s": 1_000_000_000,
}
_LEAST_CORES, _MOST_CORES = 0.01, 4096.0


def read_isolation(taak: Fields, default: Isolation) -> Isolation:
    """Return what a "taak" object sets, over the app's; what is wrong is noted."""
    changes: dict[str, Any] = {name: _number(taak, name, default) for name in _WHOLE}
    return replace(
        default,
        sandbox=_choice(taak, "sandbox", _LEVELS, default.sandbox),
        network=_choice(taak, "network", _NETWORKS, default.network),
        ports=_ports(taak, default.ports),
        cpu_cores=_cores(taak, default.cpu_cores),
        **changes,
    )


def warn_idle(taak: Fields, isolation: Isolation, *, program: bool) -> list[str]:
    """Warn of each key that a "taak" object sets without effect; return which these are.

    `isolation` is what came out, `program` as for `idle_keys`.
    """
    idle = idle_keys(isolation, program=program)
    names = [name for name in idle if taak.raw(name) is not None]
    for name in names:
        taak.complain(f"has no effect: {idle[name]}", name, warning=True)
    return names


def idle_keys(isolation: Isolation, *, program: bool) -> dict[str, str]:
    """Return the keys that mean nothing here, with the reason and what to do.

    `program`: it is a job's, whose code is a program of its own and not a worker.
    """
    if isolation.sandbox is Level.TRUSTED:
        return dict.fromkeys(_NOT_TRUSTED, _TRUSTED)
    idle = {} if program else {"cpu_s": "it is for jobs; a call has its timeout_s"}
    if isolation.network is not Network.OUTBOUND:
        idle["ports"] = 'without "network": "outbound" there is no network; add that, or remove it'
    elif isolation.sandbox is Level.STRICT and not program:
        idle |= dict.fromkeys(("network", "ports"), _STRICT)
    return idle


_NOT_TRUSTED: Final = ("network", "ports", "tmp_mib", "tmp_files")
_TRUSTED: Final = '"sandbox": "trusted" leaves the network and the files of this machine; remove it'
_STRICT: Final = '"sandbox": "strict" refuses new sockets; remove it, or use "standard"'


def _number(taak: Fields, name: str, default: Isolation) -> int:
    usual: int = getattr(default, name)
    number = taak.whole(name, usual)
    least = _AT_LEAST.get(name, 0)
    most = _AT_MOST[name]
    if 0 < number < least or number > most:
        taak.complain(f"must be 0 (no limit) or from {max(least, 1)} to {most}, not {number}", name)
        return usual
    return number


def _cores(taak: Fields, usual: float) -> float:
    number = taak.number("cpu_cores", usual)
    if number and not _LEAST_CORES <= number <= _MOST_CORES:
        taak.complain(
            f"must be 0 (no limit) or from {_LEAST_CORES:g} to {_MOST_CORES:g} processors, "
            f"not {number:g}",
            "cpu_cores",
        )
        return usual
    return number


def _choice(taak: Fields, name: str, values: dict[str, Any], default: Any) -> Any:
    raw = taak.raw(name)
    if raw is None:
        return default
    chosen = values.get(raw.strip().casefold()) if isinstance(raw, str) else None
    if chosen is None:
        taak.complain(f"must be one of {', '.join(map(shown, values))}, not {shown(raw)}", name)
        return default
    return chosen


def _ports(taak: Fields, default: tuple[int, ...]) -> tuple[int, ...]:
    if taak.raw("ports") is None:
        return default
    ports = taak.items("ports")
    for port in ports:
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
            taak.complain(f"must be TCP ports from 1 to 65535, not {shown(port)}", "ports")
            return default
    return tuple(ports)
