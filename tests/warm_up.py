"""Compiles the kernels of one leg, so that two processes share the work: `warm_up.py LEG`."""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from unittest.mock import Mock, patch

from dtrag_core.bench.torture.children import build_plan
from dtrag_core.bench.torture.corpus import TortureDataset
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.index.builder import build_index
from dtrag_core.index.ivf_tuning import EXACT
from dtrag_core.index.writer import IndexWriter

LEFT_OUT: Final = {
    "bm25": {
        "dtrag_core.index.builder.tune": Mock(return_value=EXACT),
        "dtrag_core.index.warm_up.Float32Segments": Mock(),
        "dtrag_core.index.warm_up.IVFVectors": Mock(),
        "dtrag_core.engines.embedded.fusion": Mock(),
        "dtrag_core.engines.embedded.fusion_batch": Mock(),
    },
    "vector": {"dtrag_core.index.snapshot.BM25Index": Mock()},
}


def main(leg: str) -> None:
    """Build a small index and warm it up, without what is the other leg's."""
    with ExitStack() as stack:
        for name, stand_in in LEFT_OUT[leg].items():
            stack.enter_context(patch(name, stand_in))
        index = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "index"
        build_index(build_plan(TortureDataset(80), 30), index)
        engine = EmbeddedEngine(index)
        engine.warm_up_batches()
        engine.close()
        if leg == "vector":  # it has less to compile
            with IndexWriter(index) as writer:
                writer.delete(["c1"])
                writer.compact_fully()


if __name__ == "__main__":
    main(sys.argv[1])
