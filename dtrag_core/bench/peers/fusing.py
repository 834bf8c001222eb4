"""Reciprocal rank fusion of two rankings of ids, for engines that bring no fusion of their own."""

from typing import Final

import numpy as np

from dtrag_core.types import IdArray

RRF_K: Final = 60


def rrf(first: IdArray, second: IdArray, k: int) -> IdArray:
    """Return the `k` best ids by the sum of 1 / (60 + rank) over both rankings, ties by id.

    Cormack, Clarke and Buettcher 2009; an id that a ranking lacks gets nothing from it.
    """
    gains = 1.0 / (RRF_K + 1 + np.arange(max(len(first), len(second))))
    ids, place = np.unique(np.concatenate((first, second)), return_inverse=True)
    scores = np.bincount(place, np.concatenate((gains[: len(first)], gains[: len(second)])))
    best: IdArray = ids[np.argsort(-scores, kind="stable")[:k]].astype(np.int32, copy=False)
    return best
