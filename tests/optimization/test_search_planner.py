"""The plan follows what searches cost, and a bad moment does not fix it for good."""

from collections import Counter

import pytest

from dtrag_core.optimization.plans import Plan, plans_for
from dtrag_core.optimization.search_planner import SearchPlanner
from dtrag_core.types import Span

OVERLAP = plans_for(overlap=True, shards=False)
BOTH = plans_for(overlap=True, shards=True)


class Machine:
    """Legs of given costs in microseconds, and what each plan but in turn costs on top."""

    def __init__(
        self, bm25: int, vector: int, loss: int, plans: tuple[Plan, ...] = OVERLAP, cores: int = 2
    ) -> None:
        self.bm25 = bm25
        self.vector = vector
        self.loss = loss
        self.split_loss = loss
        self.cores = cores
        self.planner = SearchPlanner(plans, cores, 90_000)

    def cost(self, plan: Plan) -> float:
        if plan is Plan.IN_TURN:
            return self.bm25 + self.vector
        if plan is Plan.OVERLAPPED:
            return max(self.bm25, self.vector) + self.loss
        return (self.bm25 + self.vector) / self.cores + self.split_loss

    def search(self, slowed: int = 1) -> Plan:
        plan = self.planner.choose()
        spans = [
            Span("bm25", 0, self.bm25 * 1_000 * slowed, 0),
            Span("vector", 0, self.vector * 1_000 * slowed, 0),
        ]
        self.planner.learn(plan, round(self.cost(plan) * 1_000 * slowed), spans)
        return plan

    def chosen(self, searches: int) -> Counter[Plan]:
        return Counter(self.search() for _ in range(searches))

    def share(self, searches: int, plan: Plan = Plan.OVERLAPPED) -> float:
        return self.chosen(searches)[plan] / searches


def test_long_legs_are_overlapped() -> None:
    machine = Machine(3_000, 3_000, 200)
    machine.share(100)
    assert machine.share(1_000) > 0.9
    decision = machine.planner.decision()
    assert decision.overlap
    assert decision.plan == "overlapped"
    assert decision.reason.startswith("overlapped measured 3200 us")
    assert decision.costs_us == {"in_turn": 6_000, "overlapped": 3_200}
    assert (decision.bm25_us, decision.vector_us, decision.hop_us) == (3_000, 3_000, 90)


def test_short_legs_are_not_and_are_tried_ever_more_rarely() -> None:
    machine = Machine(50, 150, 90)
    assert machine.share(2_000) == 0
    trials = [machine.chosen(4_000)[Plan.OVERLAPPED] for _ in range(8)]
    assert trials[0] == 16
    assert sum(trials) <= 4 * 16
    assert not machine.planner.decision().overlap


def test_a_prediction_that_proves_wrong_is_given_up_after_its_trial() -> None:
    machine = Machine(200, 200, 900)
    assert machine.share(16) == 0
    assert "overlapped predicted 290 us" in machine.planner.decision().reason
    assert machine.chosen(100)[Plan.OVERLAPPED] == 16
    assert not machine.planner.decision().overlap


def test_a_plan_that_always_fails_is_given_up() -> None:
    machine = Machine(3_000, 3_000, 200)
    failed = 0
    for _ in range(1_000):
        if machine.planner.choose() is Plan.OVERLAPPED:
            machine.planner.skip()
            failed += 1
        else:
            machine.search()
    assert failed == 16


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
        assert machine.search(slowed=100) is Plan.IN_TURN
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


def test_uneven_legs_are_split_rather_than_overlapped() -> None:
    machine = Machine(300, 3_000, 150, BOTH)
    machine.share(100)
    assert machine.share(1_000, Plan.SHARDED_OVERLAPPED) > 0.9
    assert machine.planner.decision().costs_us["sharded_overlapped"] == 1_800


def test_equal_legs_are_overlapped_where_splitting_loses() -> None:
    machine = Machine(2_000, 2_000, 100, BOTH)
    machine.split_loss = 400
    machine.share(100)
    assert machine.share(1_000) > 0.9


@pytest.mark.parametrize("plans", [plans_for(overlap=False, shards=True), BOTH])
def test_more_cores_make_splitting_predicted_cheaper(plans: tuple[Plan, ...]) -> None:
    two, eight = (Machine(4_000, 4_000, 0, plans, cores) for cores in (2, 8))
    for machine in (two, eight):
        machine.share(16)
    split = plans[-1].value
    costs = [machine.planner.decision().costs_us[split] for machine in (two, eight)]
    assert costs == [4_090, 1_090]


def test_one_core_or_one_plan_leaves_nothing_to_choose() -> None:
    for plans, cores in ((BOTH, 1), (plans_for(overlap=False, shards=False), 2)):
        machine = Machine(3_000, 3_000, 0, plans, cores)
        assert machine.chosen(5_000) == {Plan.IN_TURN: 5_000}
        assert "no other plan" in machine.planner.decision().reason
