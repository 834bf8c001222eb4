"""Killing builds: what was there stays, finished segments are not written again."""

import random
import shutil
from pathlib import Path

from dtrag_core.bench.torture.children import build
from dtrag_core.bench.torture.corpus import TortureDataset
from dtrag_core.bench.torture.killing import Killer
from dtrag_core.index.manifest import SEGMENTS, verify_files
from dtrag_core.index.replacing import building

Stamps = dict[str, tuple[int, int]]
"""Inode and time of the last change of every file of finished segments, by name."""

_KILLS_A_BUILD = 2


class KilledBuilds:
    """Builds an index over another, again and again, each build killed twice on its way.

    The moments of a build's kills are drawn evenly from the time an undisturbed build takes.
    """

    name = "build"

    def __init__(self, folder: Path, dataset: TortureDataset, killer: Killer) -> None:
        self._dataset = dataset
        self._killer = killer
        self._target = folder / "built"
        self._before = folder / "before"
        self._moments: list[float] = []
        self._spent = 0.0
        self._stamps: Stamps = {}
        self.finished = folder / "undisturbed"
        self.updates = 0
        self.kept = 0
        self.resumed = 0
        killer.run(build, TortureDataset(dataset.size // 4, version=1), self._before)
        self.seconds = killer.run(build, dataset, self.finished)
        self._content = verify_files(self.finished).content_hash
        self._content_before = verify_files(self._before).content_hash
        self._begin()

    def kill(self, rng: random.Random) -> tuple[float, list[str]]:
        """Kill once; return after which share of an undisturbed build, and what is wrong."""
        while True:
            if not self._moments:
                self._moments = sorted(rng.uniform(0, self.seconds) for _ in range(_KILLS_A_BUILD))
                self._spent = 0.0
            moment = self._moments.pop(0)
            wait, self._spent = moment - self._spent, moment
            killed = self._killer.kill(wait, build, self._dataset, self._target)
            complaints = self._judge()
            if not self._moments or self._done:
                self._moments = []
                complaints = complaints or self._finish()
            if killed or complaints:
                return moment / self.seconds, complaints

    def _begin(self) -> None:
        shutil.rmtree(self._target, ignore_errors=True)
        shutil.copytree(self._before, self._target)
        self._stamps = {}
        self._done = False

    def _judge(self) -> list[str]:
        content = verify_files(self._target).content_hash
        self._done = content == self._content
        if self._done:
            return self._changed(self._target)
        if content != self._content_before:
            return [f"{self._target} is neither what was there before nor the finished index"]
        half_made = building(self._target)
        complaints = self._changed(half_made)
        self._stamps = _stamps(half_made)
        return complaints

    def _finish(self) -> list[str]:
        """Let the build go on to its end."""
        if not self._done:
            self.resumed += len(list((building(self._target) / SEGMENTS).glob("*.json")))
            self._killer.run(build, self._dataset, self._target)
        complaints = self._changed(self._target)
        if verify_files(self._target).content_hash != self._content:
            complaints.append(f"{self._target} differs from an index built without interruption")
        if not complaints:
            self._begin()
        return complaints

    def _changed(self, place: Path) -> list[str]:
        """Complain if a segment that was finished before the last kill was written again."""
        now = _all_stamps(place)
        again = [name for name, stamp in self._stamps.items() if now.get(name) != stamp]
        return [f"finished segments were written again: {', '.join(again[:3])}"] if again else []


def _stamps(half_made: Path) -> Stamps:
    finished = {path.stem for path in (half_made / SEGMENTS).glob("*.json")}
    every = _all_stamps(half_made)
    return {name: every[name] for name in every if name.partition("/")[0] in finished}


def _all_stamps(place: Path) -> Stamps:
    stamps = {}
    for path in (place / SEGMENTS).glob("*/*"):
        status = path.stat()
        name = path.relative_to(place / SEGMENTS).as_posix()
        stamps[name] = (status.st_ino, status.st_mtime_ns)
    return stamps
