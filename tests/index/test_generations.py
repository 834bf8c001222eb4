"""An open engine sees every generation without restart; a session keeps its own to its end."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from dtrag_core.bench.torture.corpus import TortureDataset, make_chunk
from dtrag_core.bench.torture.judging import stored_chunks
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.engines.generations import LOOK_EVERY_NS, RETRY_AFTER_NS, Generations
from dtrag_core.errors import IndexCorruptError, IndexMismatchError
from dtrag_core.index.manifest import read_manifest
from dtrag_core.index.writer import IndexWriter
from dtrag_core.types import LEGACY, OPTIMIZED, Chunk
from dtrag_core.workbench import prepare

ORIGIN = TortureDataset(60)
LOGGER = logging.getLogger("dtrag_core.engines.generations")


@pytest.fixture
def log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, whatever a library that another test imported did to loggers."""
    monkeypatch.setattr(LOGGER, "disabled", False)
    monkeypatch.setattr(LOGGER, "propagate", False)
    caplog.set_level(logging.WARNING, LOGGER.name)
    LOGGER.addHandler(caplog.handler)
    yield caplog
    LOGGER.removeHandler(caplog.handler)


def chunks(version: int, *names: str) -> list[Chunk]:
    return [make_chunk(name, version) for name in names]


def test_an_open_engine_sees_every_generation(index: Path, engine: EmbeddedEngine) -> None:
    with IndexWriter(index) as writer:
        writer.add(chunks(1, "new"))
        while engine.manifest.generation < writer.manifest.generation:
            engine.session(OPTIMIZED)
        assert "new" in stored_chunks(engine)
        writer.delete(["new"])
        engine.refresh()
    assert "new" not in stored_chunks(engine)


READER = """
import sys
from pathlib import Path
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.types import OPTIMIZED
engine = EmbeddedEngine(Path(sys.argv[1]))
for line in sys.stdin:
    while engine.manifest.generation < int(line):
        engine.session(OPTIMIZED)
    print(engine.info.chunks, flush=True)
engine.close()
"""


def test_another_process_sees_every_generation(index: Path) -> None:
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(index)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with reader, IndexWriter(index) as writer:
        assert reader.stdin
        assert reader.stdout
        for expected in (60, 62, 61):
            reader.stdin.write(f"{writer.manifest.generation}\n")
            reader.stdin.flush()
            assert int(reader.stdout.readline()) == expected
            if expected == 60:
                writer.add(chunks(1, "x", "y"))
            else:
                writer.delete(["x"])
        reader.stdin.close()
    assert reader.returncode == 0


def test_a_session_keeps_its_generation_while_a_merge_removes_its_files(
    index: Path, engine: EmbeddedEngine
) -> None:
    session = engine.session(LEGACY)
    vector = engine.embed_query("t0011")
    before = session.vector_leg(vector, 99, None)
    texts = [chunk.text for chunk in session.fetch(before.ids)]
    with IndexWriter(index) as writer:
        writer.delete(ORIGIN.names()[:50])
        writer.compact_all()
        engine.refresh()
    again = session.vector_leg(vector, 99, None)
    np.testing.assert_array_equal(again.ids, before.ids)
    np.testing.assert_array_equal(again.scores, before.scores)
    assert [chunk.text for chunk in session.fetch(again.ids)] == texts
    assert len(engine.session(LEGACY).vector_leg(vector, 99, None)) == 10


def aside(file: Path) -> Path:
    return file.rename(file.with_suffix(".aside"))


def until(done: Callable[[], bool], look: Callable[[], object]) -> None:
    while not done():
        look()


def until_outdated(engine: EmbeddedEngine) -> None:
    until(lambda: engine.outdated is not None, lambda: engine.session(OPTIMIZED))


def codes_of_last_segment(index: Path) -> Path:
    return index / "segments" / read_manifest(index).segments[-1].name / "vectors_halves.npy"


def test_a_generation_that_cannot_be_opened_disturbs_no_search(
    index: Path, engine: EmbeddedEngine, log: pytest.LogCaptureFixture
) -> None:
    with IndexWriter(index) as writer:
        writer.add(chunks(1, "new"))
        missing = aside(codes_of_last_segment(index))
        until_outdated(engine)
        for _ in range(50):
            session = engine.session(LEGACY)
            assert len(session.vector_leg(engine.embed_query("t0011"), 99, None)) == 60
        assert "vectors_halves.npy is missing" in str(engine.outdated)
        (said,) = log.messages
        assert "generation 1" in said
        assert "vectors_halves.npy is missing" in said
        with pytest.raises(IndexCorruptError, match=r"vectors_halves\.npy is missing"):
            engine.refresh()
        missing.rename(missing.with_suffix(".npy"))
        writer.delete(["c1"])
        while engine.manifest.generation < writer.manifest.generation:
            engine.session(OPTIMIZED)
    assert engine.outdated is None
    assert engine.info.chunks == 60


def test_a_passing_trouble_is_tried_again_though_the_manifest_stays(index: Path) -> None:
    ticks = count(step=LOOK_EVERY_NS)
    pause = 0
    generations = Generations(index, lambda: next(ticks) + pause)
    with IndexWriter(index) as writer:
        writer.add(chunks(1, "new"))
    missing = aside(codes_of_last_segment(index))
    until(lambda: generations.failure is not None, generations.look)
    missing.rename(missing.with_suffix(".npy"))
    for _ in range(50):
        generations.look()
    assert generations.present.info.chunks == 60
    pause = RETRY_AFTER_NS
    until(lambda: generations.present.info.chunks == 61, generations.look)
    assert generations.failure is None
    generations.close()


def test_another_index_in_its_place_is_told_and_the_one_opened_is_served(
    index: Path, engine: EmbeddedEngine, corpus_file: Path, log: pytest.LogCaptureFixture
) -> None:
    before = stored_chunks(engine)
    prepare(open_dataset(f"jsonl:{corpus_file}"), "lsa", directory=index, rebuild=True)
    until_outdated(engine)
    assert stored_chunks(engine) == before
    session = engine.session(OPTIMIZED)
    found = session.vector_leg(engine.embed_query("t0011"), 5, None)
    assert {chunk.id for chunk in session.fetch(found.ids)} <= before.keys()
    assert isinstance(engine.outdated, IndexMismatchError)
    assert "open it again" in log.text
    with pytest.raises(IndexMismatchError, match="was replaced by an index with"):
        engine.refresh()
