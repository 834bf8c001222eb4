"""What a batch processor is told and tells: settings, requests, statistics."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from dtrag_core.errors import InvalidRequestError

P = TypeVar("P", bound=Hashable)


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How requests are gathered.

    At most `parallel` batches of at most `size` requests run at a time, and `queue_limit` requests
    wait. With `hold`, a batch that is not full waits for more until its oldest request has waited
    `wait_s` seconds. A priority grows by one each `aging_s` seconds.
    """

    size: int = 32
    wait_s: float = 0.002
    parallel: int = 1
    queue_limit: int = 1024
    aging_s: float = 0.5
    hold: bool = False

    def __post_init__(self) -> None:
        for name in ("size", "parallel", "queue_limit"):
            if getattr(self, name) < 1:
                raise InvalidRequestError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("wait_s", "aging_s"):
            if not getattr(self, name) > 0:
                raise InvalidRequestError(f"{name} must be above 0, got {getattr(self, name)}")


class Request(NamedTuple, Generic[P]):
    """One request; `deadline` in seconds on the processor's clock, None for no hurry."""

    query: str
    params: P
    priority: int = 0
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """Counts since the start, but for what waits and runs now.

    Of the `submitted`, `shared` joined a computation that another had asked for; each ends as one
    of `answered`, `failed`, `expired` (deadline) or `left` (cancelled). `refused` found no place.
    `dropped` computations nobody waited for any more; `computed` ran, in `batches`.
    """

    waiting: int
    running_batches: int
    submitted: int
    shared: int
    answered: int
    failed: int
    expired: int
    left: int
    refused: int
    dropped: int
    computed: int
    batches: int
    batch_s: float

    @property
    def mean_size(self) -> float:
        """Computations a batch; 0 before the first."""
        return self.computed / self.batches if self.batches else 0.0
