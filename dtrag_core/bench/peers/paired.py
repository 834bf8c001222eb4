"""A text library and a vector library searched one after the other, fused by reciprocal ranks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from dtrag_core.bench.peers.base import PeerCorpus, PeerQuery, Settings
from dtrag_core.bench.peers.fusing import RRF_K, rrf
from dtrag_core.bench.peers.packages import versions_of
from dtrag_core.types import Candidates, FloatArray, IdArray, Progress


class OpenText(Protocol):
    """A text index opened for searching."""

    def bm25(self, terms: Sequence[str], k: int) -> Candidates:
        """Return the `k` best chunks by BM25."""
        ...


class OpenVectors(Protocol):
    """A vector index opened for searching."""

    effort: int
    """See `TunedSearch`."""

    @property
    def efforts(self) -> Sequence[int]:
        """See `TunedSearch`."""
        ...

    def nearest(self, vector: FloatArray, k: int) -> IdArray:
        """Return the `k` nearest chunks by cosine, int32[k], best first."""
        ...


class TextLibrary(Protocol):
    """A library that indexes text."""

    name: str
    package: str

    def settings(self) -> Settings:
        """Return how it is configured."""
        ...

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Build the index in an empty directory."""
        ...

    def open(self, directory: Path) -> OpenText:
        """Open it."""
        ...


class VectorLibrary(Protocol):
    """A library that indexes vectors."""

    name: str
    package: str

    def settings(self) -> Settings:
        """Return how it is configured."""
        ...

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Build the index in an empty directory."""
        ...

    def open(self, directory: Path) -> OpenVectors:
        """Open it."""
        ...


class PairedPeer:
    """Two libraries as one engine."""

    def __init__(self, text: TextLibrary, vectors: VectorLibrary) -> None:
        self._text = text
        self._vectors = vectors
        self.name = self.index = f"{text.name}+{vectors.name}"

    def versions(self) -> Mapping[str, str]:
        """Return the versions of both."""
        return versions_of(self._text.package, self._vectors.package)

    def settings(self) -> Settings:
        """Return the settings of both."""
        fusion = f"RRF, k = {RRF_K}, in NumPy; the legs run one after the other"
        return {**self._text.settings(), **self._vectors.settings(), "fusion": fusion}

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Build both, each in a folder of its own."""
        for part in (self._text, self._vectors):
            (directory / part.name).mkdir()
            part.build(corpus, directory / part.name, progress)

    def open(self, corpus: PeerCorpus, directory: Path) -> "OpenPair":
        """Open both."""
        text = self._text.open(directory / self._text.name)
        return OpenPair(text, self._vectors.open(directory / self._vectors.name))


class OpenPair:
    """Both indexes, opened; `effort` is that of the vector index."""

    def __init__(self, text: OpenText, vectors: OpenVectors) -> None:
        self._text = text
        self._vectors = vectors
        self.efforts = vectors.efforts

    @property
    def effort(self) -> int:
        """How many candidates a search of the vectors keeps."""
        return self._vectors.effort

    @effort.setter
    def effort(self, effort: int) -> None:
        self._vectors.effort = effort

    async def bm25(self, terms: Sequence[str], k: int) -> Candidates:
        """Search the text index."""
        return self._text.bm25(terms, k)

    async def nearest(self, vector: FloatArray, k: int) -> IdArray:
        """Search the vector index."""
        return self._vectors.nearest(vector, k)

    async def hybrid(self, query: PeerQuery, k: int, depth: int) -> IdArray:
        """Fuse what both return."""
        text = self._text.bm25(query.terms, depth)
        return rrf(text.ids, self._vectors.nearest(query.vector, depth), k)

    def close(self) -> None:
        """Nothing to release: the indexes go with this object."""
