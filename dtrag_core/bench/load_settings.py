"""What a load on the service is made of."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dtrag_core.bench.mixes import MIXES
from dtrag_core.bench.scenarios import SCENARIOS, scenario, segments_of
from dtrag_core.bench.shapes import Shape
from dtrag_core.errors import InvalidRequestError, UnknownNameError


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """Everything that shapes a load on the service. Rates in requests/s, durations in seconds.

    `dataset`: where the queries come from, at most `queries` distinct ones; None asks the service
    for them. `seconds`: None is the scenario's usual length. `options` go into every search.
    `cost_seconds`: how long an endpoint that finds nothing is measured beside, 0 for not at all.
    """

    scenario: str = "steady"
    mix: str = "unique"
    rate: float = 50.0
    seconds: float | None = None
    dataset: str | None = "pydocs"
    queries: int = 5_000
    options: Mapping[str, Any] = field(default_factory=dict)
    warmup: int = 200
    cost_seconds: float = 5.0
    timeout_s: float = 5.0
    max_in_flight: int = 1_000
    seed: int = 20260101

    def __post_init__(self) -> None:
        if self.scenario not in SCENARIOS:
            raise UnknownNameError("scenario", self.scenario, SCENARIOS)
        if self.mix not in MIXES:
            raise UnknownNameError("mix", self.mix, MIXES)
        for name in ("rate", "seconds", "timeout_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InvalidRequestError(f"{name} must be positive, got {value}")
        if self.queries < 1 or self.max_in_flight < 1:
            raise InvalidRequestError(
                f"queries and max_in_flight must be at least 1, got {self.queries} and "
                f"{self.max_in_flight}"
            )
        if self.warmup < 0 or self.seed < 0 or not 0 <= self.cost_seconds < math.inf:
            raise InvalidRequestError(
                f"warmup, seed and cost_seconds must be 0 or more, got {self.warmup}, "
                f"{self.seed} and {self.cost_seconds}"
            )

    @property
    def shape(self) -> Shape:
        """The rate over time, of all streams together."""
        return scenario(self.scenario, self.rate, self.seconds)

    @property
    def segments(self) -> int:
        """How many segments the load is cut into."""
        return segments_of(self.scenario, self.shape)

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names; `seconds` is the real length, `shape` its points."""
        shape = self.shape
        points = [list(point) for point in shape.points]
        return {**asdict(self), "seconds": shape.seconds, "shape": points}
