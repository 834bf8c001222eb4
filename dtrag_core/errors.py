"""Every error the package raises on purpose.

Each message carries the offending value, the expected one where there is one, and the way out.

    DtragError
    ├── UsageError                  the caller asked for something that cannot be (exit code 2)
    │   ├── InvalidRequestError     a query, filter, depth or parameter out of its domain
    │   │   └── UnknownFilterError  ... a path or type that no chunk has
    │   ├── UnknownNameError        a dataset, embedder, engine or mode nobody registered
    │   ├── UnknownJobError         no such batch job, or not the caller's
    │   └── MissingExtraError       an optional dependency is not installed
    ├── DataError                   an input file says something impossible
    │   └── MalformedLineError      ... at a known file and line
    ├── EmbeddingError              vectors of the wrong shape, NaN, or of an unknown text
    ├── IndexDirectoryError         an index directory that cannot be used
    │   ├── IndexCorruptError       a file is missing, truncated or altered
    │   └── IndexMismatchError      built with other settings than those asked for
    ├── BuildError                  an index could not be written (the previous one is intact)
    │   └── IndexBusyError          ... because another process is writing it
    ├── SearchError                 a search failed; no result is invented in its place
    │   ├── LegFailedError          one leg failed, and which
    │   ├── MemoryBudgetError       the result would not fit the byte budget
    │   ├── DeadlineExceededError   its time was up before it was answered
    │   └── OverloadedError         refused, not failed: worth trying again after `retry_after_s`
    │       ├── CircuitOpenError    what it needs has been failing or slow
    │       ├── RateLimitedError    beyond the admitted rate or number in flight
    │       ├── QueueFullError      no place left to wait in
    │       └── QueueTimeoutError   waited too long for its turn
    ├── MeasuringError              a measurement cannot be made, or its parts do not fit
    └── ResultError                 a result file is invalid, or two do not compare
"""

from collections.abc import Iterable
from pathlib import Path


class DtragError(Exception):
    """Base of everything raised on purpose."""


class UsageError(DtragError, ValueError):
    """The caller asked for something that cannot be."""


class InvalidRequestError(UsageError):
    """A query, filter, depth or parameter is outside its domain."""


class UnknownFilterError(InvalidRequestError):
    """A filter names a taxonomy path or a type that no chunk has."""


class UnknownNameError(UsageError):
    """A name nobody registered; lists those that are."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(sorted(known))}")
        self.kind = kind
        self.name = name


class UnknownJobError(UsageError):
    """No such batch job is known, or it belongs to somebody else."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"unknown job {job_id!r}; a job is known to whoever submitted it, until some time "
            "after its results expired"
        )
        self.job_id = job_id


class MissingExtraError(UsageError, ImportError):
    """An optional dependency is not installed; names the extra that brings it."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed; "
            f"install the extra: pip install 'dtrag-bench[{extra}]'"
        )
        self.extra = extra


class DataError(DtragError, ValueError):
    """An input file says something impossible."""


class MalformedLineError(DataError):
    """One line of an input file cannot be read."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path}:{line}: {problem}")
        self.path = path
        self.line = line


class EmbeddingError(DtragError, ValueError):
    """Vectors of the wrong shape, with NaN, or of a text that has none."""


class IndexDirectoryError(DtragError):
    """An index directory cannot be used."""


class IndexCorruptError(IndexDirectoryError):
    """A file of the index is missing, truncated or altered."""


class IndexMismatchError(IndexDirectoryError):
    """The index was built with other settings than those asked for."""


class BuildError(DtragError):
    """An index could not be written; whatever was there before is intact."""


class IndexBusyError(BuildError):
    """Another process is writing the index; it is worth trying again."""


class SearchError(DtragError):
    """A search failed."""


class LegFailedError(SearchError):
    """One leg of a hybrid search failed."""

    def __init__(self, leg: str, cause: BaseException) -> None:
        super().__init__(f"the {leg} leg failed: {type(cause).__name__}: {cause}")
        self.leg = leg


class MemoryBudgetError(SearchError):
    """A result would not fit the byte budget."""

    def __init__(self, needed: int, budget: int, way_out: str) -> None:
        super().__init__(f"needs {needed:,} bytes, the budget is {budget:,} bytes; {way_out}")
        self.needed = needed
        self.budget = budget


class DeadlineExceededError(SearchError):
    """The time of a request was up before it was answered."""


class OverloadedError(SearchError):
    """A request was refused to protect the others; it is worth trying again later.

    `problem` says what was asked and what the limit is; `retry_after_s` is in seconds.
    """

    def __init__(self, problem: str, retry_after_s: float) -> None:
        super().__init__(f"{problem}; try again in {retry_after_s:.3g} s")
        self.retry_after_s = retry_after_s


class CircuitOpenError(OverloadedError):
    """What the request needs (`part`) has been failing or slow, and is left alone for a while."""

    def __init__(self, part: str, problem: str, retry_after_s: float) -> None:
        super().__init__(f"{part} {problem}", retry_after_s)
        self.part = part


class RateLimitedError(OverloadedError):
    """The request is beyond the admitted rate or number in flight."""


class QueueFullError(OverloadedError):
    """There is no place left to wait in."""


class QueueTimeoutError(OverloadedError):
    """The request waited too long for its turn."""


class MeasuringError(DtragError):
    """A measurement cannot be made, or its parts do not fit together."""


class ResultError(DtragError, ValueError):
    """A result file is invalid, or two results do not compare."""
