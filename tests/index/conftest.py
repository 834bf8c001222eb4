"""A small index of several segments that may be changed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dtrag_core.bench.torture.children import build_plan
from dtrag_core.bench.torture.corpus import TortureDataset
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.index.builder import build_index


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of 60 chunks in three segments; read only."""
    folder = tmp_path_factory.mktemp("writer") / "built"
    build_index(build_plan(TortureDataset(60), 25), folder)
    return folder


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(built, tmp_path / "index"))


@pytest.fixture
def engine(index: Path) -> Iterator[EmbeddedEngine]:
    """An engine over the copy, open all the time."""
    opened = EmbeddedEngine(index)
    yield opened
    opened.close()
