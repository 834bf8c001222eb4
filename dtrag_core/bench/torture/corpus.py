"""What is written under torture: chunks that follow from their id and version alone."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dtrag_core.config import AnalyzerSettings
from dtrag_core.datasets.base import DatasetInfo
from dtrag_core.types import Chunk, JudgedQuery, Split

ANALYZER: Final = AnalyzerSettings("plain")
EMBEDDER: Final = "synthetic"

_TOPICS: Final = 16
_BRANCHES: Final = 4
_DOC_TYPES: Final = ("note", "report")
_LEAST_WORDS, _MOST_WORDS = 8, 50
_RAREST: Final = 5_000


@lru_cache(1 << 14)
def make_chunk(name: str, version: int) -> Chunk:
    """Return the chunk of an id in a version: a few dozen words, some of them its topic's."""
    rng = random.Random(f"{name} {version}")
    topic = rng.randrange(_TOPICS)
    words = [_word(rng, topic) for _ in range(rng.randint(_LEAST_WORDS, _MOST_WORDS))]
    path = (f"branch{topic % _BRANCHES}", f"topic{topic}")
    return Chunk(name, "", " ".join(words), path, rng.choice(_DOC_TYPES), {"version": str(version)})


def _word(rng: random.Random, topic: int) -> str:
    """Draw a word; its first four letters are what the embedder takes for its topic."""
    rank = min(int(rng.paretovariate(0.8)), _RAREST)
    return f"t{topic:03d}{rank % 300}" if rng.random() < 0.4 else f"b{rank % 997:03d}{rank}"


@dataclass(frozen=True, slots=True)
class TortureDataset:
    """The chunks `c0` to `c<size - 1>` in one version, without queries."""

    size: int
    version: int = 0

    @property
    def info(self) -> DatasetInfo:
        """What this dataset is."""
        spec = f"torture:{self.size}"
        fingerprint = f"{spec} {self.version}"
        return DatasetInfo(spec, fingerprint, ANALYZER, EMBEDDER, "generated: no evidence at all")

    def __len__(self) -> int:
        return self.size

    def chunks(self) -> Iterator[Chunk]:
        """Stream the chunks."""
        return (make_chunk(name, self.version) for name in self.names())

    def names(self) -> Sequence[str]:
        """Return the ids."""
        return [f"c{number}" for number in range(self.size)]

    def queries(self, split: Split) -> Sequence[JudgedQuery]:
        """Return nothing."""
        return ()

    def query_texts(self) -> Sequence[str]:
        """Return nothing."""
        return ()
