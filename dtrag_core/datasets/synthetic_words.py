"""The vocabulary of the generated corpus: pseudo-words whose first four letters name a topic.

A word is its head (two syllables: a topic) followed by its number in syllables. A topic of the
taxonomy owns one head and the words that carry it; the words of the common background have heads
spread over all that can be written, so that none of them points at one topic.
"""

import numpy as np
from numpy.typing import NDArray

BACKGROUND = 200_000
BRANCHES = (8, 8, 4)  # topics on the first level, and below each of the level above
TOPIC_WORDS = 400

_ZIPF_EXPONENT = 1.07
_ZIPF_SHIFT = 2.7
_SYLLABLES = tuple(c + v for c in "bdfghjklmnprstvz" for v in "aeiou")
_HEADS = len(_SYLLABLES) ** 2
_SPREAD = 2_654_435_761  # Knuth's multiplier: neighbours in rank get heads far apart

Path = tuple[str, ...]


def paths() -> tuple[tuple[Path, ...], NDArray[np.int64]]:
    """Return the taxonomy path of each leaf topic, and int64[leaves, 3] topics along each path.

    Topics are numbered level by level; each is called by the head of its words.
    """
    counts = np.cumprod(BRANCHES)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    leaves = np.arange(counts[-1])
    lineage = np.stack(
        [start + leaves // (counts[-1] // n) for start, n in zip(starts, counts, strict=True)],
        axis=1,
    )
    return tuple(tuple(_topic_head(topic) for topic in row) for row in lineage.tolist()), lineage


def vocabulary() -> tuple[str, ...]:
    """Return every word: background words by falling frequency, then each topic's likewise."""
    background = (_head(rank * _SPREAD % _HEADS) for rank in range(BACKGROUND))
    topics = sum(np.cumprod(BRANCHES).tolist())
    topical = (_topic_head(topic) for topic in range(topics) for _ in range(TOPIC_WORDS))
    heads = (*background, *topical)
    return tuple(head + _number(number) for number, head in enumerate(heads))


def background_table() -> NDArray[np.int32]:
    """Return words int32[2**22] to draw from evenly, for frequencies (rank + 2.7) ** -1.07."""
    return _table(np.arange(1, BACKGROUND + 1), _ZIPF_EXPONENT, 1 << 22)


def topic_table() -> NDArray[np.int32]:
    """Return word numbers int32[2**16] within a topic, for frequencies 1 / (rank + 2.7)."""
    return _table(np.arange(1, TOPIC_WORDS + 1), 1.0, 1 << 16)


def _table(ranks: NDArray[np.int64], exponent: float, slots: int) -> NDArray[np.int32]:
    """Give every word its share of the slots: the rarest get at least one at these sizes."""
    shares = np.cumsum((ranks + _ZIPF_SHIFT) ** -exponent)
    until = np.rint(shares / shares[-1] * slots).astype(np.int64)
    return np.repeat(np.arange(ranks.size, dtype=np.int32), np.diff(until, prepend=0))


def _head(number: int) -> str:
    return "".join(_SYLLABLES[digit] for digit in divmod(number, len(_SYLLABLES)))


def _topic_head(topic: int) -> str:
    return _head((topic * _SPREAD + 1) % _HEADS)


def _number(number: int) -> str:
    high, low = divmod(number, len(_SYLLABLES))
    return (_number(high) if high else "") + _SYLLABLES[low]
