"""What a comparison of engines measures."""

from dataclasses import dataclass
from typing import Final

from dtrag_core.errors import InvalidRequestError

BM25, HYBRID = COMPARISONS = ("bm25", "hybrid")
RECALL_FLOOR: Final = 0.99


@dataclass(frozen=True, slots=True)
class PeerPlan:
    """What is measured: `rounds` of `queries` each, the top `k`, hybrid legs `depth` deep.

    `judged` caps the queries that quality is measured on; `comparisons` are of `COMPARISONS`.
    `recall_floor` is the vector legs' recall@10 that each engine is tuned to; 0 leaves each at what
    its documentation recommends.
    """

    comparisons: tuple[str, ...] = COMPARISONS
    rounds: int = 30
    queries: int = 100
    warmup: int = 50
    judged: int = 300
    k: int = 10
    depth: int = 50
    seed: int = 0
    recall_floor: float = RECALL_FLOOR

    def __post_init__(self) -> None:
        if min(self.rounds, self.queries, self.judged, self.k) < 1 or self.warmup < 1:
            raise InvalidRequestError(
                f"rounds, queries, warm-up, judged and k must be at least 1, got {self.rounds}, "
                f"{self.queries}, {self.warmup}, {self.judged} and {self.k}"
            )
        if self.depth < self.k:
            raise InvalidRequestError(
                f"the legs' depth must be at least k, got depth {self.depth} and k {self.k}"
            )
        if not 0 <= self.recall_floor <= 1:
            raise InvalidRequestError(f"the recall floor must be in 0..1, got {self.recall_floor}")
