"""What one run of the benchmarks has found: figures, beside whom, and what could not be had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from figure import Figure


@dataclass(frozen=True)
class Other:
    """Something that Taak was measured beside; `reason` says why it was left out, if it was."""

    title: str
    versions: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass
class Findings:
    """Collects over all benchmarks of a run.

    Attributes:
        quick: fewer rounds and smaller sizes, for a first look.
        load_1min: the machine's load before the run: what else it had to do.
        others: by name, in the order in which they were met.
        remarks: by topic, what a reader of the figures has to know.
    """

    quick: bool = False
    load_1min: float = 0.0
    figures: list[Figure] = field(default_factory=list)
    others: dict[str, Other] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    def add(self, figures: Iterable[Figure]) -> None:
        """Take figures."""
        self.figures += figures

    def value(self, name: str) -> float | None:
        """Return an earlier figure of this run."""
        return next((figure.value for figure in self.figures if figure.name == name), None)

    def meet(self, name: str, title: str, versions: Mapping[str, str]) -> None:
        """Keep who took part, in which versions."""
        if name not in self.others:
            told = ", ".join(f"{package} {version}" for package, version in versions.items())
            print(f"\n  {title}: {told}", end=" ", flush=True)
        self.others[name] = Other(title, versions)

    def miss(self, name: str, title: str, reason: str) -> None:
        """Keep who could not take part, and why; said aloud at once."""
        if name not in self.others:
            print(f"\n  LEFT OUT: {title}: {reason}", end=" ", flush=True)
        self.others[name] = Other(title, reason=reason)

    def remark(self, topic: str, text: str) -> None:
        """Keep what a reader of the figures has to know."""
        self.remarks[topic] = text
