"""The default corpus: docstrings of the installed scientific packages. Offline, any machine."""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from dtrag_core.config import AnalyzerSettings, cache_root
from dtrag_core.datasets import known_item, pydocs_walk
from dtrag_core.datasets.base import DatasetInfo
from dtrag_core.datasets.judgments import fingerprint
from dtrag_core.datasets.known_item import find_known_items, without_summaries
from dtrag_core.datasets.records import read_records
from dtrag_core.errors import DataError
from dtrag_core.types import Chunk, JudgedQuery, Split

CAVEAT = known_item.CAVEAT
# Import name -> distribution name.
PACKAGES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
}
_WALK_SECONDS = 600


class PydocsDataset:
    """Docstrings as chunks: id and title are the dotted name, the path is the module's.

    The packages are walked once for each set of their versions; the walk is kept under
    `cache_root()/pydocs`. Queries are known items: summary lines taken out of their chunk.

    Raises `DataError` if the packages cannot be walked.
    """

    def __init__(self) -> None:
        walk = _walk()
        raw = [
            Chunk(
                id=record.text("name"),
                title=record.text("name"),
                text=record.text("text"),
                path=tuple(record.text("module").split(".")),
                doc_type=record.text("kind"),
            )
            for record in read_records(walk)
        ]
        items = find_known_items(lambda: raw)
        self._chunks = tuple(without_summaries(raw, items))
        self._texts, self._queries = known_item.queries(items)
        self.info = DatasetInfo(
            spec="pydocs",
            fingerprint=f"known-item-{known_item.VERSION}:{fingerprint(walk)}",
            analyzer=AnalyzerSettings("code"),
            embedder="static",
            caveat=CAVEAT,
        )

    def __len__(self) -> int:
        return len(self._chunks)

    def chunks(self) -> Iterator[Chunk]:
        """Stream the docstrings, package by package, shallow modules first."""
        return iter(self._chunks)

    def queries(self, split: Split) -> Sequence[JudgedQuery]:
        """Return the known-item queries of one half."""
        return self._queries[split]

    def query_texts(self) -> Sequence[str]:
        """Return the query texts of both halves, in corpus order."""
        return self._texts


def _walk() -> Path:
    """Return the file of docstrings for the installed versions; walks if it is not there yet."""
    versions = [platform.python_version(), *(version(name) for name in PACKAGES.values())]
    source = Path(pydocs_walk.__file__).read_bytes()
    key = hashlib.sha256(source + "\0".join(versions).encode()).hexdigest()[:16]
    folder = cache_root() / "pydocs"
    file = folder / f"{key}.jsonl"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            unfinished = Path(scratch) / file.name
            _walk_into(unfinished)
            unfinished.replace(file)
    return file


def _walk_into(file: Path) -> None:
    """Write the docstrings to `file` in a process without display, threads and random hashes."""
    settings = {"MPLBACKEND": "Agg", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", pydocs_walk.__name__, *PACKAGES]
    with file.open("wb") as out:
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.PIPE,
                env={**os.environ, **settings},
                timeout=_WALK_SECONDS,
                check=True,
            )
        except subprocess.SubprocessError as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace")[-2000:]
            raise DataError(f"walking the packages failed: {error}; it said: {said}") from None
