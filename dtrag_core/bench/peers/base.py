"""What a peer is: an engine of another library, built from the same tokens and vectors.

An own engine joins by one file with a class that fits `Peer` (`template.py` is a complete one) and
an entry point of the group `dtrag.peers` that names the class.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import numpy as np

from dtrag_core.config import BM25Settings
from dtrag_core.errors import MeasuringError
from dtrag_core.types import Candidates, FloatArray, IdArray, Progress

EXTRA: Final = "peers"
TEXTS, VECTORS, IDS = "texts.txt", "vectors.npy", "ids.txt"

Settings: TypeAlias = Mapping[str, str | int | float | bool]


class PeerUnavailableError(MeasuringError):
    """An engine cannot run on this machine; the message says why."""


@dataclass(frozen=True)
class PeerCorpus:
    """What every peer indexes: the analysed texts and the vectors of one dataset, on disk.

    `fingerprint` identifies dataset, analyser, embedder and BM25 settings. Rows are numbered in the
    dataset's order.
    """

    directory: Path
    fingerprint: str
    chunks: int
    dimension: int
    bm25: BM25Settings = field(default_factory=BM25Settings)

    def texts(self) -> Iterator[str]:
        """Stream each chunk's tokens, joined by single spaces."""
        with (self.directory / TEXTS).open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line[:-1]

    @cached_property
    def vectors(self) -> FloatArray:
        """The vectors, float32[chunks, dimension], unit rows (zero for an empty text), mapped."""
        mapped: FloatArray = np.load(self.directory / VECTORS, mmap_mode="r")
        return mapped

    @cached_property
    def chunk_ids(self) -> Sequence[str]:
        """The dataset's id of every chunk, by row."""
        return (self.directory / IDS).read_text(encoding="utf-8").split("\n")


@dataclass(frozen=True, slots=True, eq=False)
class PeerQuery:
    """A query in every form an engine may want: its text, its tokens, and its vector float32[d]."""

    text: str
    terms: tuple[str, ...]
    vector: FloatArray = field(repr=False)


class OpenPeer(Protocol):
    """An index opened for searching. Chunks are named by their row in the corpus."""

    async def bm25(self, terms: Sequence[str], k: int) -> Candidates:
        """Return the `k` best chunks by BM25 among those that hold a term."""
        ...

    async def nearest(self, vector: FloatArray, k: int) -> IdArray:
        """Return the `k` nearest chunks by cosine, int32[k], best first: the vector leg."""
        ...

    async def hybrid(self, query: PeerQuery, k: int, depth: int) -> IdArray:
        """Return the `k` best chunks fused from both legs, each `depth` deep, best first."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class Peer(Protocol):
    """An engine that can be built from a corpus and opened again."""

    @property
    def name(self) -> str:
        """What it is called in options, tables and figures."""
        ...

    @property
    def index(self) -> str:
        """What its index is called, another name for what other settings would build.

        A kept index is used again under the same name, versions and corpus; peers that search the
        same index share it.
        """
        ...

    def versions(self) -> Mapping[str, str]:
        """Return the version of each package it uses."""
        ...

    def settings(self) -> Settings:
        """Return how it is configured, and where that comes from; recorded with every result."""
        ...

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Build the index in an empty directory, which may be moved afterwards."""
        ...

    def open(self, corpus: PeerCorpus, directory: Path) -> OpenPeer:
        """Open what `build` left in the directory."""
        ...
