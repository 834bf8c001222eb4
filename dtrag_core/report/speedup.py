"""The section on the speed-up: the ratios, and the plan the executor chose from measured costs."""

from collections.abc import Mapping
from typing import Any, Final

from dtrag_core.report import figures_speed, tables_speed
from dtrag_core.report.formats import TIMES, Result, bounds, decimals, percent, significant
from dtrag_core.report.section import Section

_PLANS: Final = {
    "in_turn": "run the legs in turn",
    "overlapped": "run the legs together",
    "sharded": "cut each leg over the cores",
    "sharded_overlapped": "run the legs together, each cut over the cores",
}


def speedup(result: Result) -> Section:
    """Return the section."""
    overlap = result["speedup"]["overlap"]
    decision, measured = overlap["decision"], overlap["measured"]
    chosen = _PLANS[decision.get("plan", "overlapped" if decision["overlap"] else "in_turn")]
    share = result["modes"]["optimized"].get("overlapped_share", 0.0)
    return Section(
        "speedup",
        "Speed-up, and what brings it",
        (
            "A ratio of 1 means no difference; an interval that touches the grey band is not told "
            "apart from noise. Each ratio is the geometric mean over rounds, with Student's t "
            "interval on its logarithm. Adding a switch is measured on the arm before it, leaving "
            "one out on the arm that has them all; without int8 there are no lists of codes, so "
            "that ann is left out with it.",
            "Running two legs at the same time could bring at most "
            f"{decimals(overlap['bound'])} {TIMES} here, whole legs on a core each. Overlap and "
            f"shards together, the cost of deciding included, brought "
            f"{decimals(measured['value'])} {TIMES} ({bounds(measured)}); legs ran together in "
            f"{percent(share)} % of the searches. The executor decided to "
            f"{chosen}: {decision['reason']} "
            f"(BM25 {significant(decision['bm25_us'])} µs, vector "
            f"{significant(decision['vector_us'])} µs, hand-over "
            f"{significant(decision['hop_us'])} µs).{_costs(decision)}",
        ),
        (figures_speed.forest(result), tables_speed.ladder(result), figures_speed.rounds(result)),
    )


def _costs(decision: Mapping[str, Any]) -> str:
    costs = decision.get("costs_us", {})
    shown = (f"{plan.replace('_', ' ')} {significant(us)} µs" for plan, us in costs.items())
    return f" What a search's legs cost by each plan: {', '.join(shown)}." if costs else ""
