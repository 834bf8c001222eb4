"""A small judged corpus in every form the engines want, shared by their tests."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dtrag_core.bench.peers.base import Peer, PeerCorpus, PeerUnavailableError
from dtrag_core.bench.peers.corpus import Prepared, prepare_corpus
from dtrag_core.bench.peers.registry import load_peers
from dtrag_core.config import BM25Settings
from dtrag_core.datasets.base import Dataset
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.errors import MissingExtraError
from dtrag_core.types import Progress, no_progress
from dtrag_core.workbench import prepare

NAMES = (
    *("dtrag", "dtrag-vectors", "dtrag-rrf", "numpy"),
    *("lancedb", "tantivy+faiss", "bm25s+faiss", "sqlite", "duckdb"),
)
ANIMALS = ("wren", "heron", "pike", "salmon", "otter", "badger", "vole", "newt", "adder", "stoat")
PLACES = (
    "hedge",
    "river",
    "lake",
    "meadow",
    "heath",
    "quarry",
    "orchard",
    "marsh",
    "copse",
    "weir",
)
DEEDS = ("sings", "hunts", "sleeps", "digs", "swims")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """500 notes of equal length; the two words of note i that no other has name it."""
    folder = tmp_path_factory.mktemp("notes")
    lines = []
    for number in range(500):
        animal, place = ANIMALS[number % 10], PLACES[number // 10 % 10]
        deed = DEEDS[number // 100]
        text = f"planted{number} unique{number} {animal} {deed} {place} {animal} quietly twice"
        lines.append(json.dumps({"id": f"n{number}", "text": text}))
    file = folder / "notes.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return open_dataset(f"jsonl:{file}")


@pytest.fixture(scope="session")
def prepared(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare_corpus(
        dataset, "lsa", BM25Settings(), tmp_path_factory.mktemp("home"), no_progress
    )


@pytest.fixture(scope="session")
def corpus(prepared: Prepared) -> PeerCorpus:
    return prepared.corpus


@pytest.fixture(scope="session")
def build_index(dataset: Dataset) -> Callable[[Path, Progress], None]:
    def build(directory: Path, progress: Progress) -> None:
        prepare(dataset, "lsa", directory=directory, progress=progress)

    return build


@pytest.fixture(params=NAMES)
def peer(request: pytest.FixtureRequest, build_index: Callable[[Path, Progress], None]) -> Peer:
    """Each engine that is installed."""
    try:
        peers, reasons = load_peers([request.param], build_index)
    except (MissingExtraError, PeerUnavailableError) as error:
        pytest.skip(str(error))
    assert not reasons
    return peers[0]
