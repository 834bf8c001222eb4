"""What a report opens with: the verdict table, and one sentence that counts it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dtrag_core.report.formats import QUANTITIES, Result, count, percent, span, target_of
from dtrag_core.targets import PERFORMANCE_TARGETS

_SIGNS: Final = {"at_most": "≤", "at_least": "≥"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the verdict table, as text."""

    metric: str
    name: str
    target: str
    before: str
    value: str
    interval: str
    n: str
    verdict: str
    reason: str
    definition: str


def verdicts(result: Result) -> tuple[Verdict, ...]:
    """Return the verdict table, in the order of `PERFORMANCE_TARGETS`."""
    return tuple(verdict(target_of(result, metric)) for metric in PERFORMANCE_TARGETS)


def verdict(target: Mapping[str, Any]) -> Verdict:
    """Return the row of one target of a result."""
    metric = target["metric"]
    quantity = QUANTITIES[metric]
    goal = target["target"]
    bound = percent(goal, 0) if quantity.share else f"{goal:g}"
    return Verdict(
        metric,
        quantity.name,
        f"{_SIGNS[PERFORMANCE_TARGETS[metric].direction]} {bound} {quantity.unit}",
        target["before"],
        quantity.with_unit(target["value"]),
        span(quantity.text(target["ci_low"]), quantity.text(target["ci_high"])),
        count(target["n"]),
        target["verdict"],
        target["reason"],
        target["definition"],
    )


def summary(result: Result) -> str:
    """Return one sentence: how many targets hold, fail, or stay open."""
    counts = Counter(target["verdict"] for target in result["targets"])
    passed, failed, undecided = (counts[v] for v in ("PASS", "FAIL", "INCONCLUSIVE"))
    return (
        f"Of {len(result['targets'])} targets: {passed} PASS, {failed} FAIL, "
        f"{undecided} INCONCLUSIVE."
    )
