import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dtrag_core.embedding.base import State
from dtrag_core.embedding.cache import cached
from dtrag_core.errors import EmbeddingError
from dtrag_core.types import FloatArray


class Counting:
    """An embedder that counts the texts it was asked for and may fail at one of them."""

    spec = "counting"
    dimension = 3

    def __init__(self, fingerprint: str = "counting-1", fails_at: str = "") -> None:
        self.fingerprint = fingerprint
        self.asked: list[str] = []
        self.fails_at = fails_at

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        if self.fails_at in texts:
            raise EmbeddingError(f"cannot embed {self.fails_at!r}")
        self.asked += texts
        return np.array([self.embed_query(text) for text in texts], dtype=np.float32)

    def embed_query(self, text: str) -> FloatArray:
        angle = float(len(text))
        return np.array([np.cos(angle), np.sin(angle), 0], dtype=np.float32)

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        return np.array([self.embed_query(text) for text in texts], dtype=np.float32)

    def state(self) -> State:
        return {"fingerprint": np.zeros(1)}


TEXTS = ["a" * size for size in range(1, 1301)]


def test_a_text_is_embedded_once_for_all_runs(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    made = cached(first, tmp_path).embed_documents([*TEXTS, *TEXTS[:10]])
    found = cached(second, tmp_path).embed_documents(TEXTS[::-1])
    assert first.asked == TEXTS
    assert second.asked == []
    np.testing.assert_array_equal(made[: len(TEXTS)], found[::-1])
    np.testing.assert_array_equal(made, first.embed_documents([*TEXTS, *TEXTS[:10]]))


def test_another_model_shares_nothing(tmp_path: Path) -> None:
    cached(Counting("one"), tmp_path).embed_documents(TEXTS[:5])
    other = Counting("two")
    cached(other, tmp_path).embed_documents(TEXTS[:5])
    assert other.asked == TEXTS[:5]


def test_what_was_embedded_before_a_failure_is_kept(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match="cannot embed"):
        cached(Counting(fails_at=TEXTS[1100]), tmp_path).embed_documents(TEXTS)
    again = Counting()
    cached(again, tmp_path).embed_documents(TEXTS)
    assert again.asked == TEXTS[1024:]


def test_a_killed_writer_leaves_a_usable_file(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from {Path(__file__).stem} import TEXTS, Counting
from dtrag_core.embedding.cache import cached

class Killed(Counting):
    def embed_documents(self, texts):
        if TEXTS[600] in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed_documents(texts)

cached(Killed(), Path({str(tmp_path)!r})).embed_documents(TEXTS)
"""
    ended = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), check=False)
    assert ended.returncode == -signal.SIGKILL
    again = Counting()
    found = cached(again, tmp_path).embed_documents(TEXTS)
    assert again.asked == TEXTS[512:]
    np.testing.assert_array_equal(found, again.embed_documents(TEXTS))


def test_several_writers_at_once(tmp_path: Path) -> None:
    shared = cached(Counting(), tmp_path)
    parts = [TEXTS[start:] + TEXTS[:start] for start in (0, 300, 600, 900)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(shared.embed_documents, parts))
    for part, vectors in zip(parts, found, strict=True):
        np.testing.assert_array_equal(vectors, Counting().embed_documents(part))
    later = Counting()
    cached(later, tmp_path).embed_documents(TEXTS)
    assert later.asked == []


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    broken = cached(Counting(), tmp_path)
    broken.path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(EmbeddingError, match=r"counting-1\.sqlite3 cannot be used"):
        broken.embed_documents(TEXTS[:2])
