"""A generated corpus of any size: topical text in a taxonomy, with planted relevance."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from operator import itemgetter

import numpy as np

from dtrag_core.config import AnalyzerSettings
from dtrag_core.datasets.base import DatasetInfo
from dtrag_core.datasets.synthetic_blocks import BLOCK, SEED, VERSION, BlockGenerator, Words
from dtrag_core.datasets.synthetic_words import BACKGROUND
from dtrag_core.errors import InvalidRequestError
from dtrag_core.types import Chunk, JudgedQuery, Split

CAVEAT = "generated: for scale and latency; no evidence on quality beyond plumbing"
SIZES = range(10_000, 10_000_001)

_DOC_TYPES = ("note", "article", "report", "manual")
_SPLITS: tuple[Split, ...] = ("test", "train")
_QUERIES = 1_000  # in each split
_QUERY_BLOCKS = 200  # that are generated again to read the queries
_QUERY_WORDS = range(2, 9)
_RARE_RANK = 2_000


class SyntheticDataset:
    """`size` generated chunks (10,000 to 10,000,000; else `InvalidRequestError`).

    Words come from the chunk's topic (a leaf of the taxonomy, and its ancestors) and from a
    Zipf-Mandelbrot background of 200,000 words; lengths are log-normal around 120 words. Chunk i is
    the same whatever the size. Each of the 1,000 test and 1,000 train queries is made of 2 to 8
    words of one chunk, which is its relevant one.
    """

    def __init__(self, size: int) -> None:
        if size not in SIZES:
            raise InvalidRequestError(
                f"synthetic:{size}: the size must be {SIZES[0]:,} to {SIZES[-1]:,} chunks"
            )
        self._size = size
        spec = f"synthetic:{size}"
        self.info = DatasetInfo(
            spec=spec,
            fingerprint=hashlib.sha256(f"{spec} v{VERSION} seed {SEED}".encode()).hexdigest(),
            analyzer=AnalyzerSettings("plain"),
            embedder="synthetic",
            caveat=CAVEAT,
        )

    @cached_property
    def _generator(self) -> BlockGenerator:
        return BlockGenerator()

    def __len__(self) -> int:
        return self._size

    def chunks(self) -> Iterator[Chunk]:
        """Stream the chunks; memory does not depend on the size."""
        vocabulary = self._generator.vocabulary
        paths = self._generator.paths
        for start in range(0, self._size, BLOCK):
            block = self._generator.block(start // BLOCK)
            tokens = itemgetter(*block.tokens.tolist())(vocabulary)
            begin = 0
            rows = range(start, min(start + BLOCK, self._size))
            for row, end, leaf in zip(
                rows, block.ends.tolist(), block.leaves.tolist(), strict=False
            ):
                yield Chunk(
                    id=str(row),
                    title="",
                    text=" ".join(tokens[begin:end]),
                    path=paths[leaf],
                    doc_type=_DOC_TYPES[row % len(_DOC_TYPES)],
                )
                begin = end

    @cached_property
    def _queries(self) -> dict[Split, tuple[JudgedQuery, ...]]:
        """Plant the queries in a few blocks, so that only these are generated again."""
        rng = np.random.Generator(np.random.PCG64([SEED, self._size, 1]))
        full_blocks = self._size // BLOCK
        numbers = rng.choice(full_blocks, min(_QUERY_BLOCKS, full_blocks), replace=False)
        places = rng.choice(len(numbers) * BLOCK, len(_SPLITS) * _QUERIES, replace=False)
        blocks = [self._generator.block(number) for number in numbers.tolist()]
        queries = [
            self._query(int(numbers[which]) * BLOCK + offset, blocks[which].chunk(offset), rng)
            for which, offset in (divmod(place, BLOCK) for place in places.tolist())
        ]
        return {
            split: tuple(queries[number * _QUERIES : (number + 1) * _QUERIES])
            for number, split in enumerate(_SPLITS)
        }

    def _query(self, row: int, tokens: Words, rng: np.random.Generator) -> JudgedQuery:
        text = " ".join(self._generator.vocabulary[word] for word in _query_words(tokens, rng))
        return JudgedQuery(f"q{row}", text, {str(row): 1})

    def queries(self, split: Split) -> Sequence[JudgedQuery]:
        """Return the 1,000 queries of one split."""
        return self._queries[split]

    def query_texts(self) -> Sequence[str]:
        """Return the texts of the test queries, then of the train queries."""
        return tuple(q.text for split in _SPLITS for q in self._queries[split])


def _query_words(tokens: Words, rng: np.random.Generator) -> list[int]:
    """Draw 2 to 8 distinct words of a chunk: half topical, perhaps one rare, the rest frequent."""
    wanted = int(rng.integers(_QUERY_WORDS[0], _QUERY_WORDS[-1] + 1))
    shuffled = rng.permutation(tokens)
    topical = shuffled[shuffled >= BACKGROUND]
    rare = shuffled[(shuffled >= _RARE_RANK) & (shuffled < BACKGROUND)]
    chosen = topical[: wanted // 2], rare[: rng.integers(2)], shuffled
    preferred = np.concatenate(chosen).tolist()
    return list(dict.fromkeys(preferred))[:wanted]
