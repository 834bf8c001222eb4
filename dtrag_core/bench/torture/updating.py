"""Killing writers of a living index: what was acknowledged is there, the rest wholly or not."""

import random
import shutil
from pathlib import Path
from typing import Final

from dtrag_core.bench.torture.children import Ingest, ingest
from dtrag_core.bench.torture.corpus import EMBEDDER, TortureDataset, make_chunk
from dtrag_core.bench.torture.judging import differences, judge_answers, stored_chunks, twice
from dtrag_core.bench.torture.killing import Killer
from dtrag_core.bench.torture.reference import Contents
from dtrag_core.bench.torture.updates import UpdateLog, Versions
from dtrag_core.embedding.registry import restore_embedder
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.index.arrays import read_archive
from dtrag_core.index.builder import EMBEDDER as EMBEDDER_FILE
from dtrag_core.index.manifest import verify_files
from dtrag_core.types import Chunk

UPDATES: Final = 30
"""That an undisturbed run makes; how long it takes is what moments are drawn from."""


class LivingIndex:
    """An index that is updated and killed, with an engine that has been open from the beginning."""

    def __init__(self, folder: Path, built: Path, origin: TortureDataset, seed: int) -> None:
        self.directory = folder / "living"
        self.work = Ingest(
            self.directory, folder / "acknowledged.jsonl", origin, seed, origin.size * 3 // 4
        )
        self.missing = 0
        shutil.copytree(built, self.directory)
        self._reader = EmbeddedEngine(self.directory)
        state = read_archive(built / EMBEDDER_FILE)
        self._contents = Contents(restore_embedder(EMBEDDER, state))

    @property
    def generation(self) -> int:
        """The generation it is at."""
        return self._reader.manifest.generation

    @property
    def acknowledged(self) -> int:
        """How many updates were acknowledged."""
        return len(UpdateLog(self.work.log).read())

    def judge(self, rng: random.Random) -> tuple[bool, list[str]]:
        """Look at every byte and every chunk, and ask; return what is wrong.

        The first is True if the update that was under way has happened; it is logged then.
        """
        verify_files(self.directory)
        versions, number = self.work.versions()
        under_way = self.work.next_update(versions, number + 1)
        engine = EmbeddedEngine(self.directory)
        self._reader.refresh()
        found = stored_chunks(engine)
        complaints = [*twice(engine), *differences(stored_chunks(self._reader), found)]
        happened = False
        if unlike := differences(found, _chunks(versions)):
            happened = not differences(found, _chunks(under_way.applied(versions)))
            if not happened:
                wanted = _chunks(versions)
                self.missing += sum(found.get(name) != wanted[name] for name in wanted)
                return False, [*complaints, *unlike]
            UpdateLog(self.work.log).append(under_way)
            versions = under_way.applied(versions)
        complaints += judge_answers(engine, versions, self._contents, rng)
        complaints += judge_answers(self._reader, versions, self._contents, rng)
        engine.close()
        return happened, complaints

    def close(self) -> None:
        """Close the engine."""
        self._reader.close()


class KilledWriters:
    """Kills processes that update a living index; `compacting` ones merge its segments too."""

    def __init__(
        self, living: LivingIndex, killer: Killer, updates: int, *, compacting: bool
    ) -> None:
        self.name = "compaction" if compacting else "ingest"
        self._living = living
        self._killer = killer
        self._compacting = compacting
        self.updates = 0
        self.kept = 0
        self.resumed = 0
        killer.run(ingest, living.work, compacting, 1)
        self.seconds = killer.run(ingest, living.work, compacting, updates)

    def kill(self, rng: random.Random) -> tuple[float, list[str]]:
        """Kill once; return after which share of an undisturbed run, and what is wrong."""
        moment = rng.uniform(0, self.seconds)
        before = self._living.acknowledged
        self._killer.kill(moment, ingest, self._living.work, self._compacting, None)
        self.updates += self._living.acknowledged - before
        happened, complaints = self._living.judge(rng)
        self.kept += happened
        return moment / self.seconds, complaints


def _chunks(versions: Versions) -> dict[str, Chunk]:
    return {name: make_chunk(name, version) for name, version in versions.items()}
