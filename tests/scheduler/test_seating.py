"""Who gets the seat beside the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from scheduler.seating import Seating

if TYPE_CHECKING:
    from sandbox.seat import Seat
    from sandbox.worker import Worker


class FakeSeat:
    """Notes who sits."""

    def __init__(self) -> None:
        self.holder = 0
        self.allowed = True

    def take(self, pid: int) -> bool:
        self.holder = pid if self.allowed else 0
        return self.allowed

    def free(self) -> None:
        self.holder = 0

    def leave(self, pid: int) -> None:
        if self.holder == pid:
            self.holder = 0


class FakeWorker:
    """A worker with so many calls in flight."""

    def __init__(self, pid: int, calls: int = 0) -> None:
        self.pid = pid
        self.in_flight = dict.fromkeys(range(calls))


class Scene:
    """A seat, and workers that answer at a time."""

    def __init__(self) -> None:
        self.seat = FakeSeat()
        self.seating = Seating(cast("Seat", self.seat))

    def answers(self, worker: FakeWorker, at: float, *, quick: bool = True) -> int:
        """Let it answer; return who sits then."""
        self.seating.look(cast("Worker", worker), at, quick=quick)
        return self.seat.holder


def test_a_quick_worker_with_few_calls_gets_the_seat() -> None:
    """That is where a wake-up costs most of a call."""
    scene = Scene()
    assert scene.answers(FakeWorker(7, calls=3), 10.0) == 7


def test_slow_functions_and_many_calls_get_none() -> None:
    """They gain from a processor of their own."""
    scene = Scene()
    assert scene.answers(FakeWorker(7), 10.0, quick=False) == 0
    assert scene.answers(FakeWorker(8, calls=60), 10.0) == 0


def test_who_becomes_slow_leaves_at_once() -> None:
    """A function that computes must not share the platform's processor."""
    scene = Scene()
    worker = FakeWorker(7)
    scene.answers(worker, 10.0)
    assert scene.answers(worker, 10.001, quick=False) == 0


def test_who_gets_many_calls_leaves_and_comes_back_later() -> None:
    """One burst does not decide; a lasting load does, and is looked at again after a while."""
    scene = Scene()
    worker, crowd = FakeWorker(7), FakeWorker(7, calls=64)
    scene.answers(worker, 10.0)
    worker.in_flight = crowd.in_flight
    assert scene.answers(worker, 10.001) == 7
    assert [scene.answers(worker, 10.002) for _ in range(3)][-1] == 0
    worker.in_flight = {}
    assert scene.answers(worker, 10.1) == 0
    assert scene.answers(worker, 11.1) == 7


def test_the_seat_goes_on_when_its_holder_rests() -> None:
    """One has it at a time; after a second of silence the next one that answers."""
    scene = Scene()
    scene.answers(FakeWorker(7), 10.0)
    other = FakeWorker(8)
    assert scene.answers(other, 10.5) == 7
    assert scene.answers(other, 11.1) == 8


def test_the_seat_of_the_dead_is_free() -> None:
    """Their number may be somebody else's soon."""
    scene = Scene()
    worker = FakeWorker(7)
    scene.answers(worker, 10.0)
    scene.seating.gone(cast("Worker", worker))
    assert scene.seat.holder == 0


def test_without_the_right_nobody_sits_and_it_is_asked_rarely() -> None:
    """A machine that forbids it costs an attempt a second."""
    scene = Scene()
    scene.seat.allowed = False
    worker = FakeWorker(7)
    assert scene.answers(worker, 10.0) == 0
    scene.seat.allowed = True
    assert scene.answers(worker, 10.5) == 0
    assert scene.answers(worker, 11.0) == 7
