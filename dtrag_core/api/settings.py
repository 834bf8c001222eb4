"""What a service is told when it is built; nothing else steers it."""

from dataclasses import dataclass
from pathlib import Path

from dtrag_core.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bounds of what a client may send and how long it may take; sizes in bytes.

    `bulk` is for adding chunks and for batch jobs, `most` for everything else; `waiting` is how
    many unfinished bodies are waited for at the same time, each at most `seconds`.
    """

    most: int = 1 << 20
    bulk: int = 16 << 20
    seconds: float = 5.0
    waiting: int = 256


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of what a connection may cost beside its requests; times in seconds.

    `most` is how many there may be of a process, `pipelined` how many requests may wait on one.
    Headers must come within `headers_s`; they, and what frames a body, may have `header_bytes` (and
    8 bytes more for each of the body). A connection is closed when it was idle for `idle_s`, or
    when nothing of a large answer was read for `unread_s`.
    """

    most: int = 4_096
    pipelined: int = 32
    headers_s: float = 10.0
    header_bytes: int = 64 << 10
    idle_s: int = 30
    unread_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much the service takes on before it refuses.

    The number of searches in flight adapts between 1 and `searches` so that they take about
    `target_s`; `streams`, `jobs` and `writes` are fixed numbers in flight, with `queue` more
    waiting for at most `queue_s`.
    """

    target_s: float = 0.035
    searches: int = 256
    streams: int = 4
    jobs: int = 16
    writes: int = 1
    queue: int = 32
    queue_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """A service over one index directory.

    `workers`: processes that serve it. `keys`: file of API keys; None lets everyone in. `jobs`:
    database of batch jobs; None puts it beside the index. `shared`: folder for what the worker
    processes of this run share; None if there is one process. `cache`: answers kept, 0 for none,
    each for `cache_s` seconds. `batch_size`: searches computed together at most; 1 turns batching
    off. `timeout_s`: deadline of a request that names none; `hang_s`: after how long a batch is
    given up. `answer_bytes`: how large the texts of one answer, or of a part of a stream, may be.
    `queries`: what `GET /queries` hands out to load tests; None: there is no such route.
    """

    index: Path
    workers: int = 1
    keys: Path | None = None
    jobs: Path | None = None
    shared: Path | None = None
    cache: int = 10_000
    cache_s: float = 3_600.0
    batch_size: int = 32
    timeout_s: float = 10.0
    hang_s: float = 5.0
    answer_bytes: int = 16 << 20
    bodies: BodyLimits = BodyLimits()
    connections: ConnectionLimits = ConnectionLimits()
    capacity: Capacity = Capacity()
    queries: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.cache < 0 or self.batch_size < 1 or self.timeout_s <= 0:
            raise InvalidRequestError(
                "a service needs cache >= 0, batch_size >= 1 and timeout_s > 0, got "
                f"{self.cache}, {self.batch_size}, {self.timeout_s}"
            )

    @property
    def job_file(self) -> Path:
        """Where batch jobs are kept."""
        index = self.index.resolve()
        return self.jobs or index.with_name(f"{index.name}-jobs.sqlite")
