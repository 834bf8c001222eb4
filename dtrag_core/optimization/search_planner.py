"""Decides from measured costs how a search is laid out over the cores."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dtrag_core.optimization.plans import Plan
from dtrag_core.types import Span

_LEARNING: Final = 16  # searches run in turn before the first decision
_TRIAL: Final = 16  # searches in a row that say what a plan costs
_BLOCK: Final = 64  # searches in turn between two looks at the costs
_WINDOW: Final = 64  # searches that a cost is the median of
_RETRY_IN_TURN: Final = 15  # searches by another plan after which one is run in turn
_RETRY: Final = 2_048  # searches before a plan is tried again, twice as many each time
_LEGS: Final = ("bm25", "embed", "vector")


@dataclass(frozen=True, slots=True)
class PlanDecision:
    """The plan in force, why, and the costs in microseconds behind it.

    `costs_us` holds what a search costs by each plan that may be chosen.
    """

    plan: str
    overlap: bool
    reason: str
    bm25_us: float
    embed_us: float
    vector_us: float
    hop_us: float
    costs_us: Mapping[str, float]


class SearchPlanner:
    """Chooses the cheapest of the plans allowed, `IN_TURN` being one of them.

    Costs are medians over the latest searches, so that a stall of the machine decides nothing. What
    a plan costs is predicted from the legs (its longest chain plus `hop_ns`, the cost of handing
    work to another core and having it back) until it has been tried: some searches in a row, if the
    prediction beats the plan in force. Plans not chosen are run again now and then, so that a
    change shows: a search in turn often, since it costs little; a trial of another ever more
    rarely, and only while it would win if handing over cost nothing.

    Searches run in blocks of one plan, and costs are looked at between blocks, so that following
    the plan costs next to nothing.
    """

    def __init__(self, plans: Sequence[Plan], cores: int, hop_ns: float) -> None:
        self._plans = tuple(plan for plan in plans if plan is Plan.IN_TURN or cores > 1)
        self._cores = cores
        self._hop_ns = hop_ns
        self._totals: dict[Plan, deque[int]] = {plan: deque(maxlen=_WINDOW) for plan in plans}
        self._legs: dict[str, deque[int]] = {leg: deque(maxlen=_WINDOW) for leg in _LEGS}
        self._costs: dict[Plan, float] = {}
        self._leg_costs = dict.fromkeys(_LEGS, 0.0)
        self._due: dict[Plan, int] = dict.fromkeys(plans, _RETRY)
        self._patience: dict[Plan, int] = dict.fromkeys(plans, 2 * _RETRY)
        self._tried: set[Plan] = set()
        self._searches = 0
        self._plan = Plan.IN_TURN
        self._left = _LEARNING

    @property
    def vector_first(self) -> bool:
        """Whether the vector leg is the longer one."""
        return self._leg_costs["vector"] >= self._leg_costs["bm25"]

    @property
    def in_turn_ns(self) -> float:
        """What a search in turn costs, ns; 0 until known."""
        return self._costs.get(Plan.IN_TURN, 0.0)

    def choose(self) -> Plan:
        """Return the plan of the next search."""
        if self._left <= 0:
            self._begin_block()
        return self._plan

    def learn(self, plan: Plan, total_ns: int, spans: Sequence[Span]) -> None:
        """Take in what a search by the plan chosen cost; `spans` are its legs'."""
        self._left -= 1
        self._searches += 1
        self._totals[plan].append(total_ns)
        # The legs' costs only say what other plans may cost: in the long run, every eighth will do.
        if plan is Plan.IN_TURN and (self._searches <= _LEARNING or not self._left & 7):
            for span in spans:
                self._legs[span.name].append(span.end_ns - span.start_ns)

    def skip(self) -> None:
        """Take note that a search by the plan chosen failed, and cost what says nothing."""
        self._left -= 1

    def decision(self) -> PlanDecision:
        """Return the plan in force and why."""
        self._take_stock()
        best = self._best()
        costs = {plan: self._cost(plan) / 1e3 for plan in self._plans}
        bm25, embed, vector = (self._leg_costs[leg] / 1e3 for leg in _LEGS)
        return PlanDecision(
            best.value,
            best.overlaps,
            self._reason(best, costs),
            bm25,
            embed,
            vector,
            self._hop_ns / 1e3,
            {plan.value: cost for plan, cost in costs.items()},
        )

    def _reason(self, best: Plan, costs: Mapping[Plan, float]) -> str:
        if len(costs) == 1:
            return "no other plan is allowed, or there is one core only"
        if self._searches < _LEARNING:
            return f"costs are known after {_LEARNING} searches in turn"
        said = {
            plan: f"{plan.value} {'measured' if plan in self._costs else 'predicted'} {cost:.0f} us"
            for plan, cost in costs.items()
        }
        others = (text for plan, text in said.items() if plan is not best)
        return f"{said[best]}, {', '.join(others)}"

    def _begin_block(self) -> None:
        self._take_stock()
        best = self._best()
        trial = self._trial(best)
        if trial is not None:
            self._tried.add(trial)
            self._due[trial] = self._searches + self._patience[trial]
            self._patience[trial] *= 2
            self._totals[trial].clear()
            self._plan, self._left = trial, _TRIAL
        elif best is Plan.IN_TURN:
            self._plan, self._left = best, _BLOCK
        elif self._plan is Plan.IN_TURN:
            self._plan, self._left = best, _RETRY_IN_TURN
        else:
            self._plan, self._left = Plan.IN_TURN, 1

    def _trial(self, best: Plan) -> Plan | None:
        """Return a plan that may be cheaper than the best and is due to be tried."""
        known = self._cost(best)
        for plan in self._plans:
            if plan is best or plan is Plan.IN_TURN:
                continue
            promising = plan not in self._tried and self._cost(plan) < known
            if promising or (self._searches >= self._due[plan] and self._floor(plan) < known):
                return plan
        return None

    def _take_stock(self) -> None:
        """Bring the costs up to date with the searches of the block that ends."""
        totals = self._totals[self._plan]
        if totals:
            self._costs[self._plan] = _median(totals)
        if self._plan is Plan.IN_TURN:
            for leg, taken in self._legs.items():
                if taken:
                    self._leg_costs[leg] = _median(taken)

    def _best(self) -> Plan:
        """Return the cheapest plan among those measured."""
        return min(self._costs, key=self._cost, default=Plan.IN_TURN)

    def _cost(self, plan: Plan) -> float:
        """Return what a search by this plan costs, ns: measured, or predicted."""
        if plan in self._costs:
            return self._costs[plan]
        return self._floor(plan) + (0.0 if plan is Plan.IN_TURN else self._hop_ns)

    def _floor(self, plan: Plan) -> float:
        """Return what a search would cost at least, ns: its longest chain of legs."""
        bm25, embed, vector = (self._leg_costs[leg] for leg in _LEGS)
        parts = self._cores if plan.shards else 1
        if not plan.overlaps:
            return bm25 / parts + embed + vector / parts
        if not plan.shards:
            return max(bm25, embed + vector)
        return max((bm25 + embed + vector) / parts, embed + vector / parts)


def _median(values: deque[int]) -> int:
    """Return the upper median; `statistics.median` takes several times as long."""
    return sorted(values)[len(values) // 2]
