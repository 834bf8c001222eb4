"""Which ranges of the rows to look at, by what the terms of a query can add there."""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import prefetch_at, uncounted
from dtrag_core.index.bm25_query import Terms, find_peaks
from dtrag_core.index.bm25_selection import reached_by
from dtrag_core.index.bm25_views import Held
from dtrag_core.index.lanes import LANES, add_eight, largest_of_eight, reaching_eight
from dtrag_core.index.postings import BLOCK, PARTS, RANGE, Bytes
from dtrag_core.types import FloatArray

BLOCK_RANGES: Final = BLOCK // RANGE
AT_ONCE: Final = BLOCK_RANGES
"""So many ranges are looked at in a step, at most, as there is room for a block's candidates."""
_MANY: Final = 2048  # bounds, of which the largest of some are counted instead
_MAXIMA: Final = 16  # for each bound wanted so many maxima, but no more than one for eight bounds
_FEW: Final = 16  # ranges are put in order
_AHEAD: Final = 32  # peaks are asked for so many ranges before they are read


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
            find_peaks(
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
def level_of(bounds: FloatArray, count: int, least: np.float32, maxima: FloatArray) -> np.float32:
    """Return a level that about so many bounds reach, `count` of them or more; or else `least`.

    bounds: float32[n * LANES]. maxima: float32[n], overwritten: of many bounds the largest of some
    are counted instead, which takes a fraction of the time.
    """
    if len(bounds) < _MANY or len(maxima) < 2 * count:
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
