"""BM25 over few rows, over a block and more, and over too many to sweep, against all scores."""

import numpy as np
import pytest

from dtrag_core.index.bm25_few import FEW
from dtrag_core.index.bm25_promising import SWEEPABLE
from dtrag_core.index.bm25_ranges import level_of
from dtrag_core.index.bm25_segments import BM25Index
from dtrag_core.index.lanes import LANES
from dtrag_core.index.postings import BLOCK, RANGE
from dtrag_core.index.topk import merge
from dtrag_core.types import Mask
from tests.index.test_bm25_segments import EVERYTHING, build

ROWS = BLOCK + 3 * RANGE + 7
NEVER_SWEPT = (SWEEPABLE + 2) * RANGE + 7
QUERIES = [
    "w9 w14 w25",  # frequent alone
    "w9 w14 rare w25 w40",  # of what is rare, peaks are made for the query
    "w2 w2 w3",  # dense
    "w1 w60 w90 w200 w700",
    "rare clustered",
    "w30 clustered w45",
]


@pytest.fixture(
    scope="module",
    params=[(ROWS, 1), (ROWS, 3), (FEW * RANGE, 1), (FEW * RANGE - 999, 3), (NEVER_SWEPT, 3)],
    ids=str,
)
def index(request: pytest.FixtureRequest) -> BM25Index:
    """Words by Zipf's law, "rare" in few rows, "clustered" in two ranges, a deleted tenth."""
    rows, segments = request.param
    rng = np.random.default_rng(7)
    words = np.minimum(rng.zipf(1.15, rows * 9), 3_000)
    ends = np.cumsum(rng.integers(4, 14, rows)).clip(max=len(words))
    corpus = [
        [f"w{number}" for number in words[start:end].tolist()]
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]
    for row in rng.choice(rows, 150, replace=False).tolist():
        corpus[row].append("rare")
    for row in (*range(300, 500), *range(rows - 1_000, rows - 800)):
        corpus[row].append("clustered")
    cuts = () if segments == 1 else (rows // 2, rows // 2 + 5 * RANGE + 9)
    return build(corpus, cuts=cuts, dead=rng.choice(rows, rows // 10, replace=False).tolist())


@pytest.fixture(scope="module", params=["everything", "half", "two in a hundred"])
def mask(request: pytest.FixtureRequest, index: BM25Index) -> Mask:
    share = {"everything": 1.0, "half": 0.5, "two in a hundred": 0.02}[request.param]
    return EVERYTHING if share == 1 else np.random.default_rng(1).random(index._rows) < share


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("shards", [1, 3])
def test_no_better_row_is_passed_over(
    index: BM25Index, mask: Mask, query: str, shards: int
) -> None:
    rows, terms = index._rows, index.query_terms(query.split())
    scores = index.scores(terms, np.arange(rows, dtype=np.int32))
    scores[~index._live] = 0
    scores[~mask if len(mask) else np.zeros(rows, np.bool_)] = 0
    for k in (1, 12, 50, 600, 3_000):
        parts = [index.search_shard(terms, k, mask, shard, shards) for shard in range(shards)]
        found = merge(parts, k)
        best = np.lexsort((np.arange(rows), -scores))[:k]
        best = best[scores[best] > 0]
        assert found.ids.tolist() == best.tolist()
        assert found.scores.tolist() == scores[best].tolist()


def test_a_batch_of_many_rows_is_its_queries(index: BM25Index) -> None:
    queries = [query.split() for query in (*QUERIES, "unknown", *QUERIES)]
    batch = index.search_batch(index.query_batch(queries), np.full(len(queries), 12), EVERYTHING)
    for which, words in enumerate(queries):
        alone = index.search_words(words, 12, EVERYTHING)
        assert batch.of(which).ids.tolist() == alone.ids.tolist()
        assert batch.of(which).scores.tolist() == alone.scores.tolist()


def test_no_row_is_found_twice_when_every_row_may_be_among_the_best() -> None:
    """Statistics drifted so far that no row is ruled out: all of two blocks are candidates."""
    corpus = [["a"]] * (2 * BLOCK)
    corpus[BLOCK] = ["a", "a"]
    index = build(corpus, drift=50.0)
    assert index.search(index.query_terms(["a"]), 2, EVERYTHING).ids.tolist() == [BLOCK, 0]


def test_there_is_room_for_any_number_of_candidates() -> None:
    index = build([["a"]] * (2 * BLOCK + 300), drift=50.0)
    terms = index.query_terms(["a"])
    found = index.search(terms, 2 * BLOCK + 300, EVERYTHING)
    assert found.ids.tolist() == list(range(2 * BLOCK + 300))


def test_sweeping_finds_every_row_once_and_has_room_for_them() -> None:
    """A few strong ranges are looked at first; all others, of two blocks, are swept."""
    rows = 2 * BLOCK
    words = [[f"w{row % 24}"] for row in range(rows)]
    for row in range(BLOCK, BLOCK + 16 * RANGE):
        words[row] *= 2
    index = build(words, drift=50.0)
    terms = index.query_terms([f"w{number}" for number in range(24)])
    scores = index.scores(terms, np.arange(rows, dtype=np.int32))
    best = np.lexsort((np.arange(rows), -scores))
    for shards in (1, 3):
        parts = [index.search_shard(terms, rows, EVERYTHING, n, shards) for n in range(shards)]
        found = merge(parts, rows)
        assert found.ids.tolist() == best.tolist()
        assert found.scores.tolist() == scores[best].tolist()


@pytest.mark.parametrize("size", [64, 4096])
def test_a_level_is_reached_by_as_many_bounds_as_asked_for(size: int) -> None:
    rng = np.random.default_rng(3)
    bounds = rng.random(size, np.float32) ** 3
    bounds[rng.random(size) < 0.5] = 0
    maxima = np.zeros(size // LANES, np.float32)
    for count in (1, 5, size // 16):
        level = level_of(bounds, count, np.float32(0.01), maxima)
        assert count <= np.count_nonzero(bounds >= level) <= 16 * count
    assert level_of(bounds, size, np.float32(0.01), maxima) == np.float32(0.01)
