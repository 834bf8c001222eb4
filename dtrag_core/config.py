"""Settings that must agree between building and searching, and where things are kept."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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


def cache_root() -> Path:
    """Where indexes, vectors and walked corpora are kept: `$DTRAG_HOME`, else `.dtrag` here."""
    return Path(os.environ.get("DTRAG_HOME", ".dtrag"))
