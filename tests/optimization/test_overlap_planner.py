"""The plan follows what searches cost, and a bad moment does not fix it for good."""

from dtrag_core.optimization.overlap_planner import OverlapPlanner
from dtrag_core.types import Span


class Machine:
    """Legs of given costs in microseconds, and what an overlapped search costs on top."""

    def __init__(self, bm25: int, vector: int, loss: int) -> None:
        self.bm25 = bm25
        self.vector = vector
        self.loss = loss
        self.planner = OverlapPlanner()
        self.planner.hop_ns = 90_000

    def search(self, slowed: int = 1) -> bool:
        overlapped = self.planner.choose()
        total = max(self.bm25, self.vector) + self.loss if overlapped else self.bm25 + self.vector
        spans = [
            Span("bm25", 0, self.bm25 * 1_000 * slowed, 0),
            Span("vector", 0, self.vector * 1_000 * slowed, 0),
        ]
        self.planner.learn(overlapped, total * 1_000 * slowed, spans)
        return overlapped

    def share(self, searches: int) -> float:
        return sum(self.search() for _ in range(searches)) / searches


def test_long_legs_are_overlapped() -> None:
    machine = Machine(3_000, 3_000, 200)
    machine.share(100)
    assert machine.share(1_000) > 0.9
    assert machine.planner.decision().overlap
    assert "measured" in machine.planner.decision().reason


def test_short_legs_are_not_and_are_tried_ever_more_rarely() -> None:
    machine = Machine(50, 150, 90)
    assert machine.share(2_000) == 0
    trials = [sum(machine.search() for _ in range(4_000)) for _ in range(8)]
    assert trials[0] == 16
    assert sum(trials) <= 4 * 16
    assert not machine.planner.decision().overlap


def test_a_prediction_that_proves_wrong_is_given_up_after_its_trial() -> None:
    machine = Machine(200, 200, 900)
    for _ in range(16):
        assert not machine.search()
    assert machine.planner.decision().overlap, "predicted to pay"
    assert sum(machine.search() for _ in range(100)) == 16
    assert not machine.planner.decision().overlap


def test_a_slow_start_does_not_decide_for_good() -> None:
    machine = Machine(50, 150, 600)
    for _ in range(40):
        machine.search(slowed=10)
    machine.share(300)
    assert machine.share(1_000) < 0.01


def test_a_stall_in_between_decides_nothing() -> None:
    machine = Machine(50, 150, 90)
    machine.share(200)
    for _ in range(20):
        assert not machine.search(slowed=100)
    assert machine.share(200) <= 0.01


def test_a_change_shows() -> None:
    machine = Machine(3_000, 3_000, 200)
    machine.share(300)
    machine.bm25, machine.vector, machine.loss = 50, 150, 600
    machine.share(2_000)
    assert machine.share(1_000) < 0.02
    machine.bm25, machine.vector, machine.loss = 3_000, 3_000, 200
    machine.share(5_000)
    assert machine.share(1_000) > 0.9
