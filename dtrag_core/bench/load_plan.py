"""When requests leave: an open-loop schedule, made before anything is sent."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from dtrag_core.bench.clock import NS_PER_S
from dtrag_core.bench.shapes import Shape
from dtrag_core.errors import MeasuringError

Arrivals = Literal["poisson", "constant"]


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What is sent: `rate` requests per s for `seconds`, cut into `segments` of equal length.

    `poisson` arrivals are those of a Poisson process given that `rate * seconds` come; `constant`
    ones are evenly spaced. A request not answered `timeout_s` after it was meant to leave has timed
    out; one due while `max_in_flight` are unanswered is dropped. With a `shape` requests come as
    its rate rises and falls; `rate` and `seconds` are then its mean and its length (see `shaped`).
    """

    rate: float
    seconds: float
    segments: int = 12
    arrivals: Arrivals = "poisson"
    seed: int = 0
    timeout_s: float = 5.0
    max_in_flight: int = 1_000
    shape: Shape | None = None

    def __post_init__(self) -> None:
        if (
            min(self.rate, self.seconds, self.timeout_s) <= 0
            or min(self.segments, self.max_in_flight, self.requests) < 1
        ):
            raise MeasuringError(f"a load needs a rate, a duration and a request or more: {self}")
        if self.arrivals not in get_args(Arrivals):
            raise MeasuringError(f"arrivals are one of {get_args(Arrivals)}, not {self.arrivals!r}")
        own = self.shape and (self.shape.mean, self.shape.seconds)
        if own and own != (self.rate, self.seconds):
            raise MeasuringError(
                f"the shape sends {own[0]:g}/s for {own[1]:g} s, the plan says {self.rate:g}/s for "
                f"{self.seconds:g} s; make it with LoadPlan.shaped"
            )

    @classmethod
    def shaped(cls, shape: Shape, **more: Any) -> Self:  # noqa: ANN401 (the other fields)
        """Return a plan of this shape; `more` are the other fields."""
        return cls(shape.mean, shape.seconds, shape=shape, **more)

    @property
    def requests(self) -> int:
        """How many requests are sent."""
        return round(self.rate * self.seconds)

    def schedule_ns(self) -> NDArray[np.int64]:
        """Return when each request is meant to leave, ns from the start, int64[requests]."""
        n, span = self.requests, self.seconds * NS_PER_S
        constant = self.arrivals == "constant"
        if self.shape is not None:
            rng = np.random.default_rng(self.seed)
            shares = (np.arange(n) + 0.5) / n if constant else np.sort(rng.uniform(size=n))
            return (self.shape.times(shares) * NS_PER_S).astype(np.int64)
        if constant:
            return (np.arange(n) * (span / n)).astype(np.int64)
        times = np.random.default_rng(self.seed).uniform(0, span, n)
        return np.sort(times).astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names; `shape` only if there is one, as its points."""
        fields = asdict(self)
        shape = fields.pop("shape")
        return fields if shape is None else {**fields, "shape": shape["points"]}
