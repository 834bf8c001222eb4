"""Adding up every row of some tiles: what is done where rare terms do not decide."""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_selection import (
    GROUPS,
    ROWS_IN_GROUP,
    TILE,
    fold,
    gather,
    make_room,
    raise_bound,
    take,
    threshold,
)
from dtrag_core.index.bm25_views import Held
from dtrag_core.index.postings import BLOCK, Bytes, Integer, block_count, lower_bound
from dtrag_core.types import FloatArray, IdArray, Mask

# Sparse postings are taken by themselves if they are fewer than one in so many rows of a tile.
_FEW: Final = 8


@numba.njit(cache=True, nogil=True)
def exhaust(
    held: Held,
    numbers: NDArray[np.int32],
    weights: FloatArray,
    mask: Mask,
    live: Mask,
    first_tile: int,
    last_tile: int,
    error: float,
    best: FloatArray,
    scratch: FloatArray,
    touched: IdArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> tuple[IdArray, FloatArray, int]:
    """Add the rows of some tiles of one block that may be among the best to `rows`.

    Arguments and results as of `bm25_kernel`'s `_collect`. Where few rows hold sparse terms they
    are taken by themselves: what the others score is then known far more closely, as only the
    light dense terms make an error.
    """
    every_error = np.float32(error * weights.sum())
    dense_error = np.float32(error * weights[numbers[1] >= 0].sum())
    starts, ends = np.empty(len(weights), np.int64), np.empty(len(weights), np.int64)
    bounds = np.empty(len(weights), np.float32)
    tile_sums, maxima = scratch[:TILE], scratch[BLOCK:]
    for tile in range(first_tile, last_tile):
        start, end = tile * TILE, min(tile * TILE + TILE, held.rows)
        total = locate(held, numbers, weights, start, end, starts, ends, bounds)
        if total <= 0.0 or total + every_error < threshold(best):
            continue
        _add_dense(tile_sums, held.dense, numbers[1], weights, start, end)
        _add_sparse(tile_sums, held.ids, held.saturations, weights, starts, ends, start % BLOCK)
        _keep(tile_sums, mask[start:end])
        _keep(tile_sums, live[start:end])
        margin = every_error
        postings = (ends - starts).sum()
        if postings * _FEW < TILE:
            margin = dense_error
            count = 0
            for term in range(len(weights)):
                for place in range(starts[term], ends[term]):
                    touched[count] = np.int64(held.ids[place]) - start % BLOCK
                    count += 1
            if found + count > len(rows):
                rows, most = make_room(rows, most, found, count)
            found = take(tile_sums, touched, count, start, every_error, best, rows, most, found)
        fold(tile_sums, maxima)
        raise_bound(maxima, margin, best)
        group = 0
        while True:
            found, group = gather(tile_sums, maxima, group, start, margin, best, rows, most, found)
            if group == GROUPS:
                break
            rows, most = make_room(rows, most, found, ROWS_IN_GROUP)
        tile_sums[:] = 0
    return rows, most, found


@numba.njit(cache=True, nogil=True)
def locate(
    held: Held,
    numbers: NDArray[np.int32],
    weights: FloatArray,
    start: int,
    end: int,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    bounds: FloatArray,
) -> float:
    """Set where each sparse term's postings in some rows of a block are, and what it can add.

    Return the most a row can reach.
    """
    blocks = block_count(held.rows)
    block, base = divmod(start, BLOCK)
    limit = base + end - start
    total = 0.0
    for term in range(len(weights)):
        starts[term] = ends[term] = 0
        bounds[term] = 0
        if numbers[0, term] < 0:
            continue
        slot = np.int64(numbers[0, term]) * blocks + block
        if numbers[1, term] < 0:
            low: Integer = np.int64(held.offsets[slot])
            high: Integer = np.int64(held.offsets[slot + 1])
            if base > 0:
                low = lower_bound(held.ids, low, high, base)
            if end < held.rows and limit < BLOCK:
                high = lower_bound(held.ids, low, high, limit)
            starts[term], ends[term] = low, high
            if low == high:
                continue
        bounds[term] = weights[term] * np.float32(held.peaks[slot])
        total += bounds[term]
    return total


@numba.njit(cache=True, nogil=True)
def _add_dense(
    sums: FloatArray,
    dense: Bytes,
    in_dense: NDArray[np.int32],
    weights: FloatArray,
    start: int,
    end: int,
) -> None:
    """Add the dense terms, two at a time: half the traffic to the accumulators."""
    waiting = -1
    for term in range(len(weights)):
        if in_dense[term] < 0:
            continue
        if waiting < 0:
            waiting = term
            continue
        first, second = in_dense[waiting], in_dense[term]
        _add_two(
            sums, dense[first, start:end], weights[waiting], dense[second, start:end], weights[term]
        )
        waiting = -1
    if waiting >= 0:
        _add_one(sums, dense[in_dense[waiting], start:end], weights[waiting])


@numba.njit(cache=True, nogil=True)
def _add_one(sums: FloatArray, saturations: Bytes, weight: float) -> None:
    for row in range(len(saturations)):
        sums[row] += weight * np.float32(saturations[row])


@numba.njit(cache=True, nogil=True)
def _add_two(
    sums: FloatArray, first: Bytes, first_weight: float, second: Bytes, second_weight: float
) -> None:
    for row in range(len(first)):
        sums[row] += first_weight * np.float32(first[row]) + second_weight * np.float32(second[row])


@numba.njit(cache=True, nogil=True)
def _add_sparse(
    sums: FloatArray,
    ids: NDArray[np.uint16],
    saturations: Bytes,
    weights: FloatArray,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    base: int,
) -> None:
    for term in range(len(weights)):
        weight = weights[term]
        for place in range(starts[term], ends[term]):
            sums[np.int64(ids[place]) - base] += weight * np.float32(saturations[place])


@numba.njit(cache=True, nogil=True)
def _keep(sums: FloatArray, allowed: Mask) -> None:
    """Clear the sums of rows that are not allowed; an empty mask allows all."""
    for row in range(len(allowed)):
        sums[row] = sums[row] if allowed[row] else np.float32(0)
