"""The layout of postings: every tf comes back, and what is stored stays small."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.config import BM25Settings
from dtrag_core.index.forward import ForwardIndex
from dtrag_core.index.postings import (
    BLOCK,
    PARTS,
    RANGE,
    Postings,
    frequency_of,
    length_norm,
)
from dtrag_core.index.postings_building import build_postings

TERMS = 6
ROWS = st.lists(
    st.dictionaries(st.integers(0, TERMS - 1), st.sampled_from([1, 2, 7, 40, 255, 256, 65_535])),
    min_size=1,
    max_size=40,
)


def forward_index(rows: list[dict[int, int]]) -> ForwardIndex:
    ordered = [sorted(row.items()) for row in rows]
    return ForwardIndex(
        np.cumsum([0, *map(len, ordered)]).astype(np.int64),
        np.array([term for row in ordered for term, _ in row], np.int32),
        np.array([tf for row in ordered for _, tf in row], np.uint16),
        np.array([sum(row.values()) for row in rows], np.int32),
    )


def unpacked(postings: Postings) -> list[dict[int, int]]:
    """Read every tf back, the plain way."""
    k1, b, average, _, least = postings.parameters.tolist()
    exceptions = dict(
        zip(postings.exceptions.tolist(), postings.exception_frequencies.tolist(), strict=True)
    )
    rows: list[dict[int, int]] = [{} for _ in range(postings.rows)]

    def put(row: int, term: int, q: int, place: int) -> None:
        norm = length_norm(k1, b, int(postings.lengths[row]), average)
        assert place not in exceptions or q >= least
        rows[row][term] = exceptions.get(place, frequency_of(q, norm))

    for slot in range(postings.terms * postings.blocks):
        term, block = divmod(slot, postings.blocks)
        for place in range(int(postings.offsets[slot]), int(postings.offsets[slot + 1])):
            q = int(postings.saturations[place])
            put(block * BLOCK + int(postings.ids[place]), term, q, place)
    for number, term in enumerate(postings.dense_terms.tolist()):
        for row in np.flatnonzero(postings.dense[number]).tolist():
            place = len(postings.ids) + number * postings.rows + row
            put(row, term, int(postings.dense[number, row]), place)
    return rows


@given(
    rows=ROWS,
    padding=st.sampled_from([0, 300]),
    settings=st.sampled_from(
        [BM25Settings(), BM25Settings(0.9, 0.4), BM25Settings(0.01, 0.5), BM25Settings(500.0, 1.0)]
    ),
    average=st.sampled_from([0.0, 3.0, 1000.0]),
)
def test_every_frequency_comes_back(
    rows: list[dict[int, int]], padding: int, settings: BM25Settings, average: float
) -> None:
    rows = rows + [{}] * padding  # among many rows the same terms are sparse
    postings = build_postings(forward_index(rows), TERMS, settings, average)
    assert unpacked(postings) == rows
    assert postings.count == sum(map(len, rows))


def test_without_saturation_no_frequency_matters() -> None:
    rows = [{0: 1}, {0: 9}, {0: 65_535}]
    postings = build_postings(forward_index(rows), 1, BM25Settings(0.0, 0.5), 5.0)
    assert len(postings.exceptions) == 0
    assert postings.dense[0, :3].tolist() == [255, 255, 255]


def test_rows_beyond_the_first_block() -> None:
    rows: list[dict[int, int]] = [{}] * (BLOCK + 10)
    rows[3] = rows[BLOCK - 1] = rows[BLOCK] = rows[BLOCK + 7] = {1: 2}
    postings = build_postings(forward_index(rows), 2, BM25Settings(), 2.0)
    assert postings.blocks == 2
    assert postings.ids.tolist() == [3, BLOCK - 1, 0, 7]
    assert postings.offsets.tolist() == [0, 0, 0, 2, 4]
    assert unpacked(postings)[BLOCK + 7] == {1: 2}


def test_ranges_of_frequent_terms() -> None:
    """A term of every 20th row is sparse but frequent; one of every second is dense."""
    size = BLOCK + RANGE + 3
    rows: list[dict[int, int]] = [
        ({0: 1 + row % 7} if row % 20 == 0 else {}) | ({1: 1 + row % 3} if row % 2 else {})
        for row in range(size)
    ]
    rows[RANGE + 1] = {2: 1}
    postings = build_postings(forward_index(rows), 3, BM25Settings(), 2.0)
    assert postings.frequent_terms.tolist() == [0, 1]
    assert postings.dense_terms.tolist() == [1]
    begins = postings.offsets[:2].tolist()
    for number in range(-(-size // RANGE)):
        start = number * RANGE
        q = postings.dense[0, start : min(start + RANGE, size)]
        assert postings.range_peaks[1, number] == q.max(initial=0)
        parts = slice(number * PARTS, (number + 1) * PARTS)
        padded = np.zeros(RANGE, np.uint8)
        padded[: len(q)] = q
        assert (postings.part_peaks[1, parts] == padded.reshape(PARTS, -1).max(axis=1)).all()
        block, within = divmod(start, BLOCK)
        here = slice(begins[block], int(postings.offsets[block + 1]))
        before = postings.ids[here] < within
        inside = (postings.ids[here] < within + RANGE) & ~before
        assert postings.range_starts[0, number] == before.sum()
        inside_ids, strengths = postings.ids[here][inside], postings.saturations[here][inside]
        assert postings.range_peaks[0, number] == strengths.max(initial=0)
        sparse = np.zeros(RANGE, np.uint8)
        sparse[inside_ids - within] = strengths
        assert (postings.part_peaks[0, parts] == sparse.reshape(PARTS, -1).max(axis=1)).all()


def test_five_bytes_a_posting_suffice() -> None:
    rng = np.random.default_rng(0)
    ranks = np.minimum(rng.zipf(1.3, (4_000, 80)), 3_000) - 1
    rows = [
        dict(zip(*map(np.ndarray.tolist, np.unique(row, return_counts=True)), strict=True))
        for row in ranks
    ]
    postings = build_postings(forward_index(rows), 3_000, BM25Settings(), 80.0)
    assert postings.nbytes <= 5 * postings.count


@pytest.mark.parametrize("rows", [[{}], [{}, {}, {}]])
def test_rows_without_terms(rows: list[dict[int, int]]) -> None:
    postings = build_postings(forward_index(rows), 0, BM25Settings(), 0.0)
    assert postings.count == 0
    assert unpacked(postings) == rows
