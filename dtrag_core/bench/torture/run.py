"""The whole torture: builds, updates and merges are killed in turn."""

import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from dtrag_core.bench.torture.building import KilledBuilds
from dtrag_core.bench.torture.corpus import TortureDataset
from dtrag_core.bench.torture.killing import Killer
from dtrag_core.bench.torture.updating import UPDATES, KilledWriters, LivingIndex
from dtrag_core.errors import DtragError, InvalidRequestError
from dtrag_core.types import Progress, no_progress

CHUNKS: Final = 4_200
"""Enough that vectors lie in lists."""


@dataclass(slots=True)
class PhaseReport:
    """What came of one kind of work.

    `moments`: after which share of an undisturbed run each kill came. `updates`: acknowledged in
    killed processes. `kept`: kills after which the update under way was wholly there. `resumed`:
    finished segments that a later build took over.
    """

    undisturbed_s: float
    moments: list[float] = field(default_factory=list)
    updates: int = 0
    kept: int = 0
    resumed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TortureReport:
    """What came of all kills.

    `missing`: chunks that were acknowledged and are not there as they should be. `complaints`: what
    was wrong after the last kill; there were no more kills then.
    """

    seed: int
    phases: Mapping[str, PhaseReport]
    acknowledged: int
    missing: int
    generations: int
    seconds: float
    complaints: tuple[str, ...]

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(len(phase.moments) for phase in self.phases.values())

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong after any kill."""
        return not self.complaints

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names, and `kills` and `ok`."""
        return {"ok": self.ok, "kills": self.kills, **asdict(self)}


class _Phase(Protocol):
    name: str
    seconds: float
    updates: int
    kept: int
    resumed: int

    def kill(self, rng: random.Random) -> tuple[float, list[str]]: ...


def torture(
    folder: Path,
    kills: int,
    seed: int,
    progress: Progress = no_progress,
    chunks: int = CHUNKS,
    updates: int = UPDATES,
) -> TortureReport:
    """Kill `kills` processes that write indexes in `folder`, and judge what each one left.

    Writers are killed within the time that so many `updates` take. Stops at the first kill that
    left something wrong. Raises InvalidRequestError if the folder holds anything, or for less than
    one kill.
    """
    if kills < 1:
        raise InvalidRequestError(f"kills must be at least 1, got {kills}")
    if folder.exists() and any(folder.iterdir()):
        raise InvalidRequestError(f"{folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    start, rng, killer = time.monotonic(), random.Random(seed), Killer()
    progress("running undisturbed", 0, None)
    dataset = TortureDataset(chunks)
    builds = KilledBuilds(folder, dataset, killer)
    living = LivingIndex(folder, builds.finished, dataset, seed)
    phases: list[_Phase] = [
        builds,
        *(KilledWriters(living, killer, updates, compacting=each) for each in (False, True)),
    ]
    reports = {phase.name: PhaseReport(phase.seconds) for phase in phases}
    complaints: list[str] = []
    for number in range(kills):
        phase = phases[number % len(phases)]
        progress("killing", number, kills)
        complaints = _kill(phase, reports[phase.name], rng)
        if complaints:
            break
    progress("killing", kills, kills)
    living.close()
    return TortureReport(
        seed,
        reports,
        living.acknowledged,
        living.missing,
        living.generation,
        time.monotonic() - start,
        tuple(complaints),
    )


def _kill(phase: _Phase, report: PhaseReport, rng: random.Random) -> list[str]:
    start = time.monotonic()
    try:
        moment, complaints = phase.kill(rng)
        report.moments.append(moment)
    except DtragError as error:
        complaints = [str(error)]
    report.seconds += time.monotonic() - start
    report.updates, report.kept, report.resumed = phase.updates, phase.kept, phase.resumed
    return [f"{phase.name}: {complaint}" for complaint in complaints]
