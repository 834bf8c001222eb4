"""Settings that must agree between building and searching, and where things are kept."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtrag_core.errors import InvalidRequestError

TextProfile = Literal["english", "code", "plain"]


@dataclass(frozen=True, slots=True)
class AnalyzerSettings:
    """How text becomes tokens.

    `english`: words, English stop words dropped, Snowball stems. `code`: the same after splitting
    snake_case, CamelCase and dotted names (the whole name is kept as a token too). `plain`: white
    space only. CJK runs become character bigrams in the first two.
    """

    profile: TextProfile = "english"


@dataclass(frozen=True, slots=True)
class BM25Settings:
    """Okapi BM25 as in Lucene: `k1` saturation of term frequency, `b` length normalisation."""

    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        if not (0 <= self.k1 < math.inf and 0 <= self.b <= 1):
            raise InvalidRequestError(
                f"BM25 needs k1 >= 0 and b in 0..1, got k1 {self.k1} and b {self.b}"
            )


def cache_root() -> Path:
    """Where indexes, vectors and walked corpora are kept: `$DTRAG_HOME`, else `.dtrag` here."""
    return Path(os.environ.get("DTRAG_HOME", ".dtrag"))
