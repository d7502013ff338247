"""Who may come in, and who reads too slowly: decided with a clock and clients of our own."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from gateway.connections import Connections, Visit, counted_address
from gateway.http_limits import HttpLimits, RefusedError, malformed
from gateway.metrics import Metrics

FAR = "192.0.2.1"


class Clock:
    """A time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeTransport:
    """Has so many bytes left to write; its client has taken so many."""

    def __init__(self) -> None:
        self.left = 0
        self.acked = 0
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.aborted = True


class FakeOwner:
    """Notes when it is asked to look at its time."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def check_time(self, now: float) -> None:
        self.asked.append(now)


@pytest.fixture
def clock() -> Clock:
    """Return the time of the test."""
    return Clock()


def connections(clock: Clock, most: int = 3, per_address: int = 0) -> Connections:
    """Return the connections of a listener whose clients are fakes."""
    return Connections(
        "data",
        Metrics(),
        most=most,
        most_per_address=per_address,
        limits=HttpLimits(body_s=10),
        acked=lambda transport: cast("FakeTransport", transport).acked,
        clock=clock,
    )


def admitted(all_of: Connections, host: str = FAR) -> Visit:
    """Return a visit that was let in."""
    visit = all_of.admit(host)
    assert isinstance(visit, Visit)
    return visit


def refused(all_of: Connections, host: str = FAR) -> RefusedError:
    """Return the refusal of a visit."""
    refusal = all_of.admit(host)
    assert isinstance(refusal, RefusedError)
    return refusal


def served(all_of: Connections) -> tuple[Visit, FakeOwner, FakeTransport]:
    """Return a visit that a protocol serves."""
    visit, owner, transport = admitted(all_of), FakeOwner(), FakeTransport()
    visit.taken(owner, cast("Any", transport))
    return visit, owner, transport


class TestRoom:
    def test_as_many_as_there_may_be(self, clock: Clock) -> None:
        """The last place is given, the next client is refused, and a place given back is given."""
        all_of = connections(clock, most=2)
        first, _ = admitted(all_of), admitted(all_of)
        told = refused(all_of)
        assert (told.status, told.reason) == (503, "connections")
        assert "2 connections" in told.text
        assert "--max-connections" in told.text
        first.end()
        first.end()  # only once
        admitted(all_of)
        refused(all_of)

    def test_as_many_as_one_address_may_have(self, clock: Clock) -> None:
        """One client cannot take the places of the others."""
        all_of = connections(clock, most=10, per_address=2)
        first, _ = admitted(all_of), admitted(all_of)
        told = refused(all_of)
        assert (told.status, told.reason) == (503, "address")
        assert "--max-connections-per-address" in told.text
        admitted(all_of, "192.0.2.2")
        first.end()
        admitted(all_of)
        refused(all_of)

    def test_this_machine_is_not_counted(self, clock: Clock) -> None:
        """A proxy here speaks for everybody."""
        all_of = connections(clock, most=10, per_address=1)
        for host in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
            admitted(all_of, host)
            admitted(all_of, host)

    def test_addresses_are_forgotten(self, clock: Clock) -> None:
        """Who has left costs no memory."""
        all_of = connections(clock, most=10, per_address=2)
        for _ in range(3):
            visits = [admitted(all_of), admitted(all_of)]
            for visit in visits:
                visit.end()
        assert not all_of._by_address
        assert not all_of.open

    @pytest.mark.parametrize(
        ("host", "counted"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("127.0.0.1", ""),
            ("::1", ""),
            ("", ""),
        ],
    )
    def test_what_counts_as_one_client(self, host: str, counted: str) -> None:
        """An IPv6 client is its network: it has 2**64 addresses."""
        assert counted_address(host) == counted


class TestSlowReaders:
    def test_the_owner_is_asked(self, clock: Clock) -> None:
        """Each protocol looks at its own time, once it is there."""
        all_of = connections(clock)
        admitted(all_of)
        _, owner, _ = served(all_of)
        all_of.sweep()
        assert owner.asked == [clock.now]

    def test_a_defect_costs_one_connection(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What fails in looking at one client is told, and the others are looked at."""
        all_of = connections(clock)
        scenes = [served(all_of) for _ in range(3)]
        scenes[1][1].check_time = lambda _now: 1 / 0  # type: ignore[method-assign,assignment]
        all_of.sweep()
        assert [scene[2].aborted for scene in scenes] == [False, True, False]
        assert scenes[0][1].asked == scenes[2][1].asked == [clock.now]
        assert "ZeroDivisionError" in caplog.text

    def test_one_that_reads_nothing_is_given_up(self, clock: Clock) -> None:
        """Not before its time, and then at once."""
        all_of = connections(clock)
        _, _, transport = served(all_of)
        transport.left = 1
        all_of.sweep()
        clock.now += 10
        all_of.sweep()
        assert not transport.aborted
        clock.now += 0.1
        all_of.sweep()
        assert transport.aborted
        assert all_of._metrics.refusals == {("data", "slow-reader"): 1}

    @pytest.mark.parametrize(("speed", "survives"), [(1024, True), (1023, False)])
    def test_one_that_reads_too_little(self, clock: Clock, speed: int, survives: bool) -> None:
        """1 KiB a second is enough; how much is left to read tells nothing."""
        all_of = connections(clock)
        _, _, transport = served(all_of)
        transport.left = 1 << 20
        for _ in range(40):
            all_of.sweep()
            clock.now += 1
            transport.acked += speed
        assert transport.aborted is not survives

    def test_one_that_has_read_everything_begins_anew(self, clock: Clock) -> None:
        """Between two answers nobody owes us anything."""
        all_of = connections(clock)
        _, _, transport = served(all_of)
        for _ in range(10):
            transport.left = 1
            all_of.sweep()
            clock.now += 9
            transport.left = 0
            all_of.sweep()
        assert not transport.aborted


class TestTelling:
    def test_refusals_are_counted_all_and_told_now_and_then(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A flood of them does not fill the log, and what is left out is counted in it."""
        caplog.set_level(logging.INFO)
        all_of = connections(clock)
        for _ in range(5):
            all_of.refused("malformed", "what")
        assert all_of._metrics.refusals == {("data", "malformed"): 5}
        assert [r.getMessage() for r in caplog.records] == ["data listener: refused: what"]
        clock.now += 10
        all_of.refused("malformed", "again")
        assert caplog.records[-1].getMessage().endswith("again (4 more since the last such line)")

    def test_what_the_operator_should_know_is_a_warning(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Strangers' mistakes are none of his, a limit that is reached is."""
        caplog.set_level(logging.INFO)
        all_of = connections(clock, most=1)
        visit = admitted(all_of)
        visit.refused(malformed("x"))
        refused(all_of)
        assert [r.levelno for r in caplog.records] == [logging.INFO, logging.WARNING]

    def test_how_many_are_open_is_read_at_the_scrape(self, clock: Clock) -> None:
        """The gauge is the set itself."""
        all_of = connections(clock)
        visit = admitted(all_of)
        assert all_of._metrics.open_connections["data"]() == 1
        visit.end()
        assert all_of._metrics.open_connections["data"]() == 0
