"""Opens what people name and compares engines on it: for the command and the notebook."""

from pathlib import Path
from typing import Any

from dtrag_core.bench.peers.compare import compare_peers
from dtrag_core.bench.peers.corpus import prepare_corpus
from dtrag_core.bench.peers.plan import PeerPlan
from dtrag_core.bench.peers.registry import DEFAULT, load_peers
from dtrag_core.config import BM25Settings, cache_root
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.types import Progress, no_progress
from dtrag_core.workbench import prepare


def measure_peers(
    dataset: str,
    embedder: str | None = None,
    engines: tuple[str, ...] | None = None,
    plan: PeerPlan | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Compare engines on a dataset, by default those of `registry.DEFAULT`.

    Engines are loaded first, so that a package that is missing costs no time. Raises what
    `open_dataset`, `load_peers` and `compare_peers` raise.
    """
    opened = open_dataset(dataset)

    def build_index(directory: Path, progress: Progress) -> None:
        prepare(opened, embedder, directory=directory, progress=progress)

    peers = load_peers(engines or DEFAULT, build_index)
    prepared = prepare_corpus(opened, embedder, BM25Settings(), cache_root(), progress)
    return compare_peers(opened, prepared, peers, plan or PeerPlan(), progress)
