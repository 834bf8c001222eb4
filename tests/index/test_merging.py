"""Which segments are merged, and what merging in the background does with errors."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.bench.torture.children import build_plan
from dtrag_core.bench.torture.corpus import TortureDataset, make_chunk
from dtrag_core.errors import BuildError
from dtrag_core.index import writer as writing
from dtrag_core.index.builder import build_index
from dtrag_core.index.compaction import Compaction
from dtrag_core.index.manifest import SegmentEntry
from dtrag_core.index.merging import FANOUT, SMALLEST, choose_merge, full_merges
from dtrag_core.index.writer import IndexWriter

MOST = 1 << 18


def entries(*sizes: int, live: float = 1.0) -> list[SegmentEntry]:
    return [
        SegmentEntry(f"{number:06d}", size, size * 9, 9.0, int(size * live), int(size * live * 9))
        for number, size in enumerate(sizes, 1)
    ]


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ((), 0),
        ((100,), 0),
        ((100,) * (FANOUT - 1), 0),
        ((100,) * FANOUT, FANOUT),
        ((100,) * (FANOUT + 3), FANOUT),
        ((100, 100, 100, SMALLEST), 0),
        ((SMALLEST,) * FANOUT, FANOUT),
        ((MOST // 2,) * FANOUT, 0),
    ],
)
def test_segments_of_one_size_are_merged_once_there_are_enough(
    sizes: tuple[int, ...], chosen: int
) -> None:
    assert len(choose_merge(entries(*sizes), MOST)) == chosen


def test_a_segment_with_many_deleted_rows_is_written_anew() -> None:
    assert choose_merge(entries(1000, live=0.8), MOST) == ()
    assert choose_merge(entries(1000, live=0.7), MOST) == ("000001",)


def test_the_last_segment_stays_though_all_of_it_is_deleted() -> None:
    assert choose_merge(entries(1000, live=0.0), MOST) == ()


def test_a_steady_stream_is_merged_into_few_segments_and_copied_seldom() -> None:
    sizes, copied = [100_000], 0
    for _ in range(400):
        sizes.append(125)
        while chosen := choose_merge(entries(*sizes), MOST):
            places = {int(name) - 1 for name in chosen}
            copied += sum(sizes[place] for place in places)
            left = [size for place, size in enumerate(sizes) if place not in places]
            sizes = [*left, sum(sizes[place] for place in places)]
    assert sum(sizes) == 150_000
    assert len(sizes) < 15
    assert copied < 15 * 50_000


@given(
    sizes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), min_size=1, max_size=12),
    most=st.integers(20, 100),
)
def test_a_full_merge_leaves_few_segments_no_deleted_row_and_nothing_for_a_second(
    sizes: list[tuple[int, int]], most: int
) -> None:
    segments = [
        SegmentEntry(f"{number:06d}", live + deleted, 9, 9.0, live, 9)
        for number, (live, deleted) in enumerate(sizes, 1)
        if live + deleted
    ]
    live_of = {each.name: each.live_rows for each in segments}
    groups = full_merges(segments, most)
    merged = [name for group in groups for name in group]
    assert len(merged) == len(set(merged))
    left = [each.live_rows for each in segments if each.name not in merged]
    assert all(each.live_rows == each.rows for each in segments if each.name not in merged)
    for group in groups:
        rows = sum(live_of[name] for name in group)
        assert rows <= most or len(group) == 1
        left.append(rows)
    left = sorted(rows for rows in left if rows)
    assert sum(left) == sum(live_of.values())
    assert len(left) < 2 or left[0] + left[1] > most
    after = [SegmentEntry(f"{n:06d}", rows, 9, 9.0, rows, 9) for n, rows in enumerate(left, 1)]
    assert full_merges(after, most) == []


def test_an_error_of_a_merge_is_not_swallowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise BuildError("the merge failed")

    build_index(build_plan(TortureDataset(40), 10), tmp_path / "index")
    monkeypatch.setattr(writing, "merged_content", broken)
    with IndexWriter(tmp_path / "index") as writer:
        writer.add([make_chunk("new", 1)])
        with pytest.raises(BuildError, match="the merge failed"):
            _merge_once(writer)


def _merge_once(writer: IndexWriter) -> None:
    with Compaction(writer) as compaction:
        compaction.wake()


def test_merging_beside_writing_loses_nothing(tmp_path: Path) -> None:
    build_index(build_plan(TortureDataset(40), 10), tmp_path / "index")
    with IndexWriter(tmp_path / "index") as writer, Compaction(writer) as compaction:
        for number in range(20):
            writer.add([make_chunk(f"n{number}", 1)])
            compaction.wake()
    with IndexWriter(tmp_path / "index") as writer:
        assert writer.manifest.chunks == 60
        assert len(writer.manifest.segments) <= FANOUT + 1
