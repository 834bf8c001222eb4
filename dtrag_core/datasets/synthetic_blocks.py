"""Blocks of generated chunks as word numbers: each block from its own seed, alike in any corpus."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtrag_core.datasets import synthetic_words as words

Words = NDArray[np.int32]

VERSION = "1"
SEED = 20_250_915
BLOCK = 256

_LENGTH_MEDIAN, _LENGTH_SIGMA, _LENGTH_BOUNDS = 120.0, 0.4, (20, 600)
_TOPICAL_SHARE = (0.15, 0.45)  # of a chunk's words
_LEVEL_CDF = (0.15, 0.40, 1.0)  # of the topical words: root topics, middle, leaf
_TOPIC_SKEW = 1.5  # above 1: some topics are larger than others


@dataclass(frozen=True, slots=True)
class Block:
    """`BLOCK` chunks: `tokens` of all, `ends[i]` where chunk i ends in it, and each one's leaf."""

    tokens: Words
    ends: NDArray[np.int64]
    leaves: NDArray[np.int64]

    def chunk(self, offset: int) -> Words:
        """Return the word numbers of one chunk, repeats included."""
        return self.tokens[self.ends[offset - 1] if offset else 0 : self.ends[offset]]


class BlockGenerator:
    """Draws blocks: words of the chunk's leaf topic and its ancestors, amid the background."""

    def __init__(self) -> None:
        self.vocabulary = words.vocabulary()
        self.paths, self._lineage = words.paths()
        self._background = words.background_table()
        self._topic = words.topic_table()

    def block(self, number: int) -> Block:
        """Return block `number`, which holds chunks `number * BLOCK` and following."""
        rng = np.random.Generator(np.random.PCG64([SEED, number]))
        leaves = (len(self.paths) * rng.random(BLOCK) ** _TOPIC_SKEW).astype(np.int64)
        drawn = _LENGTH_MEDIAN * np.exp(_LENGTH_SIGMA * rng.standard_normal(BLOCK))
        lengths = drawn.clip(*_LENGTH_BOUNDS).astype(np.int64)
        share = rng.uniform(*_TOPICAL_SHARE, BLOCK)
        topical = rng.random(int(lengths.sum())) < np.repeat(share, lengths)
        in_topic = np.flatnonzero(topical)
        lineage = self._lineage[np.repeat(leaves, lengths)[in_topic]]
        level = np.searchsorted(_LEVEL_CDF, rng.random(in_topic.size), side="right")
        topics = lineage[np.arange(in_topic.size), level]
        tokens = _draw(self._background, topical.size, rng)
        within = _draw(self._topic, in_topic.size, rng)
        tokens[in_topic] = words.BACKGROUND + topics * words.TOPIC_WORDS + within
        return Block(tokens, np.cumsum(lengths), leaves)


def _draw(table: NDArray[np.int32], size: int, rng: np.random.Generator) -> NDArray[np.int32]:
    return table[rng.integers(0, table.size, size)]
