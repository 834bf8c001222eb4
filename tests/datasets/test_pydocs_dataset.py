"""Docstrings of the installed packages: walked once, then read back the same."""

from collections import Counter
from pathlib import Path

import pytest

from dtrag_core.datasets import Dataset, open_dataset, pydocs
from dtrag_core.errors import DataError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def kept_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTRAG_HOME", str(home))


@pytest.fixture(scope="module")
def dataset(home: Path) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTRAG_HOME", str(home))
        return open_dataset("pydocs")


def test_thousands_of_docstrings_of_all_five_packages(dataset: Dataset) -> None:
    chunks = list(dataset.chunks())
    assert len(chunks) == len(dataset) > 8_000
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    packages = Counter(chunk.path[0] for chunk in chunks)
    assert set(packages) == {"numpy", "scipy", "pandas", "sklearn", "matplotlib"}
    assert min(packages.values()) > 500
    assert {"module", "class", "function", "method"} <= {chunk.doc_type for chunk in chunks}


def test_a_known_function_is_where_one_would_look(dataset: Dataset) -> None:
    chunks = {chunk.id: chunk for chunk in dataset.chunks()}
    norm = chunks["numpy.linalg.norm"]
    assert (norm.title, norm.path, norm.doc_type) == (
        "numpy.linalg.norm",
        ("numpy", "linalg"),
        "function",
    )
    assert norm.text.startswith("Matrix or vector norm.")
    assert chunks["pandas.DataFrame.head"].doc_type == "method"


def test_queries_are_known_items_in_two_halves(dataset: Dataset) -> None:
    chunks = {chunk.id: chunk for chunk in dataset.chunks()}
    train, test = dataset.queries("train"), dataset.queries("test")
    assert min(len(train), len(test)) > 1_000
    assert {q.id for q in train}.isdisjoint(q.id for q in test)
    assert len({q.text for q in (*train, *test)}) == len(train) + len(test)
    for query in (*train, *test):
        assert query.text not in " ".join(chunks[query.id].content.split())


def test_it_is_read_back_the_same_without_walking_again(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pydocs, "_walk_into", pytest.fail)
    again = open_dataset("pydocs")
    assert list(again.chunks()) == list(dataset.chunks())
    assert again.info == dataset.info


def test_a_failing_walk_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTRAG_HOME", str(tmp_path))
    monkeypatch.setattr(pydocs, "PACKAGES", {"no_such_package": "numpy"})
    with pytest.raises(DataError, match="walking the packages failed"):
        open_dataset("pydocs")
    assert list((tmp_path / "pydocs").iterdir()) == []
