"""The verdict table of a result, as text."""

from collections.abc import Mapping
from typing import Any

from dtrag_core.cli.output import table
from dtrag_core.report.formats import NOTHING, QUANTITIES, span
from dtrag_core.targets import PERFORMANCE_TARGETS


def verdict_table(result: Mapping[str, Any]) -> str:
    """Return target, value, interval, verdict and reason of every target, a line each."""
    rows = [_row(target) for target in result["targets"]]
    return table(("target", "", "value", "95 % interval", "verdict", "reason"), rows, "llrrl")


def _row(target: Mapping[str, Any]) -> tuple[str, ...]:
    quantity = QUANTITIES[target["metric"]]
    sign = "<=" if PERFORMANCE_TARGETS[target["metric"]].direction == "at_most" else ">="
    low, high = (quantity.text(target[end]) for end in ("ci_low", "ci_high"))
    return (
        quantity.name,
        f"{sign} {quantity.with_unit(target['target'])}",
        quantity.with_unit(target["value"]) if target["value"] is not None else NOTHING,
        span(low, high),
        target["verdict"],
        target["reason"],
    )
