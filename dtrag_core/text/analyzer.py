"""Tokens from text: the same for documents at build and for queries at search."""

import re
import threading
import unicodedata
from collections.abc import Callable
from itertools import chain

import Stemmer

from dtrag_core.config import AnalyzerSettings

# Lucene's default English stop words (org.apache.lucene.analysis.en.EnglishAnalyzer).
STOP_WORDS = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if"),
        *("in", "into", "is", "it", "no", "not", "of", "on", "or", "such", "that"),
        *("the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with"),
    )
)

# Hangul, Kana and Han: scripts written without spaces, or with spaces that do not delimit words.
_CJK = (
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
    "\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_CJK_START = re.compile(f"[{_CJK}]")
# A word is what scikit-learn's and bm25s's (?u)\b\w\w+\b finds, outside CJK runs.
_WORDS = re.compile(rf"[{_CJK}]+|[^\W{_CJK}]{{2,}}")
_NAMES = re.compile(rf"[{_CJK}]+|[^\W{_CJK}]+(?:\.[^\W{_CJK}]+)*")
_CASE_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

_MEMO_ENTRIES = 1_000_000
_MEMO_LENGTH = 64


class Analyzer:
    """Maps a text to its tokens, by the profile of its settings (see `AnalyzerSettings`).

    May be used from several threads at once.
    """

    def __init__(self, settings: AnalyzerSettings) -> None:
        self.settings = settings
        if settings.profile == "plain":
            self._find: Callable[[str], list[str]] = str.split
            return
        stems = _Stems()
        if settings.profile == "english":
            self._find = _WORDS.findall
            self._expand = _Memo(lambda word: _bigrams(word) or stems(word))
        else:
            self._find = _NAMES.findall
            self._expand = _Memo(lambda name: _bigrams(name) or _name_tokens(name, stems))

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of `text` in order, repeats included; none is empty.

        `english` and `code` read the text in Unicode form NFKC, so that decomposed Hangul and
        full-width letters match their usual spelling.
        """
        if self.settings.profile == "plain":
            return self._find(text)
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)
        if self.settings.profile == "english":
            text = text.lower()
        return list(chain.from_iterable(map(self._expand.__getitem__, self._find(text))))


class _Memo(dict[str, tuple[str, ...]]):
    """What a word expands to, computed once; bounded, so that odd input cannot fill memory."""

    def __init__(self, expand: Callable[[str], tuple[str, ...]]) -> None:
        super().__init__()
        self._expand = expand

    def __missing__(self, word: str) -> tuple[str, ...]:
        tokens = self._expand(word)
        if len(self) < _MEMO_ENTRIES and len(word) <= _MEMO_LENGTH:
            self[word] = tokens
        return tokens


class _Stems:
    """Snowball English (Porter 2) behind a lock: a stemmer object is not safe to share."""

    def __init__(self) -> None:
        self._stemmer = Stemmer.Stemmer("english", 0)
        self._lock = threading.Lock()

    def __call__(self, word: str) -> tuple[str, ...]:
        if word in STOP_WORDS:
            return ()
        with self._lock:
            return (self._stemmer.stemWord(word),)


def _bigrams(run: str) -> tuple[str, ...]:
    """Overlapping character pairs of a CJK run (the character itself if alone), else nothing."""
    if not _CJK_START.match(run):
        return ()
    return tuple(run[i : i + 2] for i in range(max(1, len(run) - 1)))


def _name_tokens(name: str, stems: _Stems) -> tuple[str, ...]:
    """Words of a possibly dotted, snake_case or CamelCase name, then its compound forms.

    snake_case and dotted forms stay as they are; CamelCase is stemmed as one word too, so that
    `dataframes` finds `DataFrame`.
    """
    words: list[str] = []
    whole: list[str] = []
    for segment in name.split("."):
        for piece in filter(None, segment.split("_")):
            parts = _CASE_BOUNDARY.split(piece)
            words += parts if len(parts) == 1 else (*parts, piece)
        if "_" in segment:
            whole.append(segment.lower())
    if "." in name:
        whole.append(name.lower())
    lowered = (word.lower() for word in words if len(word) > 1)
    return (*chain.from_iterable(map(stems, lowered)), *whole)
