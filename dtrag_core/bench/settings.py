"""What a run measures, and for how long."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from dtrag_core.bench.arms import Depths
from dtrag_core.bench.workload import CacheMix
from dtrag_core.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """Everything that shapes a run but the index. Durations in seconds, rates in requests/s.

    `rates`: the first is the target rate the load runs at; any others are tried for a short while
    and shown beside the capacity search. `ingest_seconds`: latency beside a writer, 0 to leave it
    out. `stress_seconds`: of each overload, in whole half seconds; 0 leaves out overload and
    batching. `rounds` are those of all `processes` together.
    """

    depths: Depths = field(default_factory=Depths)
    rates: tuple[float, ...] = (50.0,)
    load_seconds: float = 120.0
    segments: int = 12
    capacity_seconds: float = 60.0
    ingest_seconds: float = 60.0
    stress_seconds: float = 0.0
    rounds: int = 50
    queries_per_round: int = 100
    processes: int = 5
    warmup: int = 100
    cache: CacheMix = field(default_factory=CacheMix)
    seed: int = 20260101

    def __post_init__(self) -> None:
        counts = {
            "rounds": self.rounds,
            "queries_per_round": self.queries_per_round,
            "processes": self.processes,
            "segments": self.segments,
        }
        for name, value in counts.items():
            if value < 1:
                raise InvalidRequestError(f"{name} must be at least 1, got {value}")
        if self.rounds < 2 * self.processes:
            raise InvalidRequestError(
                f"{self.rounds} rounds are too few for {self.processes} processes: ask for "
                f"{2 * self.processes} or more"
            )
        numbers = all(isinstance(rate, int | float) for rate in self.rates)
        if not self.rates or not numbers or not all(0 < rate < math.inf for rate in self.rates):
            raise InvalidRequestError(f"rates must be positive, got {list(self.rates)}")
        for name in ("load_seconds", "capacity_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidRequestError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("ingest_seconds", "stress_seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidRequestError(
                    f"{name} must be 0 (not measured) or more, got {getattr(self, name)}"
                )
        if self.seed < 0 or self.warmup < 0:
            raise InvalidRequestError(
                f"seed and warmup must be 0 or more, got {self.seed} and {self.warmup}"
            )

    @property
    def rate(self) -> float:
        """The target rate."""
        return self.rates[0]

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the settings that `to_json` wrote."""
        return cls(
            **{
                **data,
                "depths": Depths(**data["depths"]),
                "cache": CacheMix(**data["cache"]),
                "rates": tuple(data["rates"]),
            }
        )
