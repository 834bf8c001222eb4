"""The manifest of an index directory: what was built from what, and the hash of every file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from dtrag_core.config import AnalyzerSettings, BM25Settings
from dtrag_core.errors import IndexCorruptError, IndexDirectoryError, IndexMismatchError
from dtrag_core.index.replacing import recover
from dtrag_core.types import Fusion

FORMAT_VERSION: Final = 3
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index directory holds.

    `fusion` is the default at query time: chosen on the dataset's train queries where it has some.
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
    files: Mapping[str, FileEntry]
    format_version: int = FORMAT_VERSION

    @property
    def content_hash(self) -> str:
        """Identifies what is searched: settings and files, not where they lie."""
        return hashlib.sha256(_as_json(self).encode()).hexdigest()

    def with_fusion(self, fusion: Fusion) -> "Manifest":
        """Return the same with another default fusion."""
        return replace(self, fusion=fusion)

    def write(self, directory: Path) -> None:
        """Write the manifest; it comes last, since a directory without one is no index."""
        (directory / MANIFEST).write_text(_as_json(self), encoding="utf-8")


def hash_files(directory: Path) -> dict[str, FileEntry]:
    """Return the entry of every file in the directory but the manifest, by name."""
    return {
        path.name: FileEntry(path.stat().st_size, _sha256(path))
        for path in sorted(directory.iterdir())
        if path.name != MANIFEST
    }


def read_manifest(directory: Path) -> Manifest:
    """Read and check the manifest and the presence and size of every file it names.

    Raises IndexDirectoryError (none there), IndexMismatchError (another format version) or
    IndexCorruptError (unreadable, or a file missing or truncated).
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
    manifest = _from_raw(raw, path)
    for name, entry in manifest.files.items():
        _check_size(directory / name, entry)
    return manifest


def verify_files(directory: Path) -> Manifest:
    """Read the manifest and check every byte of every file against its hash."""
    manifest = read_manifest(directory)
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


def _as_json(manifest: Manifest) -> str:
    return json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n"


def _from_raw(raw: dict[str, Any], path: Path) -> Manifest:
    try:
        return Manifest(
            **{
                **raw,
                "analyzer": AnalyzerSettings(**raw["analyzer"]),
                "bm25": BM25Settings(**raw["bm25"]),
                "fusion": Fusion(**raw["fusion"]),
                "files": {name: FileEntry(**entry) for name, entry in raw["files"].items()},
            }
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise IndexCorruptError(
            f"{path} lacks or misnames a field ({error}); {_REBUILD}"
        ) from error
