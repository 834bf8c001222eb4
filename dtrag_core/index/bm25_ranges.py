"""What the terms of a query can add in the ranges of all segments, and which ranges to look at."""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import CACHE_LINE, prefetch, prefetch_at, uncounted
from dtrag_core.index.bm25_selection import reached_by
from dtrag_core.index.bm25_views import Held, Table, views
from dtrag_core.index.lanes import LANES, add_eight, largest_of_eight, reaching_eight
from dtrag_core.index.postings import BLOCK, PART, PARTS, RANGE, Bytes, Integer, block_count
from dtrag_core.types import FloatArray

BLOCK_RANGES: Final = BLOCK // RANGE
AT_ONCE: Final = BLOCK_RANGES
"""So many ranges are looked at in a step, at most, as there is room for a block's candidates."""
MADE_BYTES: Final = PARTS + 2
"""For each range of a term that is not frequent, so much is made for a query."""
_MANY: Final = 2048  # bounds, of which the largest of some are counted instead
_MAXIMA: Final = 16  # for each bound that is to reach the level, so many, or of eight bounds each
_FEW: Final = 16  # ranges are put in order
_AHEAD: Final = 32  # peaks are asked for so many ranges before they are read
_NONE: Final = np.uint64(2**64 - 1)  # a range or part that there is not


class Terms(NamedTuple):
    """The terms of a query in each segment that holds them: dense ones last, the weightiest first.

    counts: int64[segments], how many a segment holds; of the m places the first so many are set.
    sparse: int64[segments], how many of these are not dense.
    weights: float32[segments, m], of a saturation of 1 / 255.
    slots: int64[segments, m], where the term's offsets begin.
    rows: int64[segments, m], the address of a dense term's saturations, of all rows.
    parts, starts: int64[segments, m], the addresses of a term's part_peaks and range_starts (see
        `Postings`); a term that is not frequent has starts only where it has postings.
    made: int64[segments, m], -1 - its number among the frequent terms. Of others parts and starts
        are made for the query: here is the place, in ranges, where the term's begin in made_parts
        and made_starts.
    """

    counts: NDArray[np.int64]
    sparse: NDArray[np.int64]
    weights: FloatArray
    slots: NDArray[np.int64]
    rows: NDArray[np.int64]
    made: NDArray[np.int64]
    parts: NDArray[np.int64]
    starts: NDArray[np.int64]
    made_parts: Bytes
    made_starts: NDArray[np.uint16]


@numba.njit(cache=True, nogil=True)
def _descending(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return int64[m], the weightiest first: of few, this takes a tenth of the time of sorting."""
    order = np.empty(len(weights), np.int64)
    for term in range(len(weights)):
        place = term
        while place > 0 and weights[order[place - 1]] < weights[term]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = term
    return order


@numba.njit(cache=True, nogil=True)
def _rare_ranges(table: Table, numbers: NDArray[np.int32]) -> int:
    """Return how many ranges there are, of all segments' terms that are not frequent."""
    count = 0
    for segment in range(len(table)):
        for term in range(numbers.shape[2]):
            if numbers[segment, 0, term] >= 0 and numbers[segment, 2, term] < 0:
                count += views(table, segment).ranges
    return count


@numba.njit(cache=True, nogil=True)
def find_terms(
    table: Table, numbers: NDArray[np.int32], weights: NDArray[np.float64], made: Bytes
) -> Terms:
    """Return the terms that each segment holds.

    numbers: int32[segments, 3, m], of each query term its number in the segment, among its dense
        and among its frequent terms.
    weights: float64[m], of a saturation of 1.
    made: room for what is made for the query; used if there is enough.
    """
    order = _descending(weights)
    shape = (len(table), len(weights))
    counts, places = np.zeros((2, len(table)), np.int64), np.empty((5, *shape), np.int64)
    ordered = np.empty(shape, np.float32)
    rare = _rare_ranges(table, numbers)
    if len(made) < rare * MADE_BYTES:
        made = np.empty(rare * MADE_BYTES, np.uint8)
    parts, starts = made[: rare * PARTS], made[rare * PARTS : rare * MADE_BYTES].view(np.uint16)
    rare = 0
    for segment in range(len(table)):
        held, count = views(table, segment), 0
        blocks = block_count(held.rows)
        for dense in range(2):
            for term in order:
                number, frequent = numbers[segment, 0, term], np.int64(numbers[segment, 2, term])
                if number < 0 or (numbers[segment, 1, term] >= 0) != (dense == 1):
                    continue
                slot = np.int64(number) * blocks
                here = places[:, segment, count]
                ordered[segment, count] = weights[term] / 255.0
                here[0] = slot
                if dense:
                    here[1] = held.dense[np.int64(numbers[segment, 1, term])].ctypes.data
                if frequent >= 0:
                    here[2] = -1 - frequent
                    here[3] = held.part_peaks[frequent].ctypes.data
                    here[4] = held.range_starts[frequent].ctypes.data
                    for which in range(0, held.ranges, CACHE_LINE):
                        prefetch(held.range_peaks[frequent], which)
                else:
                    here[2] = rare
                    here[3] = parts[rare * PARTS :].ctypes.data
                    here[4] = starts[rare:].ctypes.data
                    rare += held.ranges
                    begin, end = np.int64(held.offsets[slot]), np.int64(held.offsets[slot + blocks])
                    bring_postings_in(held, begin, end)
                count += 1
            counts[dense, segment] = count
    return Terms(
        counts[1], counts[0], ordered, places[0], places[1], places[2], places[3], places[4],
        parts, starts,
    )  # fmt: skip


@uncounted
def bring_postings_in(held: Held, first: Integer, last: Integer) -> None:
    """Have postings read while others are looked at."""
    for place in range(first, last, CACHE_LINE // 2):
        prefetch(held.ids, place)
    for place in range(first, last, CACHE_LINE):
        prefetch(held.saturations, place)


@uncounted
def bound_ranges(
    held: Held,
    segment: int,
    terms: Terms,
    first: int,
    last: int,
    peaks: Bytes,
    bounds: FloatArray,
) -> None:
    """Set the most that a row of each range from `first` to `last` can reach, 0 for the others.

    peaks: uint8[ranges or more], overwritten. bounds: float32[ranges or more].
    """
    bounds[:] = 0
    if first >= last:
        return
    for term in range(terms.counts[segment]):
        weight, made = terms.weights[segment, term], terms.made[segment, term]
        if made < 0:
            _add(bounds[first:last], held.range_peaks[-1 - made, first:last], weight)
        else:
            _find_peaks(
                held, terms.slots[segment, term], peaks[: held.ranges],
                terms.made_parts[made * PARTS : (made + held.ranges) * PARTS],
                terms.made_starts[made : made + held.ranges],
            )  # fmt: skip
            _add(bounds[first:last], peaks[first:last], weight)


@uncounted
def _add(bounds: FloatArray, peaks: Bytes, weight: np.float32) -> None:
    for which in range(len(bounds)):
        bounds[which] += weight * np.float32(peaks[which])


@uncounted
def _find_peaks(
    held: Held, slot: int, peaks: Bytes, parts: Bytes, starts: NDArray[np.uint16]
) -> None:
    """Set where a term that is not frequent has postings, and how strong they are.

    Nothing is read from the arrays that are set: reading what was just written takes longer.
    Numbers are unsigned: of signed ones numba asks whether they are negative.
    """
    peaks[:] = 0
    parts[:] = 0
    for block in range(block_count(held.rows)):
        begin, end = (
            np.uint64(held.offsets[slot + block]),
            np.uint64(held.offsets[slot + block + 1]),
        )
        base, before, which_before = np.uint64(block * (BLOCK // PART)), _NONE, _NONE
        start = peak = part_peak = np.uint64(0)
        for place in range(end - begin):
            part = base + np.uint64(held.ids[begin + place]) // np.uint64(PART)
            which, q = part // np.uint64(PARTS), np.uint64(held.saturations[begin + place])
            part_peak = max(q, part_peak if part == before else np.uint64(0))
            peak = max(q, peak if which == which_before else np.uint64(0))
            start = start if which == which_before else np.uint64(place)
            parts[part], peaks[which], starts[which] = part_peak, peak, start
            before, which_before = part, which


@uncounted
def level_of(bounds: FloatArray, count: int, least: np.float32, maxima: FloatArray) -> np.float32:
    """Return a level that about so many bounds reach, `count` of them or more; or else `least`.

    bounds: float32[n * LANES]. maxima: float32[n], overwritten: of many bounds the largest of some
    are counted instead, which takes a fraction of the time.
    """
    if len(bounds) < _MANY:
        return reached_by(bounds, count, least)
    step = min(len(maxima), _MAXIMA * count)
    for which in range(step):
        maxima[which] = bounds[which]
    for first in range(step, len(bounds), step):
        some = bounds[first : first + step]
        for which in range(len(some)):
            maxima[which] = some[which] if some[which] > maxima[which] else maxima[which]
    return reached_by(maxima[:step], count, least)


@uncounted
def choose(bounds: FloatArray, level: np.float32, chosen: NDArray[np.int32]) -> int:
    """List ranges whose bounds, above 0, reach a level, and clear these; return how many they are.

    bounds: float32[n * LANES]. chosen: int32[AT_ONCE + 1].
    """
    count = 0
    for start in range(0, len(bounds), LANES):
        reaching = reaching_eight(bounds, start, level)
        if reaching == 0:
            continue
        if count + LANES > AT_ONCE:
            break
        for which in range(start, start + LANES):
            reaches = reaching & 1
            chosen[count] = which
            bounds[which] = np.float32(0) if reaches else bounds[which]
            count += reaches
            reaching >>= 1
    return count


@uncounted
def keep_by_parts(
    segment: int,
    terms: Terms,
    cutoff: np.float32,
    chosen: NDArray[np.int32],
    count: int,
    bounds: FloatArray,
) -> int:
    """Keep the ranges that reach a cutoff in one of their parts; return how many they are.

    Few are put in the order of what their rows can reach, so that the threshold rises at once.

    chosen: int32[AT_ONCE + 1], the first `count` listed by `choose`.
    bounds: float32[(AT_ONCE + 1) * PARTS], set to what a row of each part can reach.
    """
    for part in range(count * PARTS):
        bounds[part] = 0
    for term in range(terms.counts[segment]):
        parts, weight = terms.parts[segment, term], terms.weights[segment, term]
        for place in range(min(_AHEAD, count)):
            prefetch_at(parts + np.int64(chosen[place]) * PARTS)
        for place in range(count):
            if place + _AHEAD < count:
                prefetch_at(parts + np.int64(chosen[place + _AHEAD]) * PARTS)
            here = place * PARTS
            add_eight(bounds, here, weight, parts + np.int64(chosen[place]) * PARTS)
    kept = 0
    for place in range(count):
        which = np.int64(chosen[place])
        if reaching_eight(bounds, place * PARTS, cutoff) == 0:
            continue
        for term in range(terms.sparse[segment]):
            prefetch_at(terms.starts[segment, term] + 2 * which)
        _move(chosen, bounds, place, kept)
        kept += 1
    if kept <= _FEW:
        _sort(chosen, kept, bounds)
    return kept


@numba.njit(inline="always")
def _move(chosen: NDArray[np.int32], bounds: FloatArray, source: int, target: int) -> None:
    """Copy a range and its bounds to another place."""
    chosen[target] = chosen[source]
    for part in range(PARTS):
        bounds[target * PARTS + part] = bounds[source * PARTS + part]


@uncounted
def _sort(chosen: NDArray[np.int32], count: int, bounds: FloatArray) -> None:
    """Put the ranges that can reach most first, by selection; there is room for one more."""
    for place in range(count - 1):
        best, largest = place, largest_of_eight(bounds, place * PARTS)
        for other in range(place + 1, count):
            value = largest_of_eight(bounds, other * PARTS)
            if value > largest:
                best, largest = other, value
        if best != place:
            _move(chosen, bounds, place, count)
            _move(chosen, bounds, best, place)
            _move(chosen, bounds, count, best)
