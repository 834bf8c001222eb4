"""Engines by name: those shipped, and those of the entry point group `dtrag.peers`."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points
from typing import Final, Never

from dtrag_core.bench.peers.base import Peer, PeerUnavailableError
from dtrag_core.bench.peers.dtrag import GIVEN_VECTORS, NAME, RRF, BuildIndex, DtragPeer
from dtrag_core.bench.peers.template import NumpyPeer
from dtrag_core.errors import InvalidRequestError, UnknownNameError

GROUP: Final = "dtrag.peers"
DEFAULT: Final = ("dtrag", "lancedb", "tantivy+faiss", "bm25s+faiss", "sqlite", "duckdb", "lucene")

Load = Callable[[], Peer]


def load_peers(
    names: Sequence[str], build_index: BuildIndex
) -> tuple[tuple[Peer, ...], Mapping[str, str]]:
    """Return the engines of these names, and of those that cannot run here the reason.

    `build_index` builds this package's own index. Raises UnknownNameError, InvalidRequestError for
    a name given twice, MissingExtraError if a package is not installed.
    """
    known = _known(build_index)
    twice = [name for name in names if names.count(name) > 1]
    if not names or twice:
        raise InvalidRequestError(
            f"engines are named once each, at least one; got {', '.join(names) or 'none'}"
        )
    peers, reasons = [], {}
    for name in names:
        if name not in known:
            raise UnknownNameError("engine", name, known)
        try:
            peers.append(known[name]())
        except PeerUnavailableError as error:
            reasons[name] = str(error)
    if not peers:
        raise PeerUnavailableError("; ".join(f"{name}: {why}" for name, why in reasons.items()))
    return tuple(peers), reasons


def _known(build_index: BuildIndex) -> Mapping[str, Load]:
    shipped: dict[str, Load] = {
        **{name: partial(DtragPeer, build_index, name) for name in (NAME, GIVEN_VECTORS, RRF)},
        "numpy": NumpyPeer,
        "lancedb": _lance,
        "tantivy+faiss": _tantivy_faiss,
        "bm25s+faiss": _bm25s_faiss,
        "sqlite": _sqlite,
        "duckdb": _duck,
        "lucene": _lucene,
    }
    found = {point.name: _loader(point.load) for point in entry_points(group=GROUP)}
    return {**found, **shipped}


def _loader(load: Callable[[], Load]) -> Load:
    return lambda: load()()


def _lance() -> Peer:
    from dtrag_core.bench.peers.lance import LancePeer

    return LancePeer()


def _tantivy_faiss() -> Peer:
    from dtrag_core.bench.peers.faiss_vectors import FaissVectors
    from dtrag_core.bench.peers.paired import PairedPeer
    from dtrag_core.bench.peers.tantivy_text import TantivyText

    return PairedPeer(TantivyText(), FaissVectors())


def _bm25s_faiss() -> Peer:
    from dtrag_core.bench.peers.bm25s_text import Bm25sText
    from dtrag_core.bench.peers.faiss_vectors import FaissVectors
    from dtrag_core.bench.peers.paired import PairedPeer

    return PairedPeer(Bm25sText(), FaissVectors())


def _sqlite() -> Peer:
    from dtrag_core.bench.peers.sqlite import SqlitePeer

    return SqlitePeer()


def _duck() -> Peer:
    from dtrag_core.bench.peers.duck import DuckPeer

    return DuckPeer()


def _lucene() -> Never:
    java = shutil.which("java")
    raise PeerUnavailableError(
        f"Lucene needs a Java runtime ({java or 'none found'}) and its jars, which no Python "
        f"package brings; add an engine of your own by an entry point of the group {GROUP}"
    )
