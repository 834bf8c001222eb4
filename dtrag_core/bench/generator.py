"""The load generator audits itself: does it keep a schedule when the service costs nothing."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from dtrag_core.bench.clock import NS_PER_MS, Clock
from dtrag_core.bench.gates import SATURATED
from dtrag_core.bench.load import run_load
from dtrag_core.bench.load_plan import LoadPlan

LATE_NS: Final = 10 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How the generator did alone, against a service that answers at once.

    It is `ok` if nine requests in ten left within 10 ms of their time and none failed.
    """

    rate: float
    lag_p50_ns: int
    lag_p90_ns: int
    failed: int
    cpu_share: float

    @property
    def ok(self) -> bool:
        """Whether the generator keeps up with the rate."""
        return self.lag_p90_ns <= LATE_NS and not self.failed

    def obstacles(self) -> tuple[str, ...]:
        """Return why nothing may be concluded from a run with this generator, if anything."""
        return () if self.ok else (SATURATED,)

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names, and `ok`."""
        return {**asdict(self), "ok": self.ok}


async def self_test(rate: float, clock: Clock, seconds: float = 2.0, seed: int = 0) -> SelfTest:
    """Send twice `rate` to a service that answers at once, and return how the generator did."""

    async def at_once(_: object) -> None:
        pass

    plan = LoadPlan(2 * rate, seconds, segments=2, seed=seed)
    result = await run_load(at_once, [None], plan, clock)
    p50, p90 = result.lag.percentile(0.5) or 0, result.lag.percentile(0.9) or 0
    return SelfTest(plan.rate, p50, p90, result.failed, result.cpu_share)
