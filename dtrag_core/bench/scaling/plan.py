"""What a scaling run measures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from dtrag_core.bench.arms import LEGACY_ARM, OPTIMIZED_ARM, Depths
from dtrag_core.datasets.synthetic import SIZES, SyntheticDataset
from dtrag_core.errors import InvalidRequestError

DEFAULT_SIZES: Final = (10_000, 30_000, 100_000, 300_000, 1_000_000)
WARMUP: Final = 100

BM25_ARM: Final = "bm25"
EXACT_ARM: Final = "vector_int8"
IVF_ARM: Final = "vector_ivf"
SCALING_ARMS: Final = (BM25_ARM, EXACT_ARM, IVF_ARM, LEGACY_ARM, OPTIMIZED_ARM)
"""The legs alone, then the hybrid search on both paths."""

_A_ROUND: Final = 50
_QUERIES: Final = range(20, 1_901)


@dataclass(frozen=True, slots=True)
class ScalingPlan:
    """The corpora `synthetic:N` to measure, ascending, and how many queries each answers.

    `passes`: how often each query is asked, so that one that was disturbed is known as such.
    `rebuild`: indexes that are there are built anew, so that all build times are of this run.
    """

    sizes: tuple[int, ...] = DEFAULT_SIZES
    queries: int = 1_000
    rebuild: bool = False
    passes: int = 3
    depths: Depths = field(default_factory=Depths)

    def __post_init__(self) -> None:
        wrong = [size for size in self.sizes if size not in SIZES]
        if wrong or not self.sizes:
            raise InvalidRequestError(
                f"sizes must be {SIZES[0]:,} to {SIZES[-1]:,} chunks, got "
                f"{', '.join(f'{size:,}' for size in wrong) or 'none'}"
            )
        if list(self.sizes) != sorted(set(self.sizes)):
            raise InvalidRequestError(
                f"sizes must ascend, each once, got {', '.join(map(str, self.sizes))}"
            )
        if self.queries not in _QUERIES:
            raise InvalidRequestError(
                f"queries must be {_QUERIES[0]} to {_QUERIES[-1]:,}, got {self.queries}"
            )
        if self.passes < 1:
            raise InvalidRequestError(f"passes must be 1 or more, got {self.passes}")

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Workload:
    """The queries of a run, the same at every size: `warmup` ones, and `batches`, one a round."""

    warmup: tuple[str, ...]
    batches: tuple[tuple[str, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Workload":
        """Return what `to_json` wrote."""
        return cls(tuple(data["warmup"]), tuple(tuple(batch) for batch in data["batches"]))


def make_workload(queries: int) -> Workload:
    """Return the judged queries of the smallest corpus, in equally long rounds of about fifty.

    Its chunks begin every larger corpus, so that each query has its relevant chunk at every size.
    """
    smallest = SyntheticDataset(SIZES[0])
    texts = smallest.query_texts()
    rounds = max(1, round(queries / _A_ROUND))
    each = queries // rounds
    timed = texts[: rounds * each]
    return Workload(
        tuple(texts[-WARMUP:]),
        tuple(tuple(timed[start : start + each]) for start in range(0, len(timed), each)),
    )
