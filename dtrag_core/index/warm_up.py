"""Running every kernel once, so that no search pays for loading or compiling one."""

from dataclasses import replace
from typing import Final

import numpy as np
from numba.core.registry import cpu_target

from dtrag_core.index.halves import Codes
from dtrag_core.index.ivf import Float32Segments, IVFVectors, SegmentVectors
from dtrag_core.index.snapshot import Snapshot
from dtrag_core.types import Mask

_EVERYTHING: Final[Mask] = np.zeros(0, np.bool_)

# Numba imports what it knows of NumPy and SciPy before its first kernel, which takes as long as to
# open an index of a million chunks. It is done here, as other imports are: both together take what
# they did before, but an engine opens sooner where the package was imported already.
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()


def warm_up(snapshot: Snapshot) -> None:
    """Search one term and one row by each kernel, so that hardly a page is touched in vain."""
    first = np.zeros(1, np.int32)
    words = _last_term(snapshot)
    snapshot.bm25.search_words(words, 1, _EVERYTHING)
    query = snapshot.bm25.query_terms(words)
    snapshot.bm25.search(query, 1, np.ones(snapshot.rows, np.bool_))
    snapshot.bm25.scores(query, first)
    snapshot.bm25.word_scores(words, first)
    vector = np.zeros(snapshot.manifest.dimension, np.float32)
    for vectors in _one_row_indexes(snapshot):
        for mask in (_EVERYTHING, np.ones(1, np.bool_)):
            vectors.search(vector, 1, mask)
            vectors.scores(vector, first)


def warm_up_batches(snapshot: Snapshot) -> None:
    """Do the same by what searches for many queries at once."""
    first, one, starts = np.zeros(1, np.int32), np.ones(1, np.int64), np.array([0, 1])
    batch = snapshot.bm25.query_batch([_last_term(snapshot)])
    snapshot.bm25.search_batch(batch, one, _EVERYTHING)
    snapshot.bm25.scores_batch(batch, first, starts)
    vector = np.zeros((1, snapshot.manifest.dimension), np.float32)
    for vectors in _one_row_indexes(snapshot):
        for mask in (_EVERYTHING, np.ones(1, np.bool_)):
            vectors.search_batch(vector, one, mask)
            vectors.scores_batch(vector, first, starts)


def _last_term(snapshot: Snapshot) -> list[str]:
    vocabulary = snapshot.segments[0].files.vocabulary
    return list(vocabulary.terms(max(len(vocabulary) - 1, 0)))


def _one_row_indexes(snapshot: Snapshot) -> tuple[Float32Segments, IVFVectors]:
    parts = [_one_row(snapshot.segments[0].vectors(0))]
    float32 = snapshot.segments[0].files.float32[:16]
    return Float32Segments(parts, [float32]), IVFVectors(snapshot.centroids, parts, 1)


def _one_row(segment: SegmentVectors) -> SegmentVectors:
    """Return the segment cut to its first row; kernels are compiled for read-only arrays."""
    bounds = np.minimum(segment.bounds, 1)
    bounds.setflags(write=False)
    halves, scales, lengths = segment.codes
    codes = Codes(halves[:, :1], scales[:1], lengths)
    return replace(segment, codes=codes, bounds=bounds, live=None)
