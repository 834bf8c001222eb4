"""An open engine sees every generation without restart; a session keeps its own to its end."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from dtrag_core.bench.torture.corpus import TortureDataset, make_chunk
from dtrag_core.bench.torture.judging import stored_chunks
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.index.writer import IndexWriter
from dtrag_core.types import LEGACY, OPTIMIZED, Chunk

ORIGIN = TortureDataset(60)


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
