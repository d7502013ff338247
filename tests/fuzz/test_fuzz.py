"""Runs of the fuzzer that fit into a tier; `python -m tests.fuzz` is the long one."""

from __future__ import annotations

import asyncio

import pytest

from fuzz import campaign
from fuzz.case import Case
from fuzz.virtual_loop import VirtualLoop

SHORT, MIDDLE = 600, 100_000


def test_a_few_mutated_frames_harm_nobody() -> None:
    """On every target: bounded, each call ended once, nothing raised."""
    tallies = campaign.run(SHORT, seed=1)
    assert {name for name, tally in tallies.items() if tally.frames} == {
        target.name for target in campaign.TARGETS
    }
    assert tallies["worker"].seen["reply"] > 0


@pytest.mark.real
def test_many_mutated_frames_harm_nobody() -> None:
    """The same with frames enough to meet what is rare, and every kind of end."""
    tallies = campaign.run(MIDDLE, seed=2)
    assert sum(tally.frames for tally in tallies.values()) >= MIDDLE
    assert {"answered call", "failed call", "call handed back", "broken worker"} <= set(
        tallies["worker"].seen
    )
    assert {"bind", "failed bind"} <= set(tallies["zygote"].seen)
    assert {"200", "502"} <= set(tallies["reply"].seen)


class Careless:
    """A target that fails now and then, in a callback of the loop."""

    name = "careless"
    share = 1.0

    async def run(self, case: Case) -> None:
        data = b"".join(case.hostile())
        if case.chance(0.05):
            asyncio.get_running_loop().call_soon(data.index, b"what it does not hold")
            await asyncio.sleep(0)


def test_a_defect_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report has the frames as hex and the command; the same case fails again."""
    monkeypatch.setattr(campaign, "TARGETS", (Careless(),))
    with pytest.raises(campaign.Defect) as found:
        campaign.run(1000, seed=3)
    command = str(found.value).rsplit("repeat: ", 1)[1].split()
    assert command[:3] == ["python", "-m", "tests.fuzz"]
    number = int(command[command.index("--case") + 1])
    with pytest.raises(campaign.Defect) as again:
        campaign.repeat("careless", 3, number)
    lines = [line for line in str(found.value).splitlines() if line.startswith("  chunk")]
    assert lines
    assert all(line in str(again.value) for line in lines)


def test_the_clock_jumps() -> None:
    """An hour of a case takes no time."""
    loop = VirtualLoop()
    loop.run_until_complete(asyncio.sleep(3600))
    assert loop.time() >= 3600
    loop.close()
