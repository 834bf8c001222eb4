"""Progress of a notebook, seen from outside: lines of JSON in a file, or a bar in the notebook."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Never

from tqdm import tqdm

from dtrag_core.types import Progress

VARIABLE: Final = "DTRAG_PROGRESS"
"""Environment variable naming the file a kernel reports to."""

_EVERY_SECONDS: Final = 0.2


class FileProgress:
    """Appends each note as a line `[stage, done, total]` to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Append one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([stage, done, total]) + "\n")


class BarProgress:
    """Shows a tqdm bar a stage."""

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file = file
        self._bar: tqdm[Never] | None = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Move the bar, or begin another if the stage is a new one."""
        if self._bar is None or self._stage != stage:
            self.close()
            self._stage = stage
            self._bar = tqdm(desc=stage, total=total, file=self._file, mininterval=0.2)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Finish the bar that is shown, if any."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def notebook_progress() -> Progress:
    """Return what a notebook reports to: the file named by DTRAG_PROGRESS, else a bar."""
    path = os.environ.get(VARIABLE)
    return FileProgress(Path(path)) if path else BarProgress()


@contextmanager
def following(path: Path, progress: Progress) -> Iterator[None]:
    """Pass the notes another process appends to `path` on to `progress` while the block runs.

    `progress` is called from a thread; every note written before the block ends has been passed
    on when this returns.
    """
    path.touch()
    ended = threading.Event()

    def follow(file: IO[str]) -> None:
        rest = ""
        while True:
            last = ended.wait(_EVERY_SECONDS)
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                stage, done, total = json.loads(line)
                progress(stage, done, total)
            if last:
                return

    with path.open(encoding="utf-8") as file:
        thread = threading.Thread(target=follow, args=(file,), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
