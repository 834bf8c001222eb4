"""The manifest of an index directory: what was built from what, and the hash of every file.

An index is a list of segments that never change and, for each, the rows deleted since. The manifest
names them all; it is replaced at one stroke, so that every reader sees one whole *generation*.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from dtrag_core.config import AnalyzerSettings, BM25Settings
from dtrag_core.errors import IndexCorruptError, IndexDirectoryError, IndexMismatchError
from dtrag_core.index.ivf_tuning import OperatingPoint
from dtrag_core.index.replacing import recover, sync_entries, sync_entry
from dtrag_core.types import Fusion

FORMAT_VERSION: Final = 10
MANIFEST: Final = "manifest.json"
SEGMENTS: Final = "segments"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One segment: `rows` chunks with `total_length` tokens, in the folder `name`.

    `deletions` is the file that names its deleted rows, "" if there are none; what is left are
    `live_rows` with `live_length` tokens. `average_length` is what its impacts were quantised with.
    """

    name: str
    rows: int
    total_length: int
    average_length: float
    live_rows: int
    live_length: int
    deletions: str = ""

    def inside(self, files: Iterable[str]) -> list[str]:
        """Return those of the files that are in this segment's folder."""
        folder = f"{SEGMENTS}/{self.name}/"
        return [name for name in files if name.startswith(folder)]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index directory holds.

    `chunks` counts the live ones. `fusion` is the default at query time: chosen on the dataset's
    train queries where it has some. `files` are paths inside the directory. `last_segment` is the
    highest number of a segment before these: no name is ever given twice. `most_chunks` is how many
    the largest generation before had.
    """

    dataset: str
    dataset_fingerprint: str
    caveat: str
    chunks: int
    analyzer: AnalyzerSettings
    bm25: BM25Settings
    embedder: str
    embedder_fingerprint: str
    dimension: int
    cosine_min: float
    fusion: Fusion
    vectors: OperatingPoint
    segments: tuple[SegmentEntry, ...]
    files: Mapping[str, FileEntry]
    generation: int = 1
    last_segment: int = 0
    most_chunks: int = 0
    format_version: int = FORMAT_VERSION

    @property
    def rows(self) -> int:
        """How many rows its segments have, deleted ones among them."""
        return sum(each.rows for each in self.segments)

    @property
    def newest_segment(self) -> int:
        """The highest number a segment ever had."""
        return max(self.last_segment, *(int(each.name) for each in self.segments), 0)

    @property
    def content_hash(self) -> str:
        """Identifies what is searched: settings and files, not where they lie."""
        return hashlib.sha256(_as_json(self, None).encode()).hexdigest()

    def with_fusion(self, fusion: Fusion) -> "Manifest":
        """Return the same with another default fusion."""
        return replace(self, fusion=fusion)

    def write(self, directory: Path) -> None:
        """Put this manifest in the place of the one that is there, at one stroke and durably.

        It comes last: every file it names must be on disk by then.
        """
        fresh = directory / f".{MANIFEST}"
        with fresh.open("w", encoding="utf-8") as file:
            file.write(_as_json(self, 2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(directory / MANIFEST)
        sync_entry(directory)


def hash_files(directory: Path, files: Iterable[Path]) -> dict[str, FileEntry]:
    """Return the entries of these files by their path inside the directory; all are synced."""
    entries, paths = {}, sorted(files)
    sync_entries(paths)
    for path in paths:
        entries[path.relative_to(directory).as_posix()] = FileEntry(
            path.stat().st_size, _sha256(path)
        )
    return entries


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest.

    Raises IndexDirectoryError (none there), IndexMismatchError (another format version) or
    IndexCorruptError (unreadable).
    """
    recover(directory)
    path = directory / MANIFEST
    if not path.is_file():
        raise IndexDirectoryError(
            f"{directory} holds no index (no {MANIFEST}); build one: dtrag index build"
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise IndexCorruptError(f"{path} cannot be read ({error}); {_REBUILD}") from error
    if version != FORMAT_VERSION:
        raise IndexMismatchError(
            f"{directory} has index format {version}, this version reads {FORMAT_VERSION}; "
            f"{_REBUILD}"
        )
    return _from_raw(raw, path)


def check_files(directory: Path, manifest: Manifest, before: Manifest | None = None) -> None:
    """Raise IndexCorruptError unless every file it names is there in its whole length.

    Those that `before` named too, a generation that is open, are not looked at again.
    """
    known = {} if before is None else before.files
    for name, entry in manifest.files.items():
        if known.get(name) != entry:
            _check_size(directory / name, entry)


def verify_files(directory: Path) -> Manifest:
    """Read the manifest and check every byte of every file against its hash."""
    manifest = read_manifest(directory)
    check_files(directory, manifest)
    for name, entry in manifest.files.items():
        found = _sha256(directory / name)
        if found != entry.sha256:
            raise IndexCorruptError(
                f"{directory / name} was altered: SHA-256 {found[:12]}..., "
                f"manifest says {entry.sha256[:12]}...; {_REBUILD}"
            )
    return manifest


_REBUILD = "build it again: dtrag index build"


def _check_size(path: Path, entry: FileEntry) -> None:
    if not path.is_file():
        raise IndexCorruptError(f"{path} is missing; {_REBUILD}")
    size = path.stat().st_size
    if size != entry.bytes:
        raise IndexCorruptError(
            f"{path} has {size:,} bytes, manifest says {entry.bytes:,}: truncated or altered; "
            f"{_REBUILD}"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _as_json(manifest: Manifest, indent: int | None) -> str:
    """Write it as JSON; without indentation in C, for engines do it for every generation."""
    return json.dumps(manifest, default=_by_name, indent=indent, sort_keys=True)


def _by_name(value: Any) -> dict[str, Any]:  # noqa: ANN401 (any of the dataclasses)
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _from_raw(raw: dict[str, Any], path: Path) -> Manifest:
    try:
        return Manifest(
            **{
                **raw,
                "analyzer": AnalyzerSettings(**raw["analyzer"]),
                "bm25": BM25Settings(**raw["bm25"]),
                "fusion": Fusion(**raw["fusion"]),
                "vectors": OperatingPoint(**raw["vectors"]),
                "segments": tuple(SegmentEntry(**entry) for entry in raw["segments"]),
                "files": {name: FileEntry(**entry) for name, entry in raw["files"].items()},
            }
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise IndexCorruptError(
            f"{path} lacks or misnames a field ({error}); {_REBUILD}"
        ) from error
