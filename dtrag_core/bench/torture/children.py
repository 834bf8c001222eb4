"""What the processes do that are to be killed."""

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from dtrag_core.bench.torture.corpus import EMBEDDER, TortureDataset, make_chunk
from dtrag_core.bench.torture.updates import Update, UpdateLog, Versions, next_update
from dtrag_core.embedding.registry import fit_embedder, restore_embedder
from dtrag_core.index.builder import BuildPlan, build_index
from dtrag_core.index.compaction import Compaction
from dtrag_core.index.writer import IndexWriter

SEGMENT_ROWS: Final = 700


@dataclass(frozen=True, slots=True)
class Ingest:
    """An index that is updated: its directory, its log, how the updates are drawn.

    `origin` is what it was built from, `size` the number of chunks it is kept near.
    """

    directory: Path
    log: Path
    origin: TortureDataset
    seed: int
    size: int

    def versions(self) -> tuple[Versions, int]:
        """Return what it holds by its log, and the number of the last acknowledged update."""
        versions = dict.fromkeys(self.origin.names(), self.origin.version)
        number = 0
        for update in UpdateLog(self.log).read():
            versions, number = update.applied(versions), update.number
        return versions, number

    def next_update(self, versions: Versions, number: int) -> Update:
        """Return the update with this number."""
        return next_update(versions, number, self.seed, self.size)


def build_plan(dataset: TortureDataset, segment_rows: int = SEGMENT_ROWS) -> BuildPlan:
    """Return how an index of the dataset is built, in several segments."""
    return BuildPlan(
        dataset,
        EMBEDDER,
        lambda texts: fit_embedder(EMBEDDER, texts),
        lambda state: restore_embedder(EMBEDDER, state),
        segment_rows=segment_rows,
    )


def build(dataset: TortureDataset, directory: Path, begun: Connection) -> None:
    """Build an index, or go on with building it."""
    plan = build_plan(dataset)
    begun.send(True)
    build_index(plan, directory)


def ingest(work: Ingest, compacting: bool, updates: int | None, begun: Connection) -> None:
    """Update an index, `updates` times or until killed; with merging beside it if `compacting`."""
    versions, last = work.versions()
    log = UpdateLog(work.log)
    begun.send(True)
    with ExitStack() as stack:
        writer = stack.enter_context(IndexWriter(work.directory))
        compaction = stack.enter_context(Compaction(writer)) if compacting else None
        numbers = count(last + 1) if updates is None else range(last + 1, last + 1 + updates)
        for number in numbers:
            update = work.next_update(versions, number)
            versions = update.applied(versions)
            if update.delete:
                writer.delete(update.delete)
            else:
                writer.add([make_chunk(name, number) for name in update.add])
            log.append(update)
            if compaction is not None:
                compaction.wake()
