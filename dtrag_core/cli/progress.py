"""Shows `types.Progress` on standard error: a bar on a terminal, else now and then a line."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Never, TextIO

from tqdm import tqdm

from dtrag_core.types import Progress

_PATIENCE_S: Final = 2.0
_LINE_EVERY_S: Final = 10.0
_OPEN_END: Final = "{desc} [{elapsed}]"
_WITH_END: Final = (
    "{desc}: {percentage:3.0f}%|{bar}| {n:,.0f}/{total:,.0f} [{elapsed}<{remaining}, {rate_fmt}]"
)


@contextmanager
def shown_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """Yield a progress that shows itself on `stream` (standard error) until the block ends."""
    where = stream or sys.stderr
    if not where.isatty():
        yield Lines(where)
        return
    bars = Bars(where)
    try:
        yield bars
    finally:
        bars.close()


class Bars:
    """One bar a stage, gone when the stage is over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stage = ""
        self._bar: tqdm[Never] | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Draw."""
        if self._bar is None or stage != self._stage or total != self._bar.total:
            self.close()
            self._stage = stage
            self._bar = tqdm(
                desc=stage,
                total=total,
                initial=done,  # what an interrupted build left does not count as this one's rate
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
                bar_format=_OPEN_END if total is None else _WITH_END,
            )
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Lines:
    """A line when a stage begins and every ten seconds within it; none in the first two seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._start = clock()
        self._stage = ""
        self._last = 0.0
        self._begun: tuple[str, float, int] = ("", 0.0, 0)

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Write a line if it is time for one."""
        now = self._clock()
        if stage != self._begun[0]:
            self._begun = (stage, now, done)
        if now - self._start < _PATIENCE_S:
            return
        if stage == self._stage and now - self._last < _LINE_EVERY_S:
            return
        self._stage, self._last = stage, now
        share = f" {done:,}/{total:,}{self._pace(now, done, total)}" if total else ""
        self._stream.write(f"{now - self._start:5.0f} s  {stage}{share}\n")
        self._stream.flush()

    def _pace(self, now: float, done: int, total: int) -> str:
        """Return the rate since the stage began and the time it has left, once there is one."""
        _, begun, first = self._begun
        if done <= first or now <= begun:
            return ""
        rate = (done - first) / (now - begun)
        return f", {rate:,.0f}/s, {(total - done) / rate:,.0f} s left"
