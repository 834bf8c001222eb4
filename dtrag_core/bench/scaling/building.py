"""Building an index while the clock runs, and what earlier builds are known to have taken."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from dtrag_core.bench.scaling.peak import peak_memory
from dtrag_core.index.manifest import Manifest, read_manifest
from dtrag_core.index.replacing import building, locked
from dtrag_core.types import Progress


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """What one build took: `stages` are the seconds of each, in order; times exclude imports.

    `resumed`: an interrupted build had left some segments, so this is not the time of a whole one.
    """

    content_hash: str
    created: str
    seconds: float
    stages: dict[str, float]
    peak_bytes: int
    resumed: bool

    @classmethod
    def of(cls, directory: Path) -> Self | None:
        """Return the record of the index that is there now; None if its build was not timed."""
        file = _record(directory)
        if not file.is_file():
            return None
        found = cls(**json.loads(file.read_text(encoding="utf-8")))
        return found if found.content_hash == read_manifest(directory).content_hash else None

    def write(self, directory: Path) -> None:
        """Keep the record beside the index."""
        fresh = _record(directory).with_suffix(".fresh")
        fresh.write_text(json.dumps(asdict(self)), encoding="utf-8")
        fresh.rename(_record(directory))


def timed_build(
    directory: Path, build: Callable[[Progress], Path], rebuild: bool, progress: Progress
) -> dict[str, Any]:
    """Build the index of a directory unless it is there, and return the block `build` of a size.

    `build` reports progress if, and only if, it builds. With `rebuild` it begins from nothing, not
    where an interrupted build stopped.
    """
    if rebuild and directory.parent.is_dir():
        with locked(directory):
            shutil.rmtree(building(directory), ignore_errors=True)
    resumed = building(directory).exists()
    watch = _Stages(progress)
    start = time.perf_counter()
    build(watch)
    end = time.perf_counter()
    manifest = read_manifest(directory)
    if watch.begun:
        BuildRecord(
            manifest.content_hash,
            f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            end - start,
            watch.seconds(end),
            peak_memory(),
            resumed,
        ).write(directory)
    record = BuildRecord.of(directory)
    return {
        "directory": str(directory),
        "measured_now": bool(watch.begun),
        "record": None if record is None else asdict(record),
        "disk_bytes": disk_parts(manifest),
    }


def disk_parts(manifest: Manifest) -> dict[str, int]:
    """Return the bytes of an index by part, over all segments."""
    parts: dict[str, int] = {}
    for name, entry in manifest.files.items():
        stem = Path(name).stem
        part = stem if stem.startswith("vectors_") else stem.partition("_")[0]
        parts[part] = parts.get(part, 0) + entry.bytes
    return parts


class _Stages:
    """Passes progress on, and notes when each stage began."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.begun: list[tuple[str, float]] = []

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if not self.begun or self.begun[-1][0] != stage:
            self.begun.append((stage, time.perf_counter()))
        self._progress(stage, done, total)

    def seconds(self, end: float) -> dict[str, float]:
        """Return how long each stage took, the last one until `end`."""
        taken: dict[str, float] = {}
        ends = [*(start for _, start in self.begun[1:]), end]
        for (stage, start), finish in zip(self.begun, ends, strict=True):
            taken[stage] = taken.get(stage, 0.0) + finish - start
        return taken


def _record(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.build.json")
