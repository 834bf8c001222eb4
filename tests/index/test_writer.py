"""Changing a living index: whole updates or none, seen without restart, exact afterwards."""

import errno
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtrag_core.bench.torture.children import build_plan
from dtrag_core.bench.torture.corpus import TortureDataset, make_chunk
from dtrag_core.bench.torture.judging import judge_answers, stored_chunks, twice
from dtrag_core.bench.torture.reference import Contents
from dtrag_core.bench.torture.updates import Versions
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.embedding.registry import restore_embedder
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.errors import BuildError, EmbeddingError, InvalidRequestError
from dtrag_core.index import manifest as manifests
from dtrag_core.index import writer as writing
from dtrag_core.index.arrays import read_archive
from dtrag_core.index.builder import EMBEDDER, build_index
from dtrag_core.index.manifest import read_manifest, verify_files
from dtrag_core.index.merging import merged_content
from dtrag_core.index.segment import Segment
from dtrag_core.index.segment_content import SegmentContent
from dtrag_core.index.writer import IndexWriter
from dtrag_core.types import LEGACY, OPTIMIZED, Chunk, Filters
from dtrag_core.workbench import prepare

ORIGIN = TortureDataset(60)
START: Versions = dict.fromkeys(ORIGIN.names(), 0)


def chunks(version: int, *names: str) -> list[Chunk]:
    return [make_chunk(name, version) for name in names]


def check(directory: Path, versions: Versions) -> None:
    """Every byte, every chunk, and every answer."""
    verify_files(directory)
    engine = EmbeddedEngine(directory)
    assert not twice(engine)
    assert stored_chunks(engine) == {name: make_chunk(name, v) for name, v in versions.items()}
    assert engine.info.chunks == len(versions)
    contents = Contents(restore_embedder("synthetic", read_archive(directory / EMBEDDER)))
    assert judge_answers(engine, versions, contents, random.Random(0)) == []
    engine.close()


def test_added_replaced_and_deleted(index: Path) -> None:
    with IndexWriter(index) as writer:
        added = writer.add(chunks(1, "new", "c3", "c40"))
        assert writer.delete(["c0", "c59", "nobody"]) == 2
    assert added.chunks == 61
    versions = {**START, "new": 1, "c3": 1, "c40": 1}
    check(index, {name: v for name, v in versions.items() if name not in ("c0", "c59")})


def test_what_was_deleted_can_be_added_again(index: Path) -> None:
    with IndexWriter(index) as writer:
        writer.delete(["c1"])
        writer.add(chunks(2, "c1"))
    check(index, {**START, "c1": 2})


def test_scores_after_deletions_are_those_of_an_index_of_what_is_left(
    index: Path, tmp_path: Path
) -> None:
    left = TortureDataset(40)
    build_index(replace(build_plan(left)), tmp_path / "left")
    with IndexWriter(index) as writer:
        writer.delete(ORIGIN.names()[40:])
    query = " ".join(make_chunk("c7", 0).text.split()[:5])
    scores = []
    for directory in (index, tmp_path / "left"):
        engine = EmbeddedEngine(directory)
        found = engine.session(OPTIMIZED).bm25_leg(query, 100, None)
        names = engine.chunk_ids()
        scores.append({names[row]: s for row, s in zip(found.ids, found.scores, strict=True)})
        engine.close()
    assert scores[0].keys() == scores[1].keys()
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_replacing_moves_a_chunk_in_the_taxonomy(index: Path) -> None:
    moved = Chunk("c5", "", "only here", ("elsewhere", "deep"), "letter")
    with IndexWriter(index) as writer:
        writer.add([moved])
    engine = EmbeddedEngine(index)
    session, names = engine.session(LEGACY), engine.chunk_ids()
    before = make_chunk("c5", 0).path
    mask = session.compile_filters(Filters(canonical_in=(("elsewhere",),)))
    found = session.vector_leg(engine.embed_query("b0011"), 99, mask)
    assert [names[row] for row in found.ids] == ["c5"]
    mask = session.compile_filters(Filters(canonical_in=(before,)))
    found = session.vector_leg(engine.embed_query("b0011"), 99, mask)
    assert "c5" not in [names[row] for row in found.ids]
    assert engine.filters.taxonomy.count(("elsewhere", "deep")) == 1
    engine.close()


def test_what_changes_during_a_merge_stays_changed(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with IndexWriter(index) as writer:

        def slow_merge(segments: list[Segment]) -> SegmentContent:
            content = merged_content(segments)
            writer.delete(["c1", "c26"])
            writer.add(chunks(1, "c2", "during"))
            return content

        writer.add(chunks(1, "fourth"))
        monkeypatch.setattr(writing, "merged_content", slow_merge)
        assert writer.compact()
        assert len(writer.manifest.segments) == 2
    versions = {**START, "fourth": 1, "c2": 1, "during": 1}
    check(index, {name: v for name, v in versions.items() if name not in ("c1", "c26")})


def test_merging_changes_no_answer(index: Path) -> None:
    with IndexWriter(index) as writer:
        for number in range(1, 10):
            writer.add(chunks(number, f"u{number}", f"c{number}"))
        writer.compact_all()
        assert len(writer.manifest.segments) <= 4
    check(index, {**START, **{f"{kind}{n}": n for kind in "uc" for n in range(1, 10)}})
    assert {path.name for path in (index / "segments").iterdir()} == {
        each.name for each in read_manifest(index).segments
    }


def test_a_full_compaction_leaves_few_segments_and_no_deleted_row(index: Path) -> None:
    with IndexWriter(index, segment_rows=50) as writer:
        writer.add(chunks(1, "c0", "c26", "new"))
        writer.delete(["c1"])
        writer.compact_fully()
        assert sorted(each.rows for each in writer.manifest.segments) == [10, 50]
        before = writer.manifest
        writer.compact_fully()
        assert writer.manifest == before
    versions = {**START, "c0": 1, "c26": 1, "new": 1}
    del versions["c1"]
    check(index, versions)
    with IndexWriter(index) as writer:
        writer.delete(versions)
        writer.compact_fully()
        assert [each.rows for each in writer.manifest.segments] == [10]
        writer.add(chunks(3, "again"))
        writer.compact_fully()
        assert writer.manifest.rows == 1
    check(index, {"again": 3})


def test_a_second_writer_is_refused(index: Path) -> None:
    with IndexWriter(index), pytest.raises(BuildError, match="another process"):
        IndexWriter(index)
    IndexWriter(index).close()


def test_updates_that_change_nothing(index: Path) -> None:
    before = read_manifest(index)
    with IndexWriter(index) as writer:
        assert writer.add([]) == before
        assert writer.delete([]) == 0
        assert writer.delete(["nobody"]) == 0
    assert read_manifest(index) == before


def test_an_id_that_comes_twice_is_refused_whole(index: Path) -> None:
    before = read_manifest(index)
    with IndexWriter(index) as writer, pytest.raises(InvalidRequestError, match="'a' comes twice"):
        writer.add(chunks(1, "b", "a", "a"))
    assert read_manifest(index) == before
    check(index, START)


def test_deleting_an_id_named_twice_counts_it_once(index: Path) -> None:
    with IndexWriter(index) as writer:
        assert writer.delete(["c1", "c1"]) == 1


def test_everything_deleted_and_filled_again(index: Path, engine: EmbeddedEngine) -> None:
    with IndexWriter(index) as writer:
        assert writer.delete(ORIGIN.names()) == 60
        writer.compact_all()
        engine.refresh()
        session = engine.session(OPTIMIZED)
        assert engine.info.chunks == 0
        assert len(session.bm25_leg(make_chunk("c1", 0).text, 9, None)) == 0
        assert len(session.vector_leg(engine.embed_query("b0011"), 9, None)) == 0
        EmbeddedEngine(index).close()
        writer.add(chunks(5, "c1", "z"))
        writer.compact_all()
    check(index, {"c1": 5, "z": 5})


def test_chunks_without_words(index: Path, engine: EmbeddedEngine) -> None:
    with IndexWriter(index) as writer:
        writer.add([Chunk("empty", "", ""), Chunk("blank", "", "  ")])
        writer.compact_all()
    engine.refresh()
    assert {"empty", "blank"} < stored_chunks(engine).keys()
    assert len(engine.session(LEGACY).bm25_leg("b0011", 99, None)) <= 60
    EmbeddedEngine(index).close()


def test_a_full_disk_changes_nothing(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(content: SegmentContent, directory: Path, *_: object) -> None:
        directory.mkdir()
        (directory / "chunks.arrow").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with IndexWriter(index) as writer:
        with monkeypatch.context() as patched:
            patched.setattr(writing, "write_segment", full)
            with pytest.raises(BuildError, match="disk is full"):
                writer.add(chunks(1, "new"))
        check(index, START)
        assert len(list((index / "segments").iterdir())) == len(writer.manifest.segments)
        writer.add(chunks(2, "new"))
    check(index, {**START, "new": 2})


def test_an_update_that_failed_once_it_was_in_place_is_built_upon(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with IndexWriter(index) as writer:
        for fails in (
            lambda: writer.delete(["c1", "c30"]),
            lambda: writer.add(chunks(1, "c2", "new")),
            lambda: writer.add(chunks(1, "fourth")),
            writer.compact,
        ):
            with monkeypatch.context() as patched:
                patched.setattr(manifests, "sync_entry", failing)
                with pytest.raises(OSError, match="Input/output error"):
                    fails()
            assert writer.manifest == read_manifest(index)
        writer.add(chunks(2, "c3"))
    versions = {**START, "c2": 1, "new": 1, "fourth": 1, "c3": 2}
    check(index, {name: v for name, v in versions.items() if name not in ("c1", "c30")})
    assert len(read_manifest(index).segments) == 3
    IndexWriter(index).close()
    assert {path.name for path in (index / "segments").iterdir()} == {
        each.name for each in read_manifest(index).segments
    }


def test_no_segment_gets_the_name_of_one_that_is_gone(index: Path) -> None:
    given = [each.name for each in read_manifest(index).segments]
    for number in range(3):
        with IndexWriter(index) as writer:
            added = writer.add(chunks(number, "new"))
            given.append(added.segments[-1].name)
            writer.delete(["new"])
            writer.compact_all()
            assert given[-1] not in {each.name for each in writer.manifest.segments}
    assert len(given) == len(set(given)) == 6


def test_texts_without_a_precomputed_vector_are_refused(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "wren and heron"}\n{"id": "b", "text": "pike"}\n')
    dataset = open_dataset(f"jsonl:{corpus}")
    vectors = tmp_path / "vectors.npz"
    queries = np.eye(4, dtype=np.float32)[: len(dataset.query_texts())]
    np.savez(vectors, docs=np.eye(4, dtype=np.float32)[:2], queries=queries.reshape(-1, 4))
    index = prepare(dataset, f"precomputed:{vectors}", directory=tmp_path / "index")
    before = read_manifest(index)
    with IndexWriter(index) as writer:
        with pytest.raises(EmbeddingError, match="precomputed"):
            writer.add([Chunk("c", "", "a text of its own")])
        assert writer.delete(["a"]) == 1
    assert read_manifest(index).segments[0].name == before.segments[0].name
    assert read_manifest(index).chunks == 1


NAMES = st.sampled_from([*ORIGIN.names()[:6], "n1", "n2", "n3"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sets(NAMES, min_size=1, max_size=4)),
        st.tuples(st.just("delete"), st.sets(NAMES, max_size=6)),
        st.tuples(st.just("compact"), st.just(set[str]())),
        st.tuples(st.just("reopen"), st.just(set[str]())),
    ),
    max_size=8,
)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_any_sequence_of_changes_is_what_a_dictionary_makes_of_it(
    built: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, set[str]]]
) -> None:
    index = tmp_path_factory.mktemp("steps") / "index"
    shutil.copytree(built, index)
    versions = dict(START)
    writer = IndexWriter(index)
    for number, (step, names) in enumerate(steps, 1):
        if step == "add":
            writer.add(chunks(number, *sorted(names)))
            versions.update(dict.fromkeys(names, number))
        elif step == "delete":
            assert writer.delete(names) == len(names & versions.keys())
            versions = {name: v for name, v in versions.items() if name not in names}
        elif step == "compact":
            writer.compact_all()
        else:
            writer.close()
            writer = IndexWriter(index)
    writer.close()
    check(index, versions)
    shutil.rmtree(index)
