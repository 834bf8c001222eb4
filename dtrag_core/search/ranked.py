"""What a search has found before it reads any text."""

from dataclasses import dataclass

from dtrag_core.types import FloatArray, IdArray


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best chunks of one search before their texts are read: arrays of one length."""

    ids: IdArray
    fused: FloatArray
    bm25: FloatArray
    cosine: FloatArray
