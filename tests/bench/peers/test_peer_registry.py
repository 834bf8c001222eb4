"""Engines by name, those of others among them."""

from pathlib import Path

import pytest

from dtrag_core.bench.peers import packages, registry
from dtrag_core.bench.peers.base import PeerUnavailableError
from dtrag_core.errors import InvalidRequestError, MissingExtraError, UnknownNameError
from dtrag_core.types import Progress

MINE = """
from dtrag_core.bench.peers.template import NumpyPeer

class MyPeer(NumpyPeer):
    name = index = "mine"
"""


def no_index(directory: Path, progress: Progress) -> None:
    raise AssertionError(f"nothing is built here: {directory}")


def test_an_engine_of_ones_own_needs_one_file_and_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_peer_module.py").write_text(MINE)
    about = tmp_path / "my_peer-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-peer\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[dtrag.peers]\nmine = my_peer_module:MyPeer\n")
    monkeypatch.syspath_prepend(tmp_path)

    (peer,), reasons = registry.load_peers(["mine"], no_index)

    assert peer.name == "mine"
    assert not reasons


def test_an_unknown_name_lists_those_that_are() -> None:
    with pytest.raises(UnknownNameError, match=r"'elastic'.*bm25s\+faiss.*dtrag.*numpy"):
        registry.load_peers(["elastic"], no_index)


@pytest.mark.parametrize("names", [[], ["numpy", "numpy"]])
def test_engines_are_named_once_each(names: list[str]) -> None:
    with pytest.raises(InvalidRequestError, match="once each"):
        registry.load_peers(names, no_index)


def test_one_that_cannot_run_is_left_out_with_the_reason() -> None:
    peers, reasons = registry.load_peers(["numpy", "lucene"], no_index)

    assert [peer.name for peer in peers] == ["numpy"]
    assert "Java" in reasons["lucene"]
    with pytest.raises(PeerUnavailableError, match="lucene: Lucene needs"):
        registry.load_peers(["lucene"], no_index)


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"'no-such'.*dtrag-bench\[peers\]"):
        packages.needed("mine", "no_such_module", "no-such")
