"""A process that writes an index at a steady rate while another one searches it.

`python -m dtrag_core.bench.ingest_feed` reads a JSON line that says what to do (`FeedOrder`), says
`{"ready": true}`, and then for every number of seconds it reads, a line each, writes for as long.
It says a JSON line after every batch, and `{"idle": true}` once everything is written and merged.
It runs at low priority (nice 10), as one would run it on the machine of a service.
"""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Final

from dtrag_core.datasets.base import Dataset
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.index.compaction import Compaction
from dtrag_core.index.writer import IndexWriter
from dtrag_core.types import Chunk

BATCH_S: Final = 0.25
REPLACED: Final = 0.2
"""The share of chunks that take the place of one that is there."""

DELETED: Final = 0.05
"""Deletions for every chunk that is written; they come with every fourth batch."""

_BATCHES_A_DELETION: Final = 4
_KNOWN: Final = 10_000
_NICE: Final = 10


@dataclass(frozen=True, slots=True)
class FeedOrder:
    """What to write where: `rate` chunks per s from the stream of the dataset `dataset`."""

    directory: str
    dataset: str
    rate: float


class Feed:
    """Writes batches on a schedule; a late batch does not move those after it."""

    def __init__(self, order: FeedOrder, writer: IndexWriter, compaction: Compaction) -> None:
        dataset = open_dataset(order.dataset)
        self._writer = writer
        self._compaction = compaction
        self._size = max(1, round(order.rate * BATCH_S))
        self._fresh = _renamed(dataset)
        self._present = deque(chunk.id for chunk in islice(dataset.chunks(), _KNOWN))
        self._batches = 0

    def write(self, seconds: float) -> None:
        """Write for so long, and say after each batch what is there."""
        start = time.monotonic()
        for number in range(max(1, round(seconds / BATCH_S))):
            due = start + number * BATCH_S
            time.sleep(max(due - time.monotonic(), 0.0))
            say(self.write_batch(due))
        self.settle()

    def settle(self) -> None:
        """Merge what is to be merged."""
        self._writer.compact_all()

    def write_batch(self, due: float) -> dict[str, float]:
        """Write one batch; return what is there now, and how late that was."""
        chunks = list(islice(self._fresh, self._size))
        self._present.extend(chunk.id for chunk in chunks)
        for place in range(round(self._size * REPLACED)):
            chunks[place] = chunks[place]._replace(id=self._present.popleft())
        self._present.extend(chunk.id for chunk in chunks[: round(self._size * REPLACED)])
        manifest = self._writer.add(chunks)
        deleted = 0
        self._batches += 1
        if self._batches % _BATCHES_A_DELETION == 0:
            wanted = round(self._size * _BATCHES_A_DELETION * DELETED)
            deleted = self._writer.delete([self._present.popleft() for _ in range(wanted)])
            manifest = self._writer.manifest
        now = time.monotonic()
        self._compaction.wake()
        return {
            "generation": manifest.generation,
            "acknowledged_s": now,
            "lag_s": max(now - due, 0.0),
            "written": len(chunks),
            "deleted": deleted,
            "segments": len(manifest.segments),
        }


def _renamed(dataset: Dataset) -> Iterator[Chunk]:
    """Stream the dataset's chunks over and over, under ids that it does not have."""
    rounds = chain.from_iterable(dataset.chunks() for _ in count())
    return (chunk._replace(id=f"fed-{number}") for number, chunk in enumerate(rounds))


def say(line: dict[str, Any]) -> None:
    """Write a JSON line to standard output."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _serve() -> None:
    os.nice(_NICE)
    order = FeedOrder(**json.loads(sys.stdin.readline()))
    with IndexWriter(Path(order.directory)) as writer, Compaction(writer) as compaction:
        feed = Feed(order, writer, compaction)
        feed.write_batch(time.monotonic())  # compiles, and finds the row of every id
        feed.settle()
        say({"ready": True})
        for line in sys.stdin:
            feed.write(json.loads(line))
            say({"idle": True})


if __name__ == "__main__":
    _serve()
