"""Small helpers the embedders share: unit rows, batches, packed words, fingerprints, sampling."""

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dtrag_core.embedding.base import State
from dtrag_core.errors import EmbeddingError
from dtrag_core.types import FloatArray

FINGERPRINT = "fingerprint"

Item = TypeVar("Item")


def unit_rows(matrix: NDArray[np.floating], source: str) -> FloatArray:
    """Return float32[n, d] with every row scaled to length 1; zero rows stay zero.

    Raises EmbeddingError if a value is NaN or infinite; `source` names who made it.
    """
    rows = np.asarray(matrix, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, np.newaxis]
    if not np.isfinite(lengths).all():
        broken = np.flatnonzero(~np.isfinite(lengths))
        raise EmbeddingError(
            f"{source} gave NaN or infinite values for {broken.size} of {len(rows)} texts "
            f"(first: row {broken[0]}); check the model or the vector file"
        )
    lengths[lengths == 0] = 1
    return np.asarray(rows / lengths, dtype=np.float32)


def batches(items: Sequence[Item], size: int) -> Iterator[tuple[int, Sequence[Item]]]:
    """Yield (position of the first item, up to `size` items)."""
    for start in range(0, len(items), size):
        yield start, items[start : start + size]


def text_bytes(text: str) -> bytes:
    """Return the text as UTF-8; lone surrogates, which JSON can carry, are kept as they are."""
    return text.encode("utf-8", "surrogatepass")


def text_hash(text: str) -> bytes:
    """Return 16 bytes that identify a text."""
    return hashlib.blake2b(text_bytes(text), digest_size=16).digest()


def pack_words(words: Iterable[str]) -> NDArray[np.uint8]:
    """Return words (none holds a line break) as uint8[bytes], one a line, in UTF-8."""
    return np.frombuffer(text_bytes("\n".join(words)), dtype=np.uint8)


def unpack_words(packed: NDArray[np.generic]) -> list[str]:
    """Return the words that `pack_words` packed."""
    joined = packed.tobytes().decode("utf-8", "surrogatepass")
    return joined.split("\n") if joined else []


def fingerprint_of(name: str, arrays: State) -> str:
    """Return a hex digest of a model's name and its arrays: names, types, shapes and bytes."""
    digest = hashlib.sha256(text_bytes(name))
    for key in sorted(arrays):
        values = np.ascontiguousarray(arrays[key])
        digest.update(f"|{key} {values.dtype.str} {values.shape}|".encode())
        digest.update(values.data)
    return digest.hexdigest()[:32]


def sealed(arrays: Mapping[str, NDArray[np.generic]], fingerprint: str) -> State:
    """Return the arrays with the fingerprint among them, which restoring checks against."""
    return {**arrays, FINGERPRINT: pack_words([fingerprint])}


def sample_of(documents: Iterable[str], size: int) -> list[str]:
    """Return all documents, or a seeded uniform sample (reservoir: Vitter 1985, algorithm R)."""
    pick = random.Random(0)
    kept: list[str] = []
    for seen, text in enumerate(documents):
        if seen < size:
            kept.append(text)
        elif (place := pick.randrange(seen + 1)) < size:
            kept[place] = text
    return kept
