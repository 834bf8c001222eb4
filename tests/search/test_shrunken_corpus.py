"""A service asks the same of an index that has fewer chunks than before."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dtrag_core.bench.torture.children import build_plan
from dtrag_core.bench.torture.corpus import TortureDataset, make_chunk
from dtrag_core.errors import InvalidRequestError
from dtrag_core.index.builder import build_index
from dtrag_core.index.writer import IndexWriter
from dtrag_core.search.dao import SearchDAO
from dtrag_core.types import Fusion, Mode, SearchParams
from dtrag_core.workbench import open_dao

ORIGIN = TortureDataset(20)
QUERY = make_chunk("c3", 0).text


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shrunken") / "built"
    build_index(build_plan(ORIGIN, 10), folder)
    return folder


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "index"))


@pytest.fixture
def dao(index: Path) -> Iterator[SearchDAO]:
    opened = open_dao(index)
    yield opened
    opened.executor.close()
    opened.engine.close()


def found(dao: SearchDAO, topk: int, mode: Mode = "optimized") -> set[str]:
    return {hit.id for hit in asyncio.run(dao.hybrid_search(QUERY, topk=topk, mode=mode)).hits}


@pytest.mark.parametrize("compacted", [False, True])
def test_what_is_left_is_found_and_more_than_there_ever_was_is_refused(
    index: Path, compacted: bool
) -> None:
    with IndexWriter(index) as writer:
        writer.delete(ORIGIN.names()[3:])
        if compacted:
            writer.compact_fully()
    dao = open_dao(index)
    assert found(dao, 5) == found(dao, 5, "legacy") == found(dao, 20) == {"c0", "c1", "c2"}
    for topk in (0, 21):
        with pytest.raises(InvalidRequestError, match=rf"1\.\.20 \(the corpus has 3.*got {topk}$"):
            found(dao, topk)
    dao.executor.close()
    dao.engine.close()


@pytest.mark.parametrize("fusion", [Fusion(), Fusion("rrf")])
def test_of_an_emptied_index_nothing_is_found_until_it_is_filled(
    index: Path, fusion: Fusion
) -> None:
    with IndexWriter(index) as writer:
        writer.delete(ORIGIN.names())
    dao = open_dao(index)
    assert found(dao, 5) == found(dao, 5, "legacy") == set()
    params = SearchParams(5, fusion=fusion)
    assert asyncio.run(dao.certified_search(QUERY, params)).hits == ()
    assert asyncio.run(dao.search_ids(QUERY, params)) == ()
    dao.executor.close()
    dao.engine.close()
    with IndexWriter(index) as writer:
        writer.add([make_chunk("c3", 0)])
    dao = open_dao(index)
    assert found(dao, 5) == {"c3"}
    dao.executor.close()
    dao.engine.close()


def test_a_corpus_as_it_was_built_refuses_more_than_it_has(dao: SearchDAO) -> None:
    assert len(found(dao, 20)) == 20
    with pytest.raises(InvalidRequestError, match=r"topk must be in 1\.\.20 .*got 21"):
        found(dao, 21)
