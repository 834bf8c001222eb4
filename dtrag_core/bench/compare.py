"""Two results against each other: what differs, and by how much more than chance and noise.

Each metric has a test of its own (`dtrag_core.bench.contrasts`); the p-values are adjusted together
(Holm). Whatever lies below the noise floor of either run is not called a difference.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from dtrag_core.bench.contrasts import CONTRASTS, Finding, Result
from dtrag_core.bench.statistics import holm
from dtrag_core.errors import ResultError

ALPHA: Final = 0.05

_SAME: Final = (
    ("dataset", "fingerprint"),
    ("engine", "name"),
    ("engine", "embedder"),
    ("engine", "bm25"),
    ("engine", "analyzer"),
    ("engine", "fusion"),
    ("workload",),
    ("load", "plan"),
    ("cache", "settings"),
    ("environment", "cpu_model"),
    ("environment", "cores"),
    ("environment", "memory_bytes"),
    ("environment", "architecture"),
    ("environment", "container"),
    ("environment", "thread_env"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of two runs.

    `ratio`: b/a with its 95 % interval where there is one; of times, after division by the
    reference kernel. `p`: of the metric's test, None where values are exact or nothing can be
    tested; `p_holm`: adjusted over all tests. `why` says how `significant` was decided.
    """

    metric: str
    a: float | None
    b: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    p: float | None
    p_holm: float | None
    significant: bool
    why: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs compared. `forced`: what disagrees between them, when compared all the same."""

    run_a: str
    run_b: str
    floor: float
    rows: tuple[Row, ...]
    forced: tuple[str, ...]

    @property
    def different(self) -> bool:
        """Whether any metric differs significantly."""
        return any(row.significant for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names, and `different`."""
        return {**asdict(self), "different": self.different}


def differences(a: Result, b: Result) -> tuple[str, ...]:
    """Return what must agree between comparable results and does not, with both values."""
    found = []
    for path in _SAME:
        left: Any = a
        right: Any = b
        for key in path:
            left, right = left[key], right[key]
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            keys = sorted({*left, *right})
            pairs = [("/".join((*path, key)), left.get(key), right.get(key)) for key in keys]
        else:
            pairs = [("/".join(path), left, right)]
        found += [f"{name}: {x!r} != {y!r}" for name, x, y in pairs if x != y]
    return tuple(found)


def compare(a: Result, b: Result, force: bool = False) -> Comparison:
    """Compare two results as `dtrag_core.bench.results.read_result` returns them.

    Raises `ResultError` naming what differs if dataset, engine, workload or machine disagree,
    unless `force`, which marks the comparison instead.
    """
    disagreeing = differences(a, b)
    if disagreeing and not force:
        raise ResultError(
            f"{a['run_id']} and {b['run_id']} do not compare: {'; '.join(disagreeing)}; measure "
            "under the same conditions, or force the comparison, which marks it"
        )
    floor = max(float(each["noise_floor"]["floor"]) for each in (a, b))
    findings = {metric: find(a, b) for metric, find in CONTRASTS.items()}
    tested = {metric: found.p for metric, found in findings.items() if found.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())).tolist(), strict=True))
    rows = tuple(_row(metric, f, adjusted.get(metric), floor) for metric, f in findings.items())
    return Comparison(a["run_id"], b["run_id"], floor, rows, disagreeing)


def _row(metric: str, finding: Finding, p_holm: float | None, floor: float) -> Row:
    significant, why = bool(finding.exact), finding.why
    if p_holm is not None:
        significant = p_holm < ALPHA
        why += f"; p {'<' if significant else '>='} {ALPHA} after Holm"
    ratio = finding.ratio[0]
    if significant and ratio is not None and finding.floor is not None:
        floor = max(floor, finding.floor)
        if abs(math.log(ratio)) <= math.log1p(floor):
            significant = False
            why += f"; within the noise floor, {floor:.1%}"
    return Row(metric, finding.a, finding.b, *finding.ratio, finding.p, p_holm, significant, why)
