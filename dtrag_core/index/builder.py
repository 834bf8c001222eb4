"""Building an index directory from a dataset and an embedder, segment by segment."""

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from dtrag_core.config import BM25Settings
from dtrag_core.datasets.base import Dataset
from dtrag_core.embedding.base import CorpusTexts, Embedder, State
from dtrag_core.errors import BuildError
from dtrag_core.index.arrays import read_archive, write_archive
from dtrag_core.index.bm25_segments import check_settings
from dtrag_core.index.ivf_tuning import EXACT, tune
from dtrag_core.index.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    SEGMENTS,
    Manifest,
    SegmentEntry,
    hash_files,
)
from dtrag_core.index.replacing import replacing, sync_entry, sync_files
from dtrag_core.index.segment import write_segment
from dtrag_core.index.segment_content import ContentCollector, SegmentContent
from dtrag_core.index.snapshot import CENTROIDS, open_snapshot
from dtrag_core.index.vector_space import VectorSpace, make_vector_space
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import Chunk, Fusion, Progress, no_progress

EMBEDDER: Final = "embedder.npz"
SEGMENT_ROWS: Final = 1 << 18

_BATCH: Final = 2048
_ENTRY: Final = ".json"
_SPACE: Final = "space.npz"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What to build: the dataset, how it is embedded, and BM25's parameters.

    `fit` makes the embedder that `embedder` names from the corpus's texts, `restore` the same from
    its state. `choose_fusion`, if given, opens the finished directory and returns the default
    fusion to record. `recall_floor` is what approximate vector search is to hold at 10.
    `segment_rows`: a killed build loses at most the segment it was at, and memory is bounded by it.
    """

    dataset: Dataset
    embedder: str
    fit: Callable[[CorpusTexts], Embedder]
    restore: Callable[[State], Embedder]
    bm25: BM25Settings = field(default_factory=BM25Settings)
    choose_fusion: Callable[[Path], Fusion] | None = None
    recall_floor: float = 0.99
    segment_rows: int = SEGMENT_ROWS

    @property
    def key(self) -> str:
        """Names what is built: an interrupted build goes on only with the same."""
        info = self.dataset.info
        parts = (
            FORMAT_VERSION,
            info.fingerprint,
            asdict(info.analyzer),
            self.embedder,
            asdict(self.bm25),
            self.recall_floor,
            self.segment_rows,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def build_index(plan: BuildPlan, directory: Path, progress: Progress = no_progress) -> Manifest:
    """Build the index and put it in `directory`'s place as a whole; return its manifest.

    Goes on where a killed or interrupted build of the same plan stopped. Raises BuildError if the
    dataset is empty, the disk is full, or `directory` holds files that are no index, DataError if a
    text is not valid Unicode; whatever was there stays.
    """
    check_settings(plan.bm25)
    if directory.exists() and any(directory.iterdir()) and not (directory / MANIFEST).exists():
        raise BuildError(
            f"{directory} holds files but no index; name a new or empty directory, nothing there "
            "is touched"
        )
    with replacing(directory, plan.key) as fresh:
        embedder = _embedder(plan, fresh, progress)
        space = _vector_space(plan, embedder, fresh, progress)
        segments = _write_segments(plan, embedder, space, fresh, progress)
        manifest = _manifest(plan, embedder, space, segments, fresh)
        manifest.write(fresh)
        progress("measuring recall", 0, None)
        opened = open_snapshot(fresh)
        point = tune(opened.ivf, opened.float32, space.queries, plan.recall_floor)
        manifest = replace(manifest, vectors=point)
        manifest.write(fresh)
        if plan.choose_fusion is not None:
            progress("choosing the fusion weight", 0, None)
            manifest = replace(manifest, fusion=plan.choose_fusion(fresh))
            manifest.write(fresh)
        for leftover in (fresh / _SPACE, *(fresh / SEGMENTS).glob(f"*{_ENTRY}")):
            leftover.unlink()
    return manifest


def _embedder(plan: BuildPlan, fresh: Path, progress: Progress) -> Embedder:
    path = fresh / EMBEDDER
    if path.is_file():
        return plan.restore(read_archive(path))
    progress("fitting the embedder", 0, None)
    texts = CorpusTexts(_Contents(plan.dataset), plan.dataset.query_texts())
    embedder = plan.fit(texts)
    write_archive(path, embedder.state())
    return embedder


@dataclass(frozen=True, slots=True)
class _Contents:
    """The contents of a dataset's chunks, iterable again and again."""

    dataset: Dataset

    def __iter__(self) -> Iterator[str]:
        return (chunk.content for chunk in self.dataset.chunks())


def _write_segments(
    plan: BuildPlan, embedder: Embedder, space: VectorSpace, fresh: Path, progress: Progress
) -> list[SegmentEntry]:
    """Write every segment that an interrupted build has not left; return the entries of all."""
    folder = fresh / SEGMENTS
    folder.mkdir(exist_ok=True)
    sync_entry(fresh)
    done = [_read_entry(path) for path in sorted(folder.glob(f"*{_ENTRY}"))]
    rows = sum(entry.rows for entry in done)
    length = sum(entry.total_length for entry in done)
    collect = partial(_collect, plan, embedder, space, progress)
    chunks = itertools.islice(plan.dataset.chunks(), rows, None)
    while (content := collect(itertools.islice(chunks, plan.segment_rows), rows)) is not None:
        name = f"{len(done) + 1:06d}"
        shutil.rmtree(folder / name, ignore_errors=True)
        rows += len(content.chunks)
        length += int(content.forward.lengths.sum())
        entry = write_segment(content, folder / name, plan.bm25, length / rows, space.centroids)
        # An entry says that its files can be relied on, also after a power failure.
        sync_files(folder / name)
        sync_entry(folder)
        _write_entry(folder / f"{name}{_ENTRY}", entry)
        done.append(entry)
    if not done:
        raise BuildError(f"{plan.dataset.info.spec} holds no chunks; there is nothing to search")
    return done


def _collect(
    plan: BuildPlan,
    embedder: Embedder,
    space: VectorSpace,
    progress: Progress,
    chunks: Iterable[Chunk],
    before: int,
) -> SegmentContent | None:
    """Analyse and embed the chunks of one segment; None if there are none."""
    analyzer = Analyzer(plan.dataset.info.analyzer)
    collector = ContentCollector(analyzer, embedder, space.centroids)
    for batch in batches(chunks, _BATCH):
        collector.add(batch)
        progress("indexing", before + len(collector), len(plan.dataset))
    return collector.finish() if len(collector) else None


def _vector_space(
    plan: BuildPlan, embedder: Embedder, fresh: Path, progress: Progress
) -> VectorSpace:
    path = fresh / _SPACE
    if path.is_file():
        held = read_archive(path)
        return VectorSpace(held["centroids"], held["queries"], float(held["cosine_min"]))
    space = make_vector_space(plan.dataset, embedder, progress)
    np.save(fresh / CENTROIDS, space.centroids)
    sync_entry(fresh / CENTROIDS)
    cosine_min = np.array(space.cosine_min)
    arrays = {"centroids": space.centroids, "queries": space.queries, "cosine_min": cosine_min}
    write_archive(path, arrays)
    return space


def _read_entry(path: Path) -> SegmentEntry:
    return SegmentEntry(**json.loads(path.read_text(encoding="utf-8")))


def _write_entry(path: Path, entry: SegmentEntry) -> None:
    """Say that a segment is finished: its entry is there as a whole or not at all."""
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(json.dumps(asdict(entry)), encoding="utf-8")
    sync_entry(fresh)
    fresh.rename(path)
    sync_entry(path.parent)


def _manifest(
    plan: BuildPlan,
    embedder: Embedder,
    space: VectorSpace,
    segments: Sequence[SegmentEntry],
    fresh: Path,
) -> Manifest:
    info = plan.dataset.info
    lasting = [fresh / EMBEDDER, fresh / CENTROIDS]
    for entry in segments:
        lasting.extend((fresh / SEGMENTS / entry.name).iterdir())
    return Manifest(
        dataset=info.spec,
        dataset_fingerprint=info.fingerprint,
        caveat=info.caveat,
        chunks=sum(entry.rows for entry in segments),
        analyzer=info.analyzer,
        bm25=plan.bm25,
        embedder=embedder.spec,
        embedder_fingerprint=embedder.fingerprint,
        dimension=embedder.dimension,
        cosine_min=space.cosine_min,
        fusion=Fusion(),
        vectors=EXACT,
        segments=tuple(segments),
        files=hash_files(fresh, lasting),
    )


def batches(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a stream into lists of `size` items; the last may be shorter."""
    stream = iter(items)
    while batch := list(itertools.islice(stream, size)):
        yield batch
