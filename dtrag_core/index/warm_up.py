"""Running every kernel once, so that no search pays for loading or compiling one."""

from dataclasses import replace

import numpy as np

from dtrag_core.index.ivf import Float32Segments, IVFVectors, SegmentVectors
from dtrag_core.index.snapshot import Snapshot
from dtrag_core.types import Mask


def warm_up(snapshot: Snapshot) -> None:
    """Search one term and one row on each path, so that hardly a page is touched in vain."""
    first = np.zeros(1, np.int32)
    everything: Mask = np.zeros(0, np.bool_)
    vocabulary = snapshot.segments[0].files.vocabulary
    query = snapshot.bm25.query_terms(vocabulary.terms(max(len(vocabulary) - 1, 0)))
    snapshot.bm25.search(query, 1, everything)
    snapshot.bm25.search(query, 1, np.ones(snapshot.rows, np.bool_))
    snapshot.bm25.scores(query, first)
    one, starts = np.ones(1, np.int64), np.array([0, 1])
    batch = snapshot.bm25.query_batch([vocabulary.terms(max(len(vocabulary) - 1, 0))])
    snapshot.bm25.search_batch(batch, one, everything)
    snapshot.bm25.scores_batch(batch, first, starts)

    vector = np.zeros(snapshot.manifest.dimension, np.float32)
    files = snapshot.segments[0].files
    parts = [_one_row(snapshot.segments[0].vectors(0))]
    for vectors in (
        Float32Segments(parts, [files.float32[:16]]),
        IVFVectors(snapshot.centroids, parts, 1),
    ):
        for mask in (everything, np.ones(1, np.bool_)):
            vectors.search(vector, 1, mask)
            vectors.scores(vector, first)
            vectors.search_batch(vector[np.newaxis], one, mask)
            vectors.scores_batch(vector[np.newaxis], first, starts)


def _one_row(segment: SegmentVectors) -> SegmentVectors:
    """Return the segment cut to its first row; kernels are compiled for read-only arrays."""
    bounds = np.minimum(segment.bounds, 1)
    bounds.setflags(write=False)
    return replace(
        segment, codes=segment.codes[:1], scales=segment.scales[:1], bounds=bounds, live=None
    )
