"""Updates that follow from a seed, and the log of those that were acknowledged.

Writer and judge draw the same updates from the same log, so that the judge knows which one was
under way when the writer was killed.
"""

import json
import os
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

Versions = dict[str, int]
"""The version of every live chunk, by id."""

_MOST_ADDED: Final = 200
_MOST_DELETED: Final = 150


@dataclass(frozen=True, slots=True)
class Update:
    """One change: chunks to add (or to replace, if their ids are there), or ids to delete."""

    number: int
    add: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()

    def applied(self, versions: Mapping[str, int]) -> Versions:
        """Return the versions after it: added chunks have its number as their version."""
        gone = set(self.delete)
        kept = {name: version for name, version in versions.items() if name not in gone}
        return {**kept, **dict.fromkeys(self.add, self.number)}


def next_update(versions: Mapping[str, int], number: int, seed: int, size: int) -> Update:
    """Return update `number` of a corpus with these chunks; it keeps near `size` chunks."""
    rng = random.Random(f"{seed} {number}")
    names = sorted(versions)
    if names and rng.random() < (0.6 if len(names) > size else 0.2):
        few = min(len(names), rng.randint(1, _MOST_DELETED))
        return Update(number, delete=tuple(rng.sample(names, few)))
    count = rng.randint(1, _MOST_ADDED)
    replaced = rng.sample(names, min(len(names), int(count * rng.random() / 2)))
    fresh = [f"u{number}.{place}" for place in range(count - len(replaced))]
    return Update(number, add=(*replaced, *fresh))


class UpdateLog:
    """An append-only file: one line an acknowledged update, on disk before the next one begins."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, update: Update) -> None:
        """Write a line, durably."""
        with self._path.open("ab") as file:
            file.write(json.dumps(asdict(update)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[Update]:
        """Return all updates; a line that a kill cut short was not acknowledged and is removed."""
        if not self._path.exists():
            return []
        written = self._path.read_bytes()
        whole = written[: written.rfind(b"\n") + 1]
        if whole != written:
            os.truncate(self._path, len(whole))
        lines = [json.loads(line) for line in whole.splitlines()]
        return [Update(line["number"], tuple(line["add"]), tuple(line["delete"])) for line in lines]
