"""What a batch job is to those who submit, ask about and run it."""

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, TypeAlias

from dtrag_core.errors import InvalidRequestError, OverloadedError

State: TypeAlias = Literal["queued", "running", "completed", "failed", "cancelled", "expired"]


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Limits and times (seconds) of the jobs of one store.

    Results are kept for `ttl_s` after a job's end, and that it expired is known for another
    `tombstone_s`. At most `jobs` are unfinished and `queries` kept, of one owner `owner_jobs` and
    `owner_queries`; a job has at most `job_queries`. A priority grows by one each `aging_s`; a
    job's queries queue as if submitted `spacing_s` apart, so that long jobs leave room for short
    ones. What a worker claims is its own for `lease_s`. A query lost with its worker `lone_strikes`
    times is then tried alone, and after `most_strikes` given up. A locked database is waited for
    `busy_s`.
    """

    ttl_s: float = 3_600.0
    tombstone_s: float = 86_400.0
    jobs: int = 2_048
    owner_jobs: int = 256
    queries: int = 500_000
    owner_queries: int = 100_000
    job_queries: int = 10_000
    aging_s: float = 5.0
    spacing_s: float = 0.01
    lease_s: float = 60.0
    lone_strikes: int = 3
    most_strikes: int = 16
    busy_s: float = 10.0

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if not value > 0:
                raise InvalidRequestError(f"{setting.name} must be above 0, got {value}")


class Problem(NamedTuple):
    """Why a query has no answer, as the JSON text of a problem object."""

    json: str


Outcome: TypeAlias = str | Problem | OverloadedError
"""The JSON text of an answer, a problem, or a refusal: the query waits for another try."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A query a worker has to answer: its number in the job, its JSON text, and by which lease."""

    job_id: str
    index: int
    query: str
    number: int
    lease: int


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far a job is; `results` and `errors` hold (index, JSON text) of the part asked for.

    `completed` counts the queries that ended, `failed` those of them that ended with a problem. A
    job is "failed" if all of its queries did. Times are seconds since the epoch, None before the
    job's end; once "expired", nothing is left of the results.
    """

    job_id: str
    status: State
    total: int
    completed: int
    failed: int
    submitted_at: float
    ended_at: float | None
    expires_at: float | None
    results: tuple[tuple[int, str], ...]
    errors: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """What the store holds now, of all worker processes together."""

    unfinished_jobs: int
    waiting_queries: int
    running_queries: int
    kept_queries: int
